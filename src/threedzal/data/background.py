"""What of a scan is the object: the table removed as in BTF, and the object's silhouette.

BTF's recipe (Back to the Feature, CVPRW 2023): a RANSAC plane on the 10-pixel border, points within 5 mm of it dropped,
the largest DBSCAN cluster (radius 6 mm, 30 points) kept. The same recipe here by other means: the plane comes from
many hypotheses at once and a least-squares refit, and the clusters are found on voxels instead of points.
"""

import numpy as np

from threedzal.data.readers.arrays import measured_pixels

_HYPOTHESES = 200
_BORDER_SAMPLE = 2000  # border points that vote on the hypotheses; all of them take part in the refit
_INLIER_DISTANCE = 0.004  # metres; BTF's RANSAC threshold: the table is measured with a few millimetres of noise
_MIN_BORDER_POINTS = 50
_MIN_INLIER_FRACTION = 0.3  # a border that lies on no plane (an object that fills the picture) is not a table
_SCENERY_EDGE = 0.15  # of the picture's edge; the cable glands of MVTec 3D-AD cover none of it
_MOST_SCENERY = 4  # clusters that are passed over
_SMALLEST_OBJECT = 0.05  # of the largest cluster: what is smaller is speckle
_MIN_CLUSTER_RADIUS_PIXELS = 6.0  # so that a coarse scan, 1 mm a pixel and more, is not all noise


def find_foreground(
    xyz: np.ndarray,
    *,
    plane_distance: float = 0.005,
    border: int = 10,
    cluster_radius: float = 0.006,
    min_points: int = 30,
) -> np.ndarray:
    """Measured pixels of the object.

    Args:
        xyz: `(h, w, 3)` float32, metres, camera at the origin; `(0, 0, 0)` where nothing was measured.
        plane_distance: metres above the table up to which a point counts as table. Points below the table go too.
        border: width in pixels of the frame in which the table is looked for.
        cluster_radius: metres; DBSCAN's eps. At least six pixel spacings are used, whatever is given.
        min_points: DBSCAN's density threshold, points within `cluster_radius`.

    Returns:
        `(h, w)` bool. All measured pixels where the border shows no plane (a scan whose background is already removed);
        all False where nothing stands higher than `plane_distance` in a cluster. The same scan gives the same answer.

    Raises:
        ValueError: `xyz` is not `(h, w, 3)`.
    """
    if xyz.ndim != 3 or xyz.shape[-1] != 3:
        raise ValueError(f"find_foreground wants xyz of shape (h, w, 3), got {tuple(xyz.shape)}")
    measured = measured_pixels(xyz)
    frame = np.ones(measured.shape, dtype=bool)
    frame[border:-border, border:-border] = False
    plane = fit_plane(xyz[measured & frame].astype(np.float64))
    if plane is None:
        return measured
    normal, offset = plane
    above = measured.copy()
    above[measured] = xyz[measured] @ normal.astype(np.float32) + np.float32(offset) >= plane_distance
    radius = max(cluster_radius, _MIN_CLUSTER_RADIUS_PIXELS * _pixel_spacing(xyz, above))
    return _object(xyz, above, radius=radius, min_points=min_points)


def _object(xyz: np.ndarray, above: np.ndarray, *, radius: float, min_points: int) -> np.ndarray:
    """The largest cluster of the pixels `above (h, w)` bool.

    Clusters that run along the picture's edge (walls, a fixture) are passed over where there is another of some size.
    """
    largest, left = None, above.copy()
    for _ in range(_MOST_SCENERY + 1):
        cluster = left.copy()
        cluster[left] = largest_cluster(xyz[left], radius=radius, min_points=min_points)
        largest = cluster if largest is None else largest
        if cluster.sum() <= _SMALLEST_OBJECT * largest.sum():
            break
        if _edge(cluster).mean() < _SCENERY_EDGE:
            return cluster
        left &= ~cluster
    return largest


def _edge(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels of `(h, w)`, as one row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def fit_plane(points: np.ndarray, *, distance: float = _INLIER_DISTANCE) -> tuple[np.ndarray, float] | None:
    """Plane `normal . p + offset = 0` through most of `points (N, 3)`, or None where no plane holds 30 % of them.

    `normal` has length 1 and points towards the camera (the origin), so `normal . p + offset` is the height over the
    plane in the units of `points`. RANSAC with a fixed seed, all hypotheses at once, then two least-squares refits.
    """
    if len(points) < _MIN_BORDER_POINTS:
        return None
    rng = np.random.default_rng(0)
    voters = points[rng.permutation(len(points))[:_BORDER_SAMPLE]]
    corners = voters[rng.integers(len(voters), size=(_HYPOTHESES, 3))]  # [hypotheses, 3 corners, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-12  # three points on a line span no plane
    if not usable.any():
        return None
    normals = normals[usable] / lengths[usable, None]
    offsets = -(normals * corners[usable, 0]).sum(axis=1)
    heights = np.abs(voters @ normals.T + offsets)  # [voters, hypotheses]
    # Truncated squares (MSAC): among planes with the same inliers the one in their middle wins.
    best = (np.minimum(heights / distance, 1.0) ** 2).sum(axis=0).argmin()
    normal, offset = normals[best], offsets[best]
    for _ in range(2):
        inliers = points[np.abs(points @ normal + offset) < distance]
        if len(inliers) < max(3, _MIN_INLIER_FRACTION * len(points)):
            return None
        centre = inliers.mean(axis=0)
        normal = np.linalg.eigh((inliers - centre).T @ (inliers - centre))[1][:, 0]
        offset = -normal @ centre
    return (normal, float(offset)) if offset >= 0 else (-normal, float(-offset))


def largest_cluster(points: np.ndarray, *, radius: float, min_points: int) -> np.ndarray:
    """`(N,)` bool: the largest DBSCAN cluster of `points (N, 3)`, found on voxels of side `radius / 2`.

    A voxel stands for its points at their mean. It is dense where `min_points` points lie in voxels within `radius`;
    dense voxels within `radius` of each other are one cluster, and thin voxels within `radius` of it belong to it.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    cells = np.floor((points - points.min(axis=0)) / (radius / 2)).astype(np.int64)
    sides = cells.max(axis=0) + 1
    keys = (cells[:, 0] * sides[1] + cells[:, 1]) * sides[2] + cells[:, 2]
    _, voxel, counts = np.unique(keys, return_inverse=True, return_counts=True)
    voxel = voxel.reshape(-1)
    sums = [np.bincount(voxel, weights=points[:, axis]) for axis in range(3)]
    centres = np.stack(sums, axis=1) / counts[:, None]
    pairs = cKDTree(centres).query_pairs(radius, output_type="ndarray")
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    near = counts + np.bincount(one, weights=counts[other], minlength=len(counts))
    dense = near >= min_points
    if not dense.any():
        return np.zeros(len(points), dtype=bool)
    linked = dense[one] & dense[other]
    graph = coo_matrix((np.ones(linked.sum()), (one[linked], other[linked])), shape=(len(counts),) * 2)
    cluster = connected_components(graph, directed=False)[1]
    size = np.bincount(cluster, weights=np.where(dense, counts, 0))
    member = dense & (cluster == size.argmax())
    member[one[member[other]]] = True
    return member[voxel]


def silhouette(foreground: np.ndarray, *, close: float = 0.08, hole: float = 0.05) -> np.ndarray:
    """The object's outline with its small gaps closed, `(h, w)` bool, from `foreground (h, w)` bool.

    The rule, in parts of the object so that it is the same at every resolution:
      1. gaps and notches narrower than `2 * close * sqrt(area)` are closed (missing measurements, shadow lines, a tooth
         broken off at the rim), a morphological closing with a disc; by default 16 % of the side of a square of the
         object's area;
      2. a gap that the object encloses is filled if it is at most `hole` of the object's area (a hole drilled or
         punched in); a larger one is an opening of the product (the centre of a ring) and stays open.
    """
    from scipy import ndimage

    area = int(foreground.sum())
    if area == 0:
        return np.zeros_like(foreground, dtype=bool)
    radius = max(1.0, close * area**0.5)
    margin = int(radius) + 2
    box = ndimage.find_objects(foreground.astype(np.uint8))[0]  # the table around the object costs time for nothing
    padded = np.pad(foreground[box].astype(bool), margin)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = (ndimage.distance_transform_edt(grown) > radius) | padded
    gaps, _ = ndimage.label(~closed)
    fill = np.bincount(gaps.reshape(-1)) <= hole * closed.sum()
    fill[[0, gaps[0, 0]]] = False  # label 0 is the object itself; the margin's label is the outside
    outline = np.zeros(foreground.shape, dtype=bool)
    outline[box] = (closed | fill[gaps])[margin:-margin, margin:-margin]
    return outline


def _pixel_spacing(xyz: np.ndarray, pixels: np.ndarray) -> float:
    """Median distance in metres between horizontally neighbouring `pixels (h, w)` bool; 0 where there are none."""
    both = pixels[:, 1:] & pixels[:, :-1]
    if not both.any():
        return 0.0
    return float(np.median(np.linalg.norm(xyz[:, 1:][both] - xyz[:, :-1][both], axis=1)))
