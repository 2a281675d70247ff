"""Which of many distances are the smallest so far, in compiled loops: nearly all are passed over sixteen at a time."""

from numba import int64

from threedzal.compiled import loop

STRIDE = 16


@loop
def keep_smallest(block, first, best, columns):
    """Let the values of a block (Q,n), whose columns are `first` and on, take the places of larger ones.

    best (Q,count) and columns (Q,count) int64 are changed; they are in no order.
    """
    for q in range(len(block)):
        at = _largest(best[q])
        for start in range(0, block.shape[1], STRIDE):
            end = min(start + STRIDE, block.shape[1])
            smaller = int64(0)
            for j in range(start, end):
                smaller += int64(1) if block[q, j] < best[q, at] else int64(0)
            if smaller:
                for j in range(start, end):
                    if block[q, j] < best[q, at]:
                        best[q, at], columns[q, at] = block[q, j], first + j
                        at = _largest(best[q])


@loop
def _largest(values):
    at = 0
    for j in range(1, len(values)):
        if values[j] > values[at]:
            at = j
    return at
