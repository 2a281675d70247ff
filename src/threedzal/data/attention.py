"""Random-CNN attention on ordered points, section 3.2: an untrained ResNet-50 lights up where a shape changes."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.errors import UserError

_MAP_SIZE = 56  # layer1's output for a 224-pixel scan; the three maps meet at this size


class RandomAttention(nn.Module):
    """Soft mask of the places of interest of a scan, from a ResNet-50's `layer3`, `layer2` and `layer1`.

    Only the convolutions up to `layer3` are kept; the network is frozen and always in evaluation mode, and its
    `state_dict` belongs in the checkpoint, so that a resumed run attends to the same places.

    Args:
        init: `he`: untrained, He initialisation drawn from `seed` (the global random state is left alone);
            `imagenet`: torchvision's ImageNet weights (Table 5's ablation).
        seed: of the He initialisation.
        weights: for `imagenet`, a local file with torchvision's `resnet50` state dict (`.pth` or `.safetensors`)
            instead of the download.

    Raises:
        UserError: the ImageNet weights can be neither downloaded nor read.
    """

    def __init__(
        self, *, init: Literal["he", "imagenet"] = "he", seed: int = 0, weights: str | Path | None = None
    ) -> None:
        super().__init__()
        from torchvision.models import resnet50

        if init not in ("he", "imagenet"):
            raise UserError(f"cnn_init is 'he' or 'imagenet', got {init!r}: choose one of them")
        with torch.device("meta"):  # else torchvision draws weights of its own first, from the global random state
            network = resnet50(weights=None)
        network.to_empty(device="cpu")
        if init == "imagenet":
            _load(network, weights)
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3
        if init == "he":
            _initialise(self, seed=seed)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "RandomAttention":
        """Stays in evaluation mode: there is nothing to learn here."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, xyz: Tensor, valid: Tensor) -> Tensor:
        """`xyz (B, 3, H, W)` metres and `valid (B, H, W)` bool -> soft mask A `(B, H, W)` in [0, 1].

        The points are centred on their mean and divided by the largest distance from it; the background is 0.
        """
        features = self.stem(_centred(xyz, valid))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3):
            features = layer(features)
            response = _unit_range(features.sum(dim=1, keepdim=True))  # [B, 1, h, w]
            maps.append(_resize(response, (_MAP_SIZE, _MAP_SIZE)))
        return _resize(torch.stack(maps).mean(dim=0), tuple(xyz.shape[-2:]))[:, 0]


def points_of_interest(attention: Tensor, valid: Tensor, *, tau: float = 0.001) -> Tensor:
    """Flat indices `(n,)` int64 of the most attended valid pixels, the most attended first.

    Args:
        attention: `(H, W)` float. valid: `(H, W)` bool; only valid pixels compete.
        tau: share of all H * W pixels; 0.1 % of 224 x 224 are 50. Fewer where fewer pixels are valid.
    """
    count = min(max(1, round(tau * attention.numel())), int(valid.sum()))
    scores = attention.reshape(-1).masked_fill(~valid.reshape(-1), -torch.inf)
    return scores.argsort(descending=True, stable=True)[:count]


def _centred(xyz: Tensor, valid: Tensor) -> Tensor:
    inside = valid[:, None].to(xyz.dtype)  # [B, 1, H, W]
    mean = (xyz * inside).sum(dim=(2, 3), keepdim=True) / inside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    centred = (xyz - mean) * inside
    return centred / centred.norm(dim=1).amax(dim=(1, 2)).clamp(min=1e-9)[:, None, None, None]


def _unit_range(response: Tensor) -> Tensor:
    low, high = response.amin(dim=(2, 3), keepdim=True), response.amax(dim=(2, 3), keepdim=True)
    return (response - low) / (high - low).clamp(min=1e-12)


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


def _initialise(network: nn.Module, *, seed: int) -> None:
    """He et al. 2015, eq. (10): normal weights of variance 2 / fan_in, no bias; batch norm passes through."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _load(network: nn.Module, path: str | Path | None) -> None:
    if path is None:
        from torchvision.models import ResNet50_Weights

        try:
            network.load_state_dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
        except (OSError, RuntimeError) as error:  # no network, or a broken download
            raise UserError(
                f"cnn_init imagenet wants torchvision's ResNet-50 weights, and they cannot be downloaded ({error}): "
                "give their file as cnn_weights, or use cnn_init he, which needs none"
            ) from error
        return
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            network.load_state_dict(load_file(path))
        else:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # readers raise many kinds; the user needs the file's name and the reason
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{path}: is not a state dict of torchvision's resnet50 ({reason}): give such a file as cnn_weights"
        ) from error
