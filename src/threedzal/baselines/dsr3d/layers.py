"""Layers that the networks of 3DSR share."""

from __future__ import annotations

import math

from torch import Tensor, nn


def keep_variance(network: nn.Module) -> None:
    """Draw the weights of convolutions so that relus neither fade nor swell a signal (He et al., ICCV 2015); biases 0.

    PyTorch's own are smaller: after ten layers without normalisation hardly anything of a picture is left.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)  # that an output is the sum of
            if isinstance(layer, nn.ConvTranspose2d):
                inputs /= math.prod(layer.stride)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ResidualStack(nn.Module):
    """`layers` times x + conv1(relu(conv3(relu(x)))), then relu. `groups` keeps groups of channels apart."""

    def __init__(self, channels: int, *, layers: int, hidden: int, groups: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(channels, hidden, 3, padding=1, bias=False, groups=groups),
                nn.ReLU(),
                nn.Conv2d(hidden, channels, 1, bias=False, groups=groups),
            )
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x.relu()


def conv_block(*channels: int) -> nn.Sequential:
    """3x3 convolution, instance normalisation and relu for each step from one number of channels to the next."""
    layers: list[nn.Module] = []
    for before, after in zip(channels[:-1], channels[1:], strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def upsample_block(before: int, after: int) -> nn.Sequential:
    """Twice the size, bilinear, then a `conv_block`."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), *conv_block(before, after))
