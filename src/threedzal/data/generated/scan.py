"""One generated scan, and its defect-free twin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

from threedzal.data.generated.camera import (
    Camera,
    Pose,
    positions,
    rotate,
    sphere_span,
    surface_normals,
    trace,
    trace_image,
)
from threedzal.data.generated.classes import ObjectClass
from threedzal.data.generated.defect import Defect, Frame
from threedzal.data.generated.defects import MAKERS, bent_rod
from threedzal.data.generated.piece import Piece, axis_rotation
from threedzal.data.generated.products import class_number, object_class
from threedzal.data.generated.sensor import Noise, Scene, measured, shaded

DISTANCE = 640.0  # mm, camera to table along the middle ray
DEPTH_TOLERANCE = 0.15  # mm: a pixel whose true depth changed by more is defective ...
COLOUR_TOLERANCE = 0.02  # ... and so is one whose reflectance changed by more in any channel
SPLITS = ("train", "validation", "test")
TABLE_ALBEDO = (0.0016, 0.0020, 0.0027)


@dataclass(frozen=True)
class ScanSpec:
    """Which scan: everything about it follows from these five."""

    class_name: str
    split: str
    defect: str
    index: int
    seed: int = 0

    @property
    def entry(self) -> ObjectClass:
        return object_class(self.class_name, seed=self.seed)

    def rng(self, purpose: int, attempt: int = 0) -> np.random.Generator:
        """Generator of one purpose (0 piece, 1 pose, 2 noise, 3 defect) of this scan, independent of all others."""
        kind = 0 if self.defect == "good" else 1 + self.entry.defects.index(self.defect)
        key = (
            self.seed,
            class_number(self.class_name),
            SPLITS.index(self.split),
            kind,
            self.index,
            purpose,
            attempt,
        )
        return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class GeneratedScan:
    """A scan as the instrument gives it, with the truth behind it and the twin without the defect.

    Attributes:
        rgb: (h, w, 3) uint8. xyz: (h, w, 3) float32 metres, (0, 0, 0) where nothing was measured.
        gt: (h, w) uint8, the defect's value where the true geometry or colour differs from the twin's, else 0.
        scene, twin: the truth with and without the defect (the same object for a good scan).
    """

    rgb: Array
    xyz: Array
    gt: Array
    scene: Scene
    twin: Scene
    noise: Noise
    camera: Camera


def class_camera(entry: ObjectClass, *, size: int) -> Camera:
    """The camera of a class; the longer side of its picture has `size` pixels."""
    width, height = (int(round(size * a)) for a in entry.aspect)
    focal = width * DISTANCE / entry.view
    cx, cy = (width - 1) / 2 + entry.axis[0] * width, (height - 1) / 2 + entry.axis[1] * width
    return Camera(width, height, focal, cx, cy)


def lay_down(
    piece: Piece, camera: Camera, rng: np.random.Generator, *, yaw: float, view: float
) -> tuple[Pose, Array, float]:
    """Put a piece on the table: pose, and the table's plane `normal . p = offset` (normal towards the camera)."""
    slope = np.array([-0.12, 0.36]) + rng.normal(0, 0.004, 2)
    normal = np.array([*slope, -1.0])
    normal /= np.linalg.norm(normal)
    middle = (
        np.array([((camera.width - 1) / 2 - camera.cx), ((camera.height - 1) / 2 - camera.cy), camera.focal])
        / camera.focal
    )
    on_table = middle * (DISTANCE + rng.normal(0, 1.0))
    offset = float(normal @ on_table)
    across = np.cross([0.0, 1.0, 0.0], normal)
    across /= np.linalg.norm(across)
    table = np.stack([across, np.cross(normal, across), normal])  # rows: the table's axes in the camera frame
    tilt = axis_rotation(0, rng.normal(0, 0.04)) @ axis_rotation(1, rng.normal(0, 0.04))
    stand = tilt @ axis_rotation(2, rng.uniform(-yaw, yaw)) @ piece.pose  # piece -> table
    lift = piece.support(stand.T @ np.array([0.0, 0.0, 1.0])) - 0.3
    shift = rng.uniform(-1, 1, 2) * 0.035 * view * min(1, camera.height / camera.width)
    raised = middle * (offset + lift) / (normal @ middle)  # where the middle ray is at the height of the piece's origin
    centre = raised + across * shift[0] + table[1] * shift[1]
    return Pose(stand.T @ table, centre), normal, offset


def empty_scene(camera: Camera, piece: Piece, normal: Array, offset: float) -> tuple[Scene, Array]:
    """The table alone, and the rays (3, h*w) that see it."""
    rays = camera.rays()
    shape = camera.height, camera.width
    depth = (offset / rotate(normal[None], rays)[0]).astype(np.float32)
    view = (-rays / np.linalg.norm(rays, axis=0)).astype(np.float32)
    flat = np.broadcast_to(np.asarray(normal, np.float32)[:, None], (3, depth.size)).copy()
    albedo = np.broadcast_to(np.asarray(TABLE_ALBEDO, np.float32)[:, None], (3, depth.size)).copy()
    scene = Scene(depth, albedo, flat, np.zeros(depth.size, bool), view.reshape(3, *shape), piece.gloss, piece.shine)
    return scene, rays


def cover(
    scene: Scene, table: Scene, where: Array, t: Array, *, field, albedo, pose: Pose, rays: Array, step: float
) -> Scene:
    """A scene whose pixels `where` (flat) see the surface at depths `t` (inf: the table)."""
    depth, colour, normal, on = (a.copy() for a in (scene.depth, scene.albedo, scene.normal, scene.on))
    depth[where], colour[:, where], normal[:, where] = (
        table.depth[where],
        table.albedo[:, where],
        table.normal[:, where],
    )
    seen = np.isfinite(t)
    on[where] = seen
    hit = where[seen]
    if hit.size:
        p = positions(pose.origin(), rays[:, hit], t[seen])
        depth[hit] = t[seen]
        colour[:, hit] = albedo(*p)
        normal[:, hit] = rotate(pose.rotation.T.astype(np.float32), surface_normals(field, *p, step=step))
    return replace(scene, depth=depth, albedo=colour, normal=normal, on=on)


def find_spot(spec: ScanSpec, piece: Piece, clean: Scene, pose: Pose, rays: Array, rng: np.random.Generator) -> Frame:
    """A frame at a random visible point that the defect kind may sit on and that faces the camera."""
    facing = (clean.normal * clean.view.reshape(3, -1)).sum(0)
    for least in (0.55, 0.3, 0.0):
        able = np.flatnonzero(clean.on & (facing > least))
        p = positions(pose.origin(), rays[:, able], clean.depth[able])
        if spec.defect in piece.spots:
            able = able[np.asarray(piece.spots[spec.defect](*p))]
        if able.size:
            break
    if not able.size:
        able = np.flatnonzero(clean.on)
    pixel = able[rng.integers(able.size)]
    point = np.array([c[0] for c in positions(pose.origin(), rays[:, [pixel]], clean.depth[[pixel]])], np.float64)
    normal = pose.rotation @ clean.normal[:, pixel].astype(np.float64)
    return Frame.draw(point, normal / np.linalg.norm(normal), rng)


def with_defect(
    clean: Scene, table: Scene, piece: Piece, defect: Defect, *, pose: Pose, rays: Array, step: float
) -> tuple[Scene, Array]:
    """The scene with the defect, and (h*w,) bool where its truth differs from the clean one.

    Only rays through the defect's sphere are traced anew. A pixel is changed when its depth differs by more than the
    tolerance and the two distance fields disagree at one of the two surface points (two traces of one surface that stop
    a little apart on a skimming ray are no defect), or when the surface that it sees has another colour than that place
    has on the clean piece. All other pixels keep the twin's values to the bit.
    """
    origin = pose.origin()
    enter, leave = sphere_span(origin, rays, centre=defect.centre, radius=defect.reach)
    before = np.where(clean.on, clean.depth, np.inf)
    where = np.flatnonzero((enter < leave) & (enter < np.minimum(before, table.depth)))
    changed = np.zeros(clean.depth.size, bool)
    if not where.size:
        return clean, changed
    field, t = defect.field(piece), before[where]
    if defect.moves:
        t = trace(
            field, origin, rays[:, where], enter[where], table.depth[where], relax=min(piece.relax, 0.6), steps=140
        )
    scene = cover(clean, table, where, t, field=field, albedo=defect.albedo(piece), pose=pose, rays=rays, step=step)
    moved = np.abs(scene.depth - clean.depth)[where] > DEPTH_TOLERANCE
    for surface in (clean, scene):
        p = positions(origin, rays[:, where], surface.depth[where])
        changed[where] |= moved & surface.on[where] & (np.abs(field(*p) - piece.field(*p)) > 0.05)
    p = positions(origin, rays[:, where], scene.depth[where])
    repainted = np.abs(scene.albedo[:, where] - np.clip(piece.albedo(*p), 0.005, 1)).max(0) > COLOUR_TOLERANCE
    changed[where] |= repainted & scene.on[where]
    keep = changed
    return replace(
        clean,
        depth=np.where(keep, scene.depth, clean.depth),
        albedo=np.where(keep, scene.albedo, clean.albedo),
        normal=np.where(keep, scene.normal, clean.normal),
        on=np.where(keep, scene.on, clean.on),
    ), changed


def make_scan(spec: ScanSpec, *, size: int) -> GeneratedScan:
    """Render one scan (and, for a defective one, its twin); the same bytes for the same spec and size."""
    entry, camera = spec.entry, class_camera(spec.entry, size=size)
    shape = camera.height, camera.width
    piece = entry.make(spec.rng(0))
    pose, normal, offset = lay_down(piece, camera, spec.rng(1), yaw=entry.yaw, view=entry.view)
    table, camera_rays = empty_scene(camera, piece, normal, offset)
    rays, pitch = pose.turn(camera_rays), DISTANCE / camera.focal
    t = trace_image(piece.field, pose.origin(), rays, table.depth, shape=shape, radius=piece.radius, relax=piece.relax)
    step = float(np.clip(pitch * 0.5, 0.08, 0.4))
    clean = cover(
        table, table, np.arange(t.size), t, field=piece.field, albedo=piece.albedo, pose=pose, rays=rays, step=step
    )
    scene, changed = clean, np.zeros(t.size, bool)
    coarse = max(1.0, pitch / 0.7) ** 0.7  # a picture of few pixels needs larger defects to show any
    for attempt in range(24 if spec.defect != "good" else 0):
        rng = spec.rng(3, attempt)
        frame = find_spot(spec, piece, clean, pose, rays, rng)
        maker = bent_rod if (spec.class_name, spec.defect) == ("rod", "bent") else MAKERS[spec.defect]
        defect = maker(frame, rng, entry.detail * coarse * 1.06**attempt)
        scene, changed = with_defect(clean, table, piece, defect, pose=pose, rays=rays, step=step)
        if max(6, 6e-4 * changed.size) <= changed.sum() <= 0.05 * changed.size:
            break
    noise = Noise.draw(spec.rng(2), shape)
    scene, twin = (as_image(s, shape) for s in (scene, clean))
    return GeneratedScan(
        rgb=shaded(scene, noise, focal=camera.focal),
        xyz=camera.points(measured(scene, noise, focal=camera.focal)),
        gt=(changed.reshape(shape) * np.uint8(entry.value(spec.defect))).astype(np.uint8),
        scene=scene, twin=twin, noise=noise, camera=camera,
    )  # fmt: skip


def as_image(scene: Scene, shape: tuple[int, int]) -> Scene:
    """The same scene with its flat arrays as pictures."""
    return replace(
        scene,
        depth=scene.depth.reshape(shape),
        albedo=scene.albedo.reshape(3, *shape),
        normal=scene.normal.reshape(3, *shape),
        on=scene.on.reshape(shape),
    )
