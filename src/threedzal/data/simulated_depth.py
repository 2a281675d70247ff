"""Depth that no sensor has seen, with pictures beside it: what an autoencoder of depth learns from where there is
little depth to learn from (3DSR, Zavrtanik et al., WACV 2024, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from threedzal.data.perlin import random_perlin
from threedzal.errors import UserError

PICTURES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")


def simulated_depth(size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """(1,S,S) float32 in [0,1]: a Perlin surface, scaled to a random range and shifted to a random place in [0,1]."""
    noise = random_perlin((size, size), generator=generator)
    low, high = noise.aminmax()
    span, place = torch.rand(2, generator=generator).tolist()
    return (span * (noise - low) / (high - low).clamp(min=1e-6) + place * (1 - span))[None]


def procedural_texture(size: int, *, levelled: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """(3,S,S) float32 in [0,1]: a colour with two patterns, soft or hard-edged: one of light, one of hue.

    As in natural pictures, most of the contrast is of light. `levelled`: as 3DSR sees a levelled scan, whose mean is
    taken out and whose hue is brought out: the colour is nearly mid-grey, and the hue as strong as the light.
    """
    patterns = torch.stack([random_perlin((size, size), generator=generator) for _ in range(2)])
    patterns = patterns / patterns.flatten(1).std(1).clamp(min=1e-3)[:, None, None]
    steepness = 2 ** (3 * torch.rand(2, generator=generator) - 1)  # a steep step: two flat tones
    light, hue = torch.tanh(steepness[:, None, None] * patterns)
    if levelled:
        return _levelled(light, hue, generator)
    lightness, contrast, *tints = torch.rand(8, generator=generator)
    base, shift = (torch.stack(tint)[:, None, None] - 0.5 for tint in (tints[:3], tints[3:]))
    return (0.1 + 0.8 * lightness + 0.3 * base + 0.35 * contrast * light + 0.15 * shift * hue).clamp(0, 1)


def _levelled(light: Tensor, hue: Tensor, generator: torch.Generator | None) -> Tensor:
    lightness, contrast, saturation = torch.rand(3, generator=generator)
    base, shift = torch.randn(2, 3, 1, 1, generator=generator)
    base, shift = base - base.mean(), shift - shift.mean()  # of hue alone
    shift = shift / shift.square().mean().sqrt().clamp(min=1e-3)
    grey = 0.5 + 0.3 * (lightness - 0.5)
    return (grey + 0.12 * base + 0.35 * contrast * light + 0.4 * saturation * shift * hue).clamp(0, 1)


def list_pictures(folder: str | Path) -> list[Path]:
    """All pictures below `folder`, or below every folder that a pattern (`data/*/train/good/rgb`) stands for, sorted.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    folders = [folder] if Path(folder).is_dir() else glob(str(folder))
    paths = sorted(path for each in folders for path in Path(each).rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise UserError(f"{folder}: holds no picture ({', '.join(PICTURES)}); give data.pictures another folder")
    return paths


@dataclass
class SimulatedDepthDataset(Dataset):
    """Simulated depth, and where `colour` is wanted a picture of a folder or a procedural texture beside it.

    Each is drawn anew in each epoch from (seed, epoch, index): (4,S,S), depth first, or (1,S,S); float32 in [0,1].
    """

    length: int
    size: int
    colour: bool = True
    pictures: list[Path] | None = None
    levelled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pictures and self.levelled:
            raise UserError("data.textures is of procedural textures: leave out either data.pictures or data.textures")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, epoch_and_index: tuple[int, int] | int) -> Tensor:
        epoch, index = epoch_and_index if isinstance(epoch_and_index, tuple) else (0, epoch_and_index)
        seed = np.random.SeedSequence([self.seed, 17, epoch, index]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed) % 2**63)
        depth = simulated_depth(self.size, generator=generator)
        return torch.cat([depth, self._picture(generator)]) if self.colour else depth

    def _picture(self, generator: torch.Generator) -> Tensor:
        if not self.pictures:
            return procedural_texture(self.size, levelled=self.levelled, generator=generator)
        from PIL import Image

        path = self.pictures[int(torch.randint(len(self.pictures), (), generator=generator))]
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR))
        except Exception as error:
            raise UserError(f"{path}: cannot be read as a picture ({error})") from error
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
