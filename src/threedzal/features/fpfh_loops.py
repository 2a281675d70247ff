"""Normals and histograms of FPFH in compiled loops: a point's neighbours are read once and stay in registers and L1."""

import math

import numpy as np
from numba import int32, uint64

from threedzal.compiled import loop
from threedzal.features.fpfh_torch import BINS

RAYS = tuple((math.cos(odd * math.pi / BINS), math.sin(odd * math.pi / BINS)) for odd in (1, 3, 5, 7, 9))
SWEEPS = 30  # of Jacobi rotations, at most; 3 or 4 are needed


@loop
def least_spread(points, neighbours, squared):
    """Arguments and result of `normals.estimate_normals`, the signs apart."""
    n, k = neighbours.shape
    normals = np.zeros((n, 3))
    offset, total, second = np.empty(3), np.empty(3), np.empty((3, 3))
    for i in range(n):
        total[:] = 0.0
        second[:] = 0.0
        count = 1  # the point itself stands at the origin
        for j in range(k):
            if squared[i, j] < np.inf:
                row = uint64(neighbours[i, j])
                count += 1
                for a in range(3):
                    offset[a] = points[row, a] - points[i, a]
                    total[a] += offset[a]
                for a in range(3):
                    for b in range(a, 3):
                        second[a, b] += offset[a] * offset[b]
        for a in range(3):
            for b in range(a, 3):
                second[a, b] = second[a, b] / count - (total[a] / count) * (total[b] / count)
        if count < 3 or max(second[0, 0], second[1, 1], second[2, 2]) == 0:
            normals[i, 2] = 1.0
        else:
            _smallest_eigenvector(second, normals[i])
    return normals


@loop
def _smallest_eigenvector(matrix, out):
    """Of a symmetric matrix (3, 3), of which the upper triangle is read and lost: Jacobi's rotations."""
    vectors = np.eye(3)
    scale = max(matrix[0, 0], matrix[1, 1], matrix[2, 2])
    for _ in range(SWEEPS):
        if abs(matrix[0, 1]) + abs(matrix[0, 2]) + abs(matrix[1, 2]) < 1e-17 * scale:
            break
        for p in range(2):
            for q in range(p + 1, 3):
                if matrix[p, q] != 0:
                    ratio = 0.5 * (matrix[q, q] - matrix[p, p]) / matrix[p, q]
                    tangent = math.copysign(1.0, ratio) / (abs(ratio) + math.sqrt(ratio * ratio + 1))
                    cosine = 1 / math.sqrt(tangent * tangent + 1)
                    sine = tangent * cosine
                    matrix[p, p] -= tangent * matrix[p, q]
                    matrix[q, q] += tangent * matrix[p, q]
                    matrix[p, q] = 0.0
                    r = 3 - p - q
                    rp, rq = (min(r, p), max(r, p)), (min(r, q), max(r, q))
                    matrix[rp], matrix[rq] = (
                        cosine * matrix[rp] - sine * matrix[rq],
                        sine * matrix[rp] + cosine * matrix[rq],
                    )
                    for a in range(3):
                        vectors[a, p], vectors[a, q] = (
                            cosine * vectors[a, p] - sine * vectors[a, q],
                            sine * vectors[a, p] + cosine * vectors[a, q],
                        )
    least = 0
    for a in range(1, 3):
        if matrix[a, a] < matrix[least, least]:
            least = a
    out[:] = vectors[:, least]


@loop
def simple_histograms(points, normals, neighbours, squared):
    """Arguments and result of `fpfh_torch.simple_histograms`; the frame's formulas are Open3D's, in its order."""
    n, k = neighbours.shape
    histograms = np.zeros((n, 3 * BINS))
    dx, dy, dz, nx, ny, nz = np.empty(k), np.empty(k), np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    first, second, third = np.empty(k, np.int32), np.empty(k, np.int32), np.empty(k, np.int32)
    (c0, s0), (c1, s1), (c2, s2), (c3, s3), (c4, s4) = RAYS
    for i in range(n):
        count = 0
        for j in range(k):
            if squared[i, j] < np.inf:
                row = uint64(neighbours[i, j])
                dx[count] = points[row, 0] - points[i, 0]
                dy[count] = points[row, 1] - points[i, 1]
                dz[count] = points[row, 2] - points[i, 2]
                nx[count], ny[count], nz[count] = normals[row, 0], normals[row, 1], normals[row, 2]
                count += 1
        hx, hy, hz = normals[i, 0], normals[i, 1], normals[i, 2]
        for j in range(count):
            distance = math.sqrt(dx[j] * dx[j] + dy[j] * dy[j] + dz[j] * dz[j])
            cosine1 = (hx * dx[j] + hy * dy[j] + hz * dz[j]) / distance
            cosine2 = (nx[j] * dx[j] + ny[j] * dy[j] + nz[j] * dz[j]) / distance
            swapped = abs(cosine1) < abs(cosine2)
            # the frame stands on the point with normal u; t is the other's, e goes to it
            ux, tx = (nx[j], hx) if swapped else (hx, nx[j])
            uy, ty = (ny[j], hy) if swapped else (hy, ny[j])
            uz, tz = (nz[j], hz) if swapped else (hz, nz[j])
            sign = -1.0 if swapped else 1.0
            ex, ey, ez = sign * dx[j], sign * dy[j], sign * dz[j]
            cosine = -cosine2 if swapped else cosine1
            vx, vy, vz = ey * uz - ez * uy, ez * ux - ex * uz, ex * uy - ey * ux
            length = math.sqrt(vx * vx + vy * vy + vz * vz)
            framed = length > 0  # else same place, or a normal along the line: Open3D counts three zeros
            inverse = 1 / length
            vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
            across = vx * tx + vy * ty + vz * tz if framed else 0.0
            cosine = cosine if framed else 0.0
            y = (uy * vz - uz * vy) * tx + (uz * vx - ux * vz) * ty + (ux * vy - uy * vx) * tz if framed else 0.0
            x = ux * tx + uy * ty + uz * tz if framed else 1.0
            # the bin of atan2(y, x), without it: how many of the rays between bins lie before (x, |y|)
            height = abs(y)
            rays = (
                (1.0 if height * c0 > x * s0 else 0.0)
                + (1.0 if height * c1 > x * s1 else 0.0)
                + (1.0 if height * c2 > x * s2 else 0.0)
                + (1.0 if height * c3 > x * s3 else 0.0)
                + (1.0 if height * c4 > x * s4 else 0.0)
            )
            first[j] = int32(5.0 + math.copysign(rays, y))
            second[j] = int32(BINS * (across + 1) * 0.5)
            third[j] = int32(BINS * (cosine + 1) * 0.5)
        for j in range(count):
            histograms[i, first[j]] += 1
            histograms[i, BINS + min(max(second[j], 0), BINS - 1)] += 1
            histograms[i, 2 * BINS + min(max(third[j], 0), BINS - 1)] += 1
        for column in range(3 * BINS):
            histograms[i, column] *= 100 / max(count, 1)
    return histograms


@loop
def sum_around(values, rows, squared):
    """Arguments and result of `fpfh_torch._sum_around`. Four neighbours at a time: the sum is loaded less often."""
    n, k = rows.shape
    width = 3 * BINS
    out = np.empty((n, width))
    total = np.empty(width)
    near, weight = np.zeros(k + 3, np.uint64), np.zeros(k + 3)
    for i in range(n):
        for j in range(k):
            near[j] = uint64(rows[i, j])
            weight[j] = 1 / squared[i, j] if squared[i, j] > 0 else 0.0  # 0 for the missing: 1 / infinity
        total[:] = 0.0
        for j in range(0, k, 4):
            r0, r1, r2, r3 = near[j], near[j + 1], near[j + 2], near[j + 3]
            w0, w1, w2, w3 = weight[j], weight[j + 1], weight[j + 2], weight[j + 3]
            for column in range(width):
                total[column] += (
                    w0 * values[r0, column]
                    + w1 * values[r1, column]
                    + w2 * values[r2, column]
                    + w3 * values[r3, column]
                )
        out[i] = total
    return out
