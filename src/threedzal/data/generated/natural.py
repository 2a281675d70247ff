"""The five grown or baked classes: ring, cone, bumpy disc, grooved sphere, lumpy ellipsoid."""

from __future__ import annotations

import numpy as np

from threedzal.data.generated.piece import Piece, Rng, axis_rotation, dents, mix, on_surface, speckle, tint
from threedzal.data.generated.sdf import (
    Bumps,
    Waves,
    ellipsoid,
    fade,
    round_cone,
    rounded_profile,
    smooth_max,
    smooth_min,
    smoothstep,
)


def ring(rng: Rng) -> Piece:
    """A baked ring, as a bagel: flat below, brown on top, wrinkled, with blisters and a paler flank."""
    big, small = rng.normal(35, 1.2), rng.normal(16.0, 0.7)
    squash = rng.normal(1.12, 0.05)
    lumps = Waves.draw(rng, wavelength=(22, 60), amplitude=0.9)
    wrinkles = Waves.draw(rng, wavelength=(3.5, 9), amplitude=0.11)
    uneven = Waves.draw(rng, wavelength=(50, 120), amplitude=0.8, count=4)

    def smooth(x, y, z):
        r = np.sqrt(x * x + y * y) - np.float32(big)
        height = z * np.float32(squash)
        d = np.sqrt(r * r + height * height) - np.float32(small) - uneven(x, y, 0 * z)
        return smooth_max(d, -z - np.float32(small * 0.72), 4)

    blisters = dents(smooth, rng, count=(4, 12), radius=(2.5, 7), height=(-0.5, 0.9), bound=big + small)
    field = lambda x, y, z: smooth(x, y, z) - lumps(x, y, z) - wrinkles(x, y, z) - blisters(x, y, z)  # noqa: E731
    crust, flank = tint(rng, (0.46, 0.25, 0.09)), tint(rng, (0.70, 0.50, 0.25))
    patches = Waves.draw(rng, wavelength=(10, 40), amplitude=1.0, count=8)
    grain = Waves.draw(rng, wavelength=(1.8, 5), amplitude=1.0, count=8)

    def albedo(x, y, z):
        n = patches(x, y, z)
        rgb = mix(flank, crust, smoothstep(-6, 9, z + 2.5 * n + 1.2 * grain(x, y, z)))
        rgb = rgb * (1 + 0.10 * n + 0.05 * grain(x, y, z))
        return rgb * (1 - 0.35 * speckle(grain(z, x, y), share=0.03) - 0.12 * blisters(x, y, z))

    return Piece(
        field, albedo, radius=big + small + 6, feet=[((0, 0, 0), (big, big, small * 0.72))], inside=(0.78, 0.68, 0.48),
        gloss=0.10, shine=14, relax=0.75,
    )  # fmt: skip


def cone(rng: Rng) -> Piece:
    """A root, as a carrot: tapered, slightly curved, ringed with fine grooves, a stub at the thick end."""
    length, thick, thin = rng.normal(92, 4), rng.normal(16.5, 1.2), rng.normal(5.0, 0.7)
    curve = rng.normal(0, 0.0010)
    lumps = Waves.draw(rng, wavelength=(18, 50), amplitude=0.5)
    rings = Waves.draw(rng, wavelength=(2.5, 9), amplitude=0.16, count=7, stretch=(1, 5, 5))
    stub = rng.uniform(3.5, 5.5)

    def smooth(x, y, z):
        bent = y - np.float32(curve) * x * x
        r = np.sqrt(bent * bent + z * z)
        body = round_cone(r, x + np.float32(length / 2), radius0=thick, radius1=thin, height=length)
        end = rounded_profile(r, x + np.float32(length / 2 + thick), radius=stub, half=4.5, edge=1.5)
        return smooth_min(smooth_max(body, 0.3 * (stub - r) - x - np.float32(length / 2 + thick - 2), 3), end, 2)

    scars = dents(smooth, rng, count=(4, 10), radius=(1.5, 4), height=(-0.8, 0.2), bound=length / 2)
    field = lambda x, y, z: smooth(x, y, z) - lumps(x, y, z) - rings(x, y, z) - scars(x, y, z)  # noqa: E731
    skin, pale, crown = tint(rng, (0.78, 0.27, 0.05), spread=0.06), (0.80, 0.42, 0.16), tint(rng, (0.30, 0.26, 0.08))
    bands = Waves.draw(rng, wavelength=(4, 16), amplitude=1.0, count=8, stretch=(1, 6, 6))
    blotch = Waves.draw(rng, wavelength=(8, 30), amplitude=1.0)

    def albedo(x, y, z):
        n = bands(x, y, z)
        rgb = mix(skin, pale, np.clip(0.25 + 0.2 * n + 0.2 * blotch(x, y, z), 0, 1))
        rgb = mix(rgb, crown, smoothstep(length / 2 + thick - 5, length / 2 + thick + 1, -x + n))
        return rgb * (1 - 0.30 * speckle(bands(x, y, z), share=0.05) + 0.25 * scars(x, y, z))

    half = length / 2
    return Piece(
        field, albedo, radius=half + thick + 10, inside=(0.82, 0.42, 0.10), gloss=0.16, shine=18, relax=0.8,
        feet=[((-half, curve * half**2, 0), (thick,) * 3), ((half, curve * half**2, 0), (thin,) * 3)],
        pose=axis_rotation(1, np.arcsin((thick - thin) / length)) @ axis_rotation(0, rng.uniform(0, 2 * np.pi)),
    )  # fmt: skip


def bumpy_disc(rng: Rng) -> Piece:
    """A biscuit, as a cookie: domed, rough, cracked on top by the oven, with dark chips sunk in."""
    radius, half = rng.normal(40, 1.5), rng.normal(6.5, 0.5)
    outline = Waves.draw(rng, wavelength=(25, 70), amplitude=1.0)
    rough = Waves.draw(rng, wavelength=(5, 16), amplitude=0.45, count=8, mixing=1.3)
    crumbs = Waves.draw(rng, wavelength=(1.8, 5), amplitude=0.12, mixing=1.3)
    fissure = Waves.draw(rng, wavelength=(18, 50), amplitude=1.0)
    dome = rng.uniform(2, 4.5)

    def smooth(x, y, z):
        r2 = x * x + y * y
        r = np.sqrt(r2) - outline(x, y, 0 * z)
        lifted = z - np.float32(dome) * np.maximum(1 - r2 / np.float32(radius * radius), 0)
        return rounded_profile(r, lifted, radius=radius, half=half, edge=5.5)

    count = int(rng.integers(9, 17))
    angle, reach = rng.uniform(0, 2 * np.pi, count), radius * 0.88 * np.sqrt(rng.random(count))
    top = half + dome * (1 - (reach / radius) ** 2)
    size = rng.uniform(2.4, 4.2, count)
    chips = np.stack([reach * np.cos(angle), reach * np.sin(angle), top - size * rng.uniform(0.1, 0.6, count), size], 1)
    chips = chips.astype(np.float32)

    def chip(x, y, z):
        """Distance to the nearest chip."""
        d = np.full_like(x, 50)
        for cx, cy, cz, r in chips:
            near = np.flatnonzero((np.abs(x - cx) < 9) & (np.abs(y - cy) < 9))
            px, py, pz = x[near] - cx, y[near] - cy, z[near] - cz
            d[near] = np.minimum(d[near], np.sqrt(px * px + py * py + pz * pz) - r)
        return d

    def dough(x, y, z):
        n = fissure(x, y, z)
        return smooth(x, y, z) - rough(x, y, z) - crumbs(x, y, z) + 0.9 * fade(n * n * 40) * (z > 0)

    def field(x, y, z):
        return smooth_min(dough(x, y, z), chip(x, y, z), 0.8)

    base, rim = tint(rng, (0.62, 0.40, 0.18)), tint(rng, (0.42, 0.23, 0.09))
    cocoa = tint(rng, (0.10, 0.05, 0.03))
    grain = Waves.draw(rng, wavelength=(1.8, 5), amplitude=1.0, count=8)

    def albedo(x, y, z):
        rgb = mix(base, rim, smoothstep(radius - 11, radius + 1, np.sqrt(x * x + y * y) + 2 * rough(x, y, z)))
        rgb = (
            rgb * (1 + 0.25 * rough(x, y, z) + 0.08 * grain(x, y, z)) * (1 - 0.3 * speckle(grain(y, z, x), share=0.04))
        )
        return mix(rgb, cocoa, smoothstep(0.5, 0.1, chip(x, y, z)))

    return Piece(
        field, albedo, radius=radius + 7, feet=[((0, 0, 0), (radius, radius, half))], inside=(0.60, 0.42, 0.20),
        gloss=0.03, shine=8, relax=0.7,
    )  # fmt: skip


def grooved_sphere(rng: Rng) -> Piece:
    """A stone fruit, as a peach: a groove over half of it, a dimple at the stem, yellow to red, downy."""
    radius, squash = rng.normal(37, 1.4), rng.normal(1.05, 0.03)
    lumps = Waves.draw(rng, wavelength=(40, 90), amplitude=0.8, mixing=0.2)
    down = Waves.draw(rng, wavelength=(2, 5), amplitude=0.04)
    depth, width = rng.uniform(1.6, 3.2), rng.uniform(2.5, 4)

    def smooth(x, y, z):
        d = np.sqrt(x * x + y * y + (z * np.float32(squash)) ** 2) - np.float32(radius)
        groove = np.float32(depth) * fade(y * y / np.float32(4 * width * width)) * smoothstep(-12, 10, x)
        side = x * x + y * y
        dimple = np.float32(8) * np.exp(-side / np.float32(80)) * (z > 0)
        return d + groove + dimple

    marks = dents(smooth, rng, count=(2, 7), radius=(3, 9), height=(-0.9, 0.3), bound=radius)
    field = lambda x, y, z: smooth(x, y, z) - lumps(x, y, z) - marks(x, y, z) - down(x, y, z)  # noqa: E731
    ground, blush = tint(rng, (0.83, 0.53, 0.16), spread=0.05), tint(rng, (0.52, 0.08, 0.07))
    sunny = rng.normal(size=3)
    sunny /= np.linalg.norm(sunny) * radius
    edge = Waves.draw(rng, wavelength=(9, 45), amplitude=1.0, count=10, mixing=0.3)
    freckles = Waves.draw(rng, wavelength=(1.4, 3.5), amplitude=1.0, count=10)

    def albedo(x, y, z):
        side = np.float32(sunny[0]) * x + np.float32(sunny[1]) * y + np.float32(sunny[2]) * z
        n = freckles(x, y, z)
        rgb = mix(ground, blush, smoothstep(-1.1, 0.9, side + 0.30 * edge(x, y, z) + 0.10 * n))
        return rgb * (1 + 0.05 * n) * (1 - 0.3 * speckle(freckles(z, x, y), share=0.02))

    tip = axis_rotation(0, rng.normal(0, 0.7)) @ axis_rotation(1, rng.normal(0, 0.5))
    return Piece(
        field, albedo, radius=radius + 5, feet=[((0, 0, 0), (radius, radius, radius / squash))], pose=tip,
        inside=(0.85, 0.60, 0.28), gloss=0.04, shine=6, relax=0.8,
        spots={k: lambda x, y, z: np.hypot(x, y) > 12 for k in ("hole", "bulge")},
    )  # fmt: skip


def lumpy_ellipsoid(rng: Rng) -> Piece:
    """A tuber, as a potato: uneven all over, shallow eyes, earth-coloured skin with scurf."""
    axes = tuple(float(v) for v in (rng.normal(50, 3), rng.normal(36, 2.2), rng.normal(30, 1.8)))
    lumps = Waves.draw(rng, wavelength=(45, 100), amplitude=1.8, mixing=0.3)
    knobs = Waves.draw(rng, wavelength=(12, 28), amplitude=0.30)
    skin = Waves.draw(rng, wavelength=(1.5, 5), amplitude=0.06)

    def smooth(x, y, z):
        return ellipsoid(x, y, z, axes=axes) - lumps(x, y, z) - knobs(x, y, z)

    count = int(rng.integers(7, 13))
    eyes = Bumps(
        on_surface(smooth, rng, count=count, radius=axes[1]), rng.uniform(2, 4.5, count), -rng.uniform(0.5, 1.6, count)
    )
    marks = dents(smooth, rng, count=(2, 6), radius=(3, 8), height=(-0.8, 0.6), bound=axes[1])
    field = lambda x, y, z: smooth(x, y, z) - eyes(x, y, z) - marks(x, y, z) - skin(x, y, z)  # noqa: E731
    light, dark = tint(rng, (0.60, 0.45, 0.24)), tint(rng, (0.36, 0.24, 0.12))
    scurf = Waves.draw(rng, wavelength=(5, 22), amplitude=1.0, count=10, mixing=1.0)
    grain = Waves.draw(rng, wavelength=(1.6, 4.5), amplitude=1.0, count=10)

    def albedo(x, y, z):
        n = grain(x, y, z)
        rgb = mix(light, dark, speckle(scurf(x, y, z) + 0.35 * n, share=0.18, soft=0.8))
        rgb = rgb * (1 + 0.07 * n) * (1 - 0.45 * speckle(grain(y, z, x), share=0.025))
        return np.clip(rgb * (1 + 0.35 * eyes(x, y, z)), 0.02, 1)

    return Piece(
        field, albedo, radius=axes[0] + 9, feet=[((0, 0, 0), axes)], inside=(0.80, 0.70, 0.42), gloss=0.05, shine=10,
        relax=0.72, pose=axis_rotation(0, rng.uniform(0, 2 * np.pi)),
    )  # fmt: skip
