"""What a search does with all rows beside the products, in compiled loops that pass over them once."""

from numba import int32, int64

from threedzal.compiled import loop

STRIDE = 16


@loop
def keep_smallest(block, first, best, columns):
    """Let the values of a block (Q,n), whose columns are `first` and on, take the places of larger ones.

    best (Q,count) and columns (Q,count) int64 are changed; they are in no order. Nearly all values are passed over,
    sixteen at a time.
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


@loop
def round_shifted(rows, origin, out, bits):
    """Into out (n, D or more) float32 the differences of rows (n,D) to origin (D,), to the nearest that bfloat16 holds.

    bits: the memory of `out` as int32. bfloat16 is a float32's upper half; half-way cases go to the even one.
    """
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            out[i, j] = rows[i, j] - origin[j]
        for j in range(rows.shape[1]):
            last = (bits[i, j] >> int32(16)) & int32(1)
            bits[i, j] = (bits[i, j] + int32(0x7FFF) + last) & int32(-0x10000)
