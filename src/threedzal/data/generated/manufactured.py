"""The five made classes: threaded part, rod, porous block, twisted strand, ribbed wheel."""

from __future__ import annotations

import numpy as np

from threedzal.data.generated.piece import Piece, Rng, axis_rotation, dents, mix, speckle, tint
from threedzal.data.generated.sdf import (
    Pores,
    Waves,
    hexagon,
    rounded_box,
    rounded_profile,
    smooth_max,
    smooth_min,
    smoothstep,
    triangle,
)


def threaded_part(rng: Rng) -> Piece:
    """A plastic screw fitting, as a cable gland: hexagonal head, flange, thread, a crown of teeth, bored through."""
    scale = np.float32(1 + rng.normal(0, 0.012))
    phase, pitch = rng.uniform(0, 1), 2.6
    waver = Waves.draw(rng, wavelength=(15, 50), amplitude=0.05)
    flash = rng.uniform(-0.25, 0.25, 10).astype(np.float32)  # each slot is a little wider or narrower

    def field(x, y, z):
        x, y, z = x / scale, y / scale, z / scale
        r, turn = np.sqrt(y * y + z * z), np.arctan2(z, y) * np.float32(0.5 / np.pi)
        head = smooth_max(hexagon(y, z, radius=23), np.abs(x + 22) - 8, 1.0)
        head = smooth_max(head, r - np.float32(26.0) + 0.3 * np.abs(x + 22), 0.8)
        flange = rounded_profile(r, x + 11.5, radius=21.5, half=2.2, edge=0.8)
        nose = rounded_profile(r, x + 33, radius=19.5, half=4, edge=1.5)
        thread = r - np.float32(16.6) - 0.6 * triangle((x / pitch) - turn + phase) * smoothstep(20, 18, x)
        body = np.maximum(thread, np.abs(x - 6) - 17)
        crown = np.maximum(r - np.float32(15.2) + 0.09 * (x - 23), np.abs(x - 29) - 8)
        sector = turn * 10 + 0.5
        tooth = np.floor(sector)
        across = np.abs(sector - tooth - 0.5) * r * np.float32(2 * np.pi / 10)
        slot = np.maximum(across - 1.1 - flash[tooth.astype(np.int32) % 10], 26 - x)
        crown = smooth_max(crown, -slot, 0.4)
        d = smooth_min(smooth_min(head, nose, 0.8), np.minimum(np.minimum(flange, body), crown), 0.5)
        bore = r - np.where(x < -20, 15.5, 11.5).astype(np.float32)
        return (smooth_max(d, -bore, 0.8) - waver(x, y, z)) * scale

    grey = tint(rng, (0.36, 0.335, 0.32), spread=0.06)
    cloud = Waves.draw(rng, wavelength=(12, 60), amplitude=1.0)
    grain = Waves.draw(rng, wavelength=(1.2, 4), amplitude=1.0)

    def albedo(x, y, z):
        rgb = np.asarray(grey, np.float32)[:, None] * (1 + 0.03 * cloud(x, y, z) + 0.02 * grain(x, y, z))
        return rgb * (1 - 0.35 * speckle(grain(z, x, y), share=0.006))

    lean = np.arctan2(24.5 - 14.5, 58)  # it rests on the head's edge and on the crown
    return Piece(
        field, albedo, radius=48, feet=[((-15, 0, 0), (0.1, 24.5, 24.5)), ((36, 0, 0), (0.1, 14, 14))],
        pose=axis_rotation(1, lean) @ axis_rotation(0, rng.uniform(0, 2 * np.pi)), inside=(0.46, 0.44, 0.42),
        gloss=0.35, shine=24, relax=0.75,
        spots={
            "bent": lambda x, y, z: (x > 28) & (np.hypot(y, z) > 12.5),
            "thread": lambda x, y, z: (x > -6) & (x < 18) & (np.hypot(y, z) > 15),
            "cut": lambda x, y, z: (np.hypot(y, z) > 13),
            "hole": lambda x, y, z: (np.hypot(y, z) > 13) & (x < 20),
        },
    )  # fmt: skip


def rod(rng: Rng) -> Piece:
    """A wooden dowel: fluted, chamfered, with a grain along it."""
    half, radius = rng.normal(44, 0.8), rng.normal(11.5, 0.25)
    flutes, depth = 18, rng.uniform(0.45, 0.75)
    spin = rng.uniform(0, 1)
    bow = rng.normal(0, 0.00018)
    grain = Waves.draw(rng, wavelength=(1.5, 5), amplitude=0.05, stretch=(14, 1, 1))
    coarse = Waves.draw(rng, wavelength=(12, 40), amplitude=0.10, stretch=(3, 1, 1))

    def smooth(x, y, z):
        y = y - np.float32(bow) * x * x
        r, turn = np.sqrt(y * y + z * z), np.arctan2(z, y) * np.float32(0.5 / np.pi)
        profile = np.float32(radius) - np.float32(depth) * np.maximum(triangle(turn * flutes + spin) - 0.1, 0)
        d = np.maximum(r - profile, np.abs(x) - np.float32(half))
        chamfer = (r + np.abs(x) - np.float32(radius + half - 2.2)) * np.float32(0.7071)
        return smooth_max(d, chamfer, 0.4)

    nicks = dents(smooth, rng, count=(1, 6), radius=(1.2, 3.5), height=(-0.6, -0.1), bound=half)
    field = lambda x, y, z: smooth(x, y, z) - grain(x, y, z) - coarse(x, y, z) - nicks(x, y, z)  # noqa: E731
    light, dark = tint(rng, (0.66, 0.48, 0.29), spread=0.06), tint(rng, (0.48, 0.31, 0.16), spread=0.06)
    veins = Waves.draw(rng, wavelength=(2, 7), amplitude=1.0, count=8, stretch=(16, 1, 1))
    fleck = Waves.draw(rng, wavelength=(0.9, 2.2), amplitude=1.0, count=8, stretch=(7, 1, 1))

    def albedo(x, y, z):
        rgb = mix(light, dark, np.clip(0.4 + 0.3 * veins(x, y, z) + 0.1 * fleck(x, y, z), 0, 1))
        rgb = rgb * (1 - 0.35 * speckle(fleck(x, z, y), share=0.03))
        return rgb * np.where(np.abs(x) > half - 0.6, 0.72, 1).astype(np.float32)

    return Piece(
        field, albedo, radius=half + 14, feet=[((s * half, 0, 0), (0.1, radius, radius)) for s in (-1, 1)],
        pose=axis_rotation(0, rng.uniform(0, 2 * np.pi)), inside=(0.72, 0.54, 0.33), gloss=0.06, shine=12, relax=0.8,
    )  # fmt: skip


def porous_block(rng: Rng) -> Piece:
    """A wedge of foam: soft edges, open pores of two sizes."""
    half = tuple(float(v) for v in (rng.normal(43, 0.9), rng.normal(30, 0.9), rng.normal(13, 0.6)))
    wedge = rng.normal(0.10, 0.015)
    sag = Waves.draw(rng, wavelength=(40, 100), amplitude=0.6, mixing=0.2)
    big = Pores.draw(rng, cell=7.5, radius=(0.6, 2.3))
    small = Pores.draw(rng, cell=3.1, radius=(0.35, 1.15))
    turn = (
        axis_rotation(0, 0.4) @ axis_rotation(1, 0.5) @ axis_rotation(2, rng.uniform(0, 6))
    )  # no row of pores along an edge
    turn = turn.astype(np.float32)

    def block(x, y, z):
        return rounded_box(x + np.float32(wedge) * y, y, z + np.float32(wedge) * 0.5 * x, half=half, radius=2.0) - sag(
            x, y, z
        )

    def pores(x, y, z):
        u, v, w = (row[0] * x + row[1] * y + row[2] * z for row in turn)
        return np.minimum(big(u, v, w), small(u + 1.7, v, w))

    def field(x, y, z):
        d = block(x, y, z)
        near = np.flatnonzero(np.abs(d) < 4)
        if near.size:
            d[near] = np.maximum(d[near], -pores(x[near], y[near], z[near]))
        return d

    foam = tint(rng, (0.46, 0.52, 0.62), spread=0.06)
    cloud = Waves.draw(rng, wavelength=(15, 60), amplitude=1.0)
    grain = Waves.draw(rng, wavelength=(0.9, 3), amplitude=1.0, count=8)

    def albedo(x, y, z):
        rgb = np.asarray(foam, np.float32)[:, None] * (1 + 0.05 * cloud(x, y, z) + 0.05 * grain(x, y, z))
        return rgb * (1 - 0.35 * smoothstep(-0.2, -2.0, block(x, y, z)))  # the pores' floors see less light

    return Piece(
        field, albedo, radius=58, inside=tuple(np.asarray(foam) * 0.9), gloss=0.02, shine=6, relax=0.8,
        pose=axis_rotation(0, np.pi * rng.integers(0, 2)),
        feet=[((sx * half[0], sy * half[1], 0), (0.1, 0.1, half[2])) for sx in (-1, 1) for sy in (-1, 1)],
    )  # fmt: skip


def twisted_strand(rng: Rng) -> Piece:
    """A rope of three strands, each of many fibres, laid in a gentle curve; a coloured tracer in one strand."""
    half = rng.normal(74, 2)
    lay = rng.normal(33, 1.2)  # mm along the rope for one turn
    strand, orbit = rng.normal(6.6, 0.2), rng.normal(6.0, 0.2)
    start, sway = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    swing, length = rng.uniform(0.5, 3.0), rng.uniform(90, 160)
    fibre = rng.uniform(0.20, 0.32)
    fuzz = Waves.draw(rng, wavelength=(1.5, 4), amplitude=0.09)
    loose = Waves.draw(rng, wavelength=(20, 60), amplitude=0.25)

    def strands(x, y, z):
        """Distance to the nearest strand, its number, and the angle round its own axis."""
        y = y - np.float32(swing) * np.sin(x * np.float32(2 * np.pi / length) + np.float32(sway))
        angle = x * np.float32(2 * np.pi / lay) + np.float32(start)
        best, which, local = np.full_like(x, np.inf), np.zeros_like(x), (y, z)
        for i in range(3):
            a = angle + np.float32(2 * np.pi / 3 * i)
            across = y - np.float32(orbit) * np.cos(a), z - np.float32(orbit) * np.sin(a)
            d = np.sqrt(across[0] * across[0] + across[1] * across[1])
            nearer = d < best
            best, which = np.where(nearer, d, best), np.where(nearer, np.float32(i), which)
            local = tuple(np.where(nearer, new, old) for new, old in zip(across, local, strict=True))
        return best - np.float32(strand), which, local

    def twist(x, local):
        """Fibres run almost along the rope: their own twist undoes the strand's."""
        return np.arctan2(local[1], local[0]) * 9 - x * np.float32(2 * np.pi / 9)

    def field(x, y, z):
        d, _, local = strands(x, y, z)
        near = np.flatnonzero(np.abs(d) < 2)
        if near.size:
            n = x[near], y[near], z[near]
            d[near] -= np.float32(fibre) * np.sin(twist(n[0], (local[0][near], local[1][near]))) + fuzz(*n) + loose(*n)
        return smooth_max(d, np.abs(x) - np.float32(half), 1.5)

    white, tracer = tint(rng, (0.64, 0.62, 0.56), spread=0.06), tint(rng, (0.10, 0.20, 0.45))
    cloud = Waves.draw(rng, wavelength=(8, 40), amplitude=1.0)
    grain = Waves.draw(rng, wavelength=(0.9, 3), amplitude=1.0, count=8)

    def albedo(x, y, z):
        d, which, local = strands(x, y, z)
        wave = np.sin(twist(x, local))
        rgb = np.asarray(white, np.float32)[:, None] * (
            0.92 + 0.08 * wave + 0.05 * cloud(x, y, z) + 0.05 * grain(x, y, z)
        )
        band = (which == 0) * smoothstep(0.2, 0.7, np.sin(twist(x, local) / 9 * 2))
        return mix(rgb, tracer, band * 0.85) * (1 - 0.3 * speckle(grain(z, x, y), share=0.01))

    return Piece(
        field, albedo, radius=half + 12,
        feet=[((s * half, 0, 0), (0.1, strand + orbit, strand + orbit)) for s in (-1, 1)],
        inside=(0.60, 0.57, 0.50), gloss=0.08, shine=14, relax=0.65,
        spots={k: lambda x, y, z: np.abs(x) < 62 for k in ("bulge", "cut", "hole")},
    )  # fmt: skip


def ribbed_wheel(rng: Rng) -> Piece:
    """A rubber tyre lying on its side: tread blocks round it, rings and raised marks on its wall."""
    outer, inner, half = rng.normal(48, 0.5), rng.normal(27, 0.4), rng.normal(13.5, 0.4)
    blocks, slant = 34, rng.choice([-1.0, 1.0]) * 0.03
    wave = Waves.draw(rng, wavelength=(30, 90), amplitude=0.25)
    skin = Waves.draw(rng, wavelength=(1.5, 4), amplitude=0.03)
    spin = rng.uniform(0, 1)

    def smooth(x, y, z):
        r = np.sqrt(x * x + y * y)
        middle, width = (outer + inner) / 2, (outer - inner) / 2
        return rounded_profile(np.abs(r - np.float32(middle)), z, radius=width, half=half, edge=6.5), r

    def marks(x, y, r):
        """Height of what is moulded into the wall: two rings, a knurled band, letters (bars of uneven length)."""
        turn = np.arctan2(y, x) * np.float32(0.5 / np.pi) + np.float32(spin)
        ring = 0.5 * smoothstep(0.9, 0.5, np.abs(r - 33)) + 0.4 * smoothstep(0.7, 0.3, np.abs(r - 43))
        cell = turn * 44
        letter = (np.sin(np.floor(cell) * 12.9898) > 0.1) * smoothstep(0.36, 0.26, np.abs(cell - np.floor(cell) - 0.5))
        letter = letter * smoothstep(2.6, 2.1, np.abs(r - 38)) * (np.abs(np.sin(turn * 2 * np.pi)) > 0.35)
        return ring + 0.45 * letter

    def field(x, y, z):
        d, r = smooth(x, y, z)
        near = np.flatnonzero(np.abs(d) < 4)
        if near.size:
            px, py, pz, pr = x[near], y[near], z[near], r[near]
            turn = np.arctan2(py, px) * np.float32(0.5 / np.pi)
            tread = smoothstep(outer - 6, outer - 2.5, pr)
            groove = smoothstep(0.0, 0.5, triangle(turn * blocks + slant * pz * np.sign(pz)) - 0.15)
            seam = smoothstep(1.6, 1.0, np.abs(pz))
            detail = -1.5 * tread * np.maximum(groove, seam) + marks(px, py, pr) * (1 - tread) * (np.abs(pz) > 7)
            d[near] -= detail + wave(px, py, pz) + skin(px, py, pz)
        return d

    rubber = tint(rng, (0.105, 0.105, 0.11), spread=0.12)
    dust = Waves.draw(rng, wavelength=(6, 35), amplitude=1.0, count=8)
    grain = Waves.draw(rng, wavelength=(1, 3), amplitude=1.0)
    dusty = rng.uniform(0, 0.10)

    def albedo(x, y, z):
        rgb = np.asarray(rubber, np.float32)[:, None] * (1 + 0.06 * grain(x, y, z))
        return mix(rgb, (0.35, 0.33, 0.30), np.clip(dusty * (0.6 + dust(x, y, z)), 0, 0.5))

    return Piece(
        field, albedo, radius=outer + 10, feet=[((0, 0, 0), (outer - 6, outer - 6, half))], inside=(0.13, 0.13, 0.13),
        gloss=0.22, shine=12, relax=0.7,
    )  # fmt: skip
