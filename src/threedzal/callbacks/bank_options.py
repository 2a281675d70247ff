"""Every option of the memory bank, and what follows from the options alone."""

from __future__ import annotations

from typing import Any, Literal

from threedzal.batch import BatchOptions
from threedzal.errors import UserError

HERE = ("self", "state", "scratch")  # of this call alone: not in the fitted file


class BankOptions:
    """What a user may say about the bank and the scores; `MemoryBankCallback` does it.

    Args:
        coreset: Share of the patches that the bank keeps; above 1, how many.
        coreset_mode: `exact` chooses among all patches, which wait for it on disk when they are many; `composed` among
            those chosen of each group of patches, so that no more than twice the bank is kept, and says what it loses;
            `released` as BTF's released code does.
        coreset_group: Patches of a group.
        precision: Of the patches while the bank is built and in the fitted file; `float16` halves both, to 3 digits.
        build_memory: GiB of patches that a process keeps in memory while the bank is built.
        scratch: Folder for the others, on a disk that all machines of a run see; by default the run's.
        bank_cells: Patches of `all` grid cells, as the paper counts them, or of `object` cells only.
        index: `Flat` is exact; `HNSW32`, `IVF1024,Flat`, `IVF4096,PQ64` or any other factory string of FAISS for very
            large banks (docs/scaling.md).
        index_recall: How often such an index is to find the nearest row: it is searched as deep as that takes.
        neighbours: b of eq. (6).
        reweight_temperature: Divisor of the distances in eq. (6): `sqrt_dim` (PatchCore's released code) or `one`.
        reweight_nearest: Whether f* is `included` in its own neighbours, or `left_out` (PatchCore's released code).
        eta: Size of the input perturbation, eq. (8).
        blur: Sigma of the Gaussian blur of maps, in pixels.
        map_precision: The distance map is blurred in `float`, or in `8bit` as a picture (PatchCore's released code).
        weights: [w_d, w_c] of eqs. (11) and (12), or `auto`: chosen on pseudo-anomalous validation scans.
        score_scale: `validation` divides each raw score by its mean over the training classes' `validation/good`;
            `spread` by its standard deviation on the good ones among the scans that weights are chosen on.
        rim: Sigma in pixels of a weight that takes the fused map down towards the object's rim; 0: none.
        object_score: A scan's score: the `sum` of eq. (12), or the maximum of the fused `map`.
        false_positive_rate: Share of good scans that may be flagged: the threshold is set on the scores of normal
            validation scans, which the fitted file keeps. None: the best F1 on pseudo-anomalous scans.
        seed: Of the coreset.
        reference: What a scan is compared with: `training` scans, as in the paper; the other scans of the `batch` it
            comes in, each class for itself, unlabelled, no training scan needed; `both`, fused.
        batch_neighbours: Of the other scans, how many are to have a patch's like (1, 2, ...), or which share of them.
        batch_fusion: Branches searched apart and added (`late`), or as one feature (`early`).
        batch_branches: Branches that the batch is searched by; by default all that the method has.
        batch_trim: Share of the patches that serve as reference no longer in a second pass (repeated defects).
        batch_own_scale: Share of the scan's own noise floor and spread, beside the batch's, in its distances' scale.
        batch_index: `Flat` is exact; `IVF1024,Flat` or `HNSW32` for very large batches.
        batch_score: A scan's score: mean of the map's `top` 0.5 % of the object's pixels, or its `max`.
        batch_blur: Sigma of the blur of a batch's maps, in pixels.
        state: File that keeps the patches of scans from call to call, so that scans may come one by one.
        state_rows: Most patches in it.
    """

    def __init__(
        self,
        coreset: float = 0.1,
        coreset_mode: Literal["exact", "composed", "released"] = "exact",
        coreset_group: int = 25_000,
        precision: Literal["float32", "float16"] = "float32",
        build_memory: float = 1.0,
        scratch: str | None = None,
        bank_cells: Literal["all", "object"] = "all",
        index: str = "Flat",
        index_recall: float = 0.95,
        neighbours: int = 3,
        reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim",
        reweight_nearest: Literal["included", "left_out"] = "included",
        eta: float = 0.1,
        blur: float = 4.0,
        map_precision: Literal["float", "8bit"] = "float",
        weights: Literal["auto"] | list[float] = "auto",
        score_scale: Literal["validation", "spread", "none"] = "validation",
        rim: float = 0.0,
        object_score: Literal["sum", "map"] = "sum",
        false_positive_rate: float | None = None,
        seed: int = 0,
        reference: Literal["training", "batch", "both"] = "training",
        batch_neighbours: int | float = 1,
        batch_fusion: Literal["late", "early"] = "late",
        batch_branches: list[str] | None = None,
        batch_trim: float = 0.0,
        batch_own_scale: float = 0.5,
        batch_index: str = "Flat",
        batch_score: Literal["top", "max"] = "top",
        batch_blur: float = 2.0,
        state: str | None = None,
        state_rows: int = 20000,
    ) -> None:
        given = locals()
        self.options: dict[str, Any] = {name: value for name, value in given.items() if name not in HERE}
        if not (0 < coreset <= 1 or coreset > 1 and coreset == int(coreset)):
            raise UserError(
                f"memory_bank.coreset is {coreset}, but it is a share of the patches, above 0 and at most 1, or "
                "how many of them, a whole number above 1"
            )
        if not 0 < index_recall <= 1:
            raise UserError(f"memory_bank.index_recall is {index_recall}, but it is a share: above 0, at most 1")
        if coreset_group < 1 or build_memory <= 0:
            raise UserError(
                f"memory_bank.coreset_group is {coreset_group} and memory_bank.build_memory {build_memory}, "
                "but wanted a group of at least 1 patch, and memory above 0"
            )
        if weights != "auto" and (len(weights) != 2 or min(weights) < 0 or max(weights) == 0):
            raise UserError(f"memory_bank.weights is {weights}, but wanted auto or two numbers [w_d, w_c], not both 0")
        if state is not None and (reference == "training" or state_rows < 1):
            raise UserError(
                f"memory_bank.state keeps the scans of a batch, but memory_bank.reference is {reference} and "
                f"memory_bank.state_rows {state_rows}: use reference batch or both, and some rows"
            )
        self.reference, self.state, self.scratch = reference, state, scratch
        self.batch_options = BatchOptions(
            neighbours=batch_neighbours,
            fusion=batch_fusion,
            branches=None if batch_branches is None else tuple(batch_branches),
            trim=batch_trim,
            own_scale=batch_own_scale,
            index=batch_index,
        )
