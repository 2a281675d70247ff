"""Loops that numba compiles the first time they run, for what NumPy and torch do in many passes over memory."""

import warnings
from collections.abc import Callable
from functools import cache


@cache
def has_numba() -> bool:
    """Whether loops can be compiled; where not, NumPy and torch give the same numbers in several times the time."""
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        return False
    except ImportError as error:  # it is there, for another NumPy
        warnings.warn(f"numba cannot be imported ({error}): FPFH takes several times as long", stacklevel=2)
        return False
    return True


def loop(function: Callable) -> Callable:
    """Compile it when it first runs, without Python's lock; the result is kept on disk (see NUMBA_CACHE_DIR).

    Sums keep their order and products are not fused: the numbers are those of the same lines in NumPy.
    """
    from numba import njit

    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:  # no folder can be written to: compile it again in each process
        return njit(function, **options)
