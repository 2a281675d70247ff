"""Vector quantisation with a codebook that follows its vectors by moving averages (van den Oord et al., NeurIPS 2017,
appendix A.1)."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.distributed import several_processes

ROWS_AT_ONCE = 8192  # bounds the memory of the distances to all codes
ROWS_ON_CPU = 1024  # at once: distances that stay in the cache take less than half the time


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(N,D) vectors, (K,D) codes -> (N,) int64: the nearest code of each in Euclidean distance."""
    sizes, rows = codebook.square().sum(1), ROWS_ON_CPU if vectors.device.type == "cpu" else ROWS_AT_ONCE
    parts = [torch.addmm(sizes, part, codebook.T, alpha=-2).argmin(1) for part in vectors.float().split(rows)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=vectors.device)


class VectorQuantizer(nn.Module):
    """Replaces each vector of a feature map by its nearest code.

    The codebook is no parameter. In training it starts at vectors of the first batch, and then each code is the moving
    average of the vectors it stood for; those of all processes. A code that hardly stands for anything any more starts
    again at one of them: else, while the features still move, all vectors end up with one code.

    Args:
        codes: K. width: D.
        decay: Of the moving averages.
        revive: A code with less than this share of the mean count starts again; 0: none does.
        epsilon: Laplace smoothing of the counts: a code that stands for nothing is not divided by nothing.
    """

    def __init__(
        self, codes: int, width: int, *, decay: float = 0.99, revive: float = 0.03, epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        self.decay, self.revive, self.epsilon = decay, revive, epsilon
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("started", torch.tensor(False))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B,D,h,w) -> the same quantised, codes (B,h,w) int64, and the commitment loss () of the features.

        The gradient goes straight through to `features`. In training mode the codebook moves.
        """
        vectors = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])  # [N, D]
        if self.training:
            self._start(vectors.detach())
        codes = nearest_codes(vectors.detach(), self.codebook)
        quantised = self.lookup(codes.view(len(features), *features.shape[2:]))
        if self.training:
            self._follow(vectors.detach(), codes)
        loss = F.mse_loss(features, quantised)
        return features + (quantised - features).detach(), codes.view(len(features), *features.shape[2:]), loss

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes (B,h,w) -> their vectors (B,D,h,w)."""
        return self.codebook[codes].permute(0, 3, 1, 2).contiguous()

    @torch.no_grad()
    def _start(self, vectors: Tensor) -> None:
        if not self.started:
            self._restart(torch.ones_like(self.counts, dtype=torch.bool), vectors, count=self.counts[:1])
            self.started.fill_(True)

    def _restart(self, codes: Tensor, vectors: Tensor, *, count: Tensor) -> None:
        """Let the marked codes start at random ones of the vectors (N,D), the same in all processes."""
        rows = torch.randint(len(vectors), (len(self.codebook),), device=vectors.device)
        chosen = vectors[rows].float()
        if several_processes():
            dist.broadcast(chosen, src=0)
        self.codebook[codes] = chosen[codes]
        self.sums[codes] = chosen[codes] * count
        self.counts[codes] = count

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor) -> None:
        counts = torch.bincount(codes, minlength=len(self.codebook)).to(self.counts)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors.float())
        if several_processes():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total, smoothing = self.counts.sum(), self.epsilon * len(self.counts)
        smoothed = (self.counts + self.epsilon) / (total + smoothing) * total
        self.codebook.copy_(self.sums / smoothed[:, None])
        idle = self.counts < self.revive * self.counts.mean()
        if idle.any():  # alike in all processes
            self._restart(idle, vectors, count=self.counts.mean())


def perplexity(codes: Tensor, count: int) -> Tensor:
    """How many of `count` codes are in use: the exponential of the entropy of `codes` (any shape, int64)."""
    shares = torch.bincount(codes.flatten(), minlength=count).float() / codes.numel()
    return torch.special.entr(shares).sum().exp()
