"""The search of `neighbours.py` in compiled loops; the same rows in the same order as its NumPy.

The nearest of a point's candidates are those under a limit that lets through as many as are wanted. The limit is found
by counting: a pass over a few hundred distances takes some nanoseconds, and the limit of the point before is nearly it.
"""

import numpy as np
from numba import int64, uint64

from threedzal.compiled import loop

LARGEST = np.finfo(np.float64).max
GUESSES = 8  # limits tried in proportion to the counts, before intervals are halved


@loop
def search_windows(axes, points, home, stride, window, reach, pending, rows, squared, number):
    """Fill rows and squared (N, k) of the pending points whose neighbours lie in their window; say which they are.

    axes (3, n) float64, the padded grid's coordinates, infinite where nothing is measured; home (N,) int64, the points'
    places in it, `stride` a row; reach (len(pending),) float64, the squared distance, finite, up to which a window
    holds all points; number (n,) int64, the rows of the grid's points. Returns (len(pending),) bool.
    """
    count, side = rows.shape[1], 2 * window + 1
    distances = np.empty(side * side)
    proved = np.zeros(len(pending), np.bool_)
    limit = 0.0
    for p in range(len(pending)):
        i = pending[p]
        corner = home[i] - window * stride - window
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for line in range(side):
            place = uint64(corner + line * stride)  # unsigned: no check for numbers below zero
            for column in range(side):
                dx = axes[0, place + uint64(column)] - x
                dy = axes[1, place + uint64(column)] - y
                dz = axes[2, place + uint64(column)] - z
                distances[line * side + column] = dx * dx + dy * dy + dz * dz
        distances[len(distances) // 2] = np.inf  # the point itself
        inside = _count(distances, reach[p])
        if inside < count:
            continue
        proved[p] = True
        limit = reach[p] if inside == count else _limit(distances, count, reach[p], limit)
        places = count - _count_below(distances, limit)  # left for those at the limit: the first win
        at = 0
        for line in range(side):
            for column in range(side):
                distance = distances[line * side + column]
                level = distance == limit
                if distance < limit or (level and places > 0):
                    rows[i, at] = number[corner + line * stride + column]
                    squared[i, at] = distance
                    at += 1
                    places -= level
    return proved


@loop
def nearest_of(rows, squared, count):
    """The nearest `count` of the neighbours (N, k), in their order: rows (N, count) and squared distances."""
    n, k = rows.shape
    near, kept = np.empty((n, count), np.int64), np.empty((n, count))
    limit = 0.0
    for i in range(n):
        present = _count(squared[i], LARGEST)
        if present <= count:
            limit = LARGEST if present == count else np.inf  # all that are there, then the first of the missing
        else:
            limit = _limit(squared[i], count, LARGEST, limit)
        places = count - _count_below(squared[i], limit)
        at = 0
        for j in range(k):
            level = squared[i, j] == limit
            if squared[i, j] < limit or (level and places > 0):
                near[i, at] = rows[i, j]
                kept[i, at] = squared[i, j]
                at += 1
                places -= level
    return near, kept


@loop
def _limit(values, count, high, guess):
    """A limit up to which `count` of the values lie; where several are equal there, their own value.

    More than `count` values lie up to `high`; none is negative.
    """
    low, limit, tried = -1.0, guess, 0
    while True:
        if not low < limit < high:
            limit = 0.5 * (low + high)
            if not low < limit < high:  # neighbours in float64
                return high
        inside = _count(values, limit)
        if inside == count:
            return limit
        if inside < count:
            low = limit
        else:
            high = limit
        tried += 1
        limit = limit * count / inside if tried < GUESSES and inside else -1.0


@loop
def _count(values, limit):
    number = int64(0)
    for j in range(len(values)):
        number += int64(1) if values[j] <= limit else int64(0)
    return number


@loop
def _count_below(values, limit):
    number = int64(0)
    for j in range(len(values)):
        number += int64(1) if values[j] < limit else int64(0)
    return number
