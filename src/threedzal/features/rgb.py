"""The RGB branch (section 3.1): two layers of a frozen image network, on the patch grid."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from threedzal.errors import UserError
from threedzal.features.cache import ArrayCache, digest
from threedzal.features.grid import Smoothing, to_grid

WAYS_OUT = "give a local weights file (.safetensors or .pth), or `weights: random`"


class RGBFeatures(nn.Module):
    """Frozen timm features: rgb (B, 3, H, W) float, ImageNet-normalised -> (B, width, grid, grid).

    `weights`: "pretrained" (timm's hub, or its local cache), the path of a local state dict (.safetensors, or .pth
    read without pickle; the whole network or just its trunk), "random" (drawn from `seed`), or "checkpoint" (none yet:
    `load_state_dict` will bring them, as at a site without network; using it before is a `RuntimeError`).
    `layers` are timm's feature indices: 2 and 3 are a ResNet's layer2 and layer3; what lies above is not kept.
    Always in eval mode and without gradients. Raises `UserError` on a backbone, layer or weights that cannot be had;
    never falls back to other weights.
    """

    def __init__(
        self,
        *,
        backbone: str = "wide_resnet50_2",
        layers: tuple[int, ...] = (2, 3),
        weights: str | Path = "pretrained",
        grid: int = 28,
        seed: int = 0,
    ):
        super().__init__()
        self.grid, self._made_of = grid, {"backbone": backbone, "layers": layers}
        if weights == "pretrained":
            self.network = _pretrained(backbone, layers)
        elif weights == "random":
            self.network = _seeded(backbone, layers, seed=seed)
        else:
            self.network = _unfilled(backbone, layers)
            if weights != "checkpoint":
                _load_file(self.network, Path(weights), backbone=backbone)
        self.empty = weights == "checkpoint"
        self.cache: ArrayCache | None = None  # see `kept_features`
        self._fingerprint: str | None = None
        self.register_load_state_dict_post_hook(_filled)
        self.width: int = sum(self.network.feature_info.channels())
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "RGBFeatures":
        """Frozen: batch norms keep their statistics whatever the trainer asks for."""
        return super().train(False)

    def fetch(self, weights: str | Path) -> None:
        """Take up the weights that the constructor would have taken up for `weights`."""
        self.load_state_dict(RGBFeatures(**self._made_of, weights=weights).state_dict())

    @torch.no_grad()
    def forward(self, rgb: Tensor, *, grid: int | None = None, smoothing: Smoothing = "padded") -> Tensor:
        """`grid`: another than the one given at the start."""
        if self.empty:
            raise RuntimeError('RGBFeatures was made with weights="checkpoint" and no state has been loaded since.')
        options = {"grid": grid or self.grid, "smoothing": smoothing}
        if self.cache is None:
            return self._describe(rgb, **options)
        precision = torch.get_autocast_dtype(rgb.device.type) if torch.is_autocast_enabled(rgb.device.type) else None
        shared = (self.fingerprint, options, rgb.device.type, str(precision))
        keys = [digest("rgb", *shared, picture) for picture in rgb]
        kept = [self.cache.get(key) for key in keys]
        missing = [i for i, arrays in enumerate(kept) if arrays is None]
        if missing:
            for i, features in zip(missing, self._describe(rgb[missing], **options).float().cpu(), strict=True):
                kept[i] = {"rgb": features.numpy()}
                self.cache.put(keys[i], kept[i])
        return torch.stack([torch.from_numpy(arrays["rgb"]) for arrays in kept]).to(rgb.device)

    def _describe(self, rgb: Tensor, **options) -> Tensor:
        return torch.cat([to_grid(features, **options) for features in self.network(rgb)], 1)

    @property
    def fingerprint(self) -> str:
        """Of the weights and of what they make: the same for networks that describe every picture alike."""
        if self._fingerprint is None:
            self._fingerprint = digest(self._made_of, dict(self.network.state_dict()))
        return self._fingerprint


@contextmanager
def kept_features(module: nn.Module, cache: ArrayCache) -> Iterator[None]:
    """While the block runs, what the image networks in `module` make of a picture is kept in `cache` and taken from
    there: for pictures that will come again, as those of a data set, not for ones that are drawn anew each time."""
    networks = [network for network in module.modules() if isinstance(network, RGBFeatures)]
    for network in networks:
        network.cache = cache if cache.folder is not None else None
    try:
        yield
    finally:
        for network in networks:
            network.cache = None


def _filled(module: RGBFeatures, _) -> None:
    module.empty, module._fingerprint = False, None


def _create(backbone: str, layers: tuple[int, ...], **options) -> nn.Module:
    import timm

    if not timm.is_model(backbone):
        similar = timm.list_models(f"*{backbone.split('_')[0]}*")[:3]
        raise UserError(f"timm has no model {backbone!r} (option `backbone`); similar: {', '.join(similar) or 'none'}.")
    try:
        return timm.create_model(backbone, features_only=True, out_indices=tuple(layers), **options)
    except (AssertionError, IndexError, AttributeError) as error:
        raise UserError(
            f"{backbone} cannot give features of the layers {tuple(layers)} ({error}); choose others (option `layers`)."
        ) from error


def _seeded(backbone: str, layers: tuple[int, ...], *, seed: int) -> nn.Module:
    """Weights from `seed` alone; the caller's random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _create(backbone, layers, pretrained=False)
    for module in network.modules():
        # timm starts each residual branch at zero, for training; left so, an untrained network is hardly one
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    return network


def _unfilled(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """Weights to be loaded: drawing 67 M of them first would take seconds."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = _create(backbone, layers, pretrained=False)
    if {name for name, _ in network.named_buffers()} - network.state_dict().keys():
        return _seeded(backbone, layers, seed=0)  # some constants are in no file
    return network.to_empty(device="cpu")


def _pretrained(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """Weights from the hub's local cache, else from the hub."""
    import timm
    from huggingface_hub import constants, try_to_load_from_cache

    config = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
    if timm.is_model(backbone) and not (config and config.has_weights):
        raise UserError(f"timm has no pretrained weights for {backbone} (option `backbone`); {WAYS_OUT}.")
    options, hub = {}, config.hf_hub_id if config else None
    if hub:
        cached = try_to_load_from_cache(hub, "model.safetensors")
        if isinstance(cached, str):
            options = {"pretrained_cfg_overlay": {"file": cached}}
        elif not _can_be_resolved(constants.ENDPOINT):
            raise _unreachable(backbone, f"{urlparse(constants.ENDPOINT).hostname} cannot be reached")
    try:
        return _create(backbone, layers, pretrained=True, **options)
    except UserError:
        raise
    except Exception as error:  # requests, httpx and the hub each bring their own kinds
        raise _unreachable(backbone, f"{type(error).__name__}") from error


def _unreachable(backbone: str, why: str) -> UserError:
    return UserError(f"The pretrained weights of {backbone} could not be fetched ({why}); {WAYS_OUT}.")


def _can_be_resolved(endpoint: str) -> bool:
    """False where asking would only mean minutes of retries: no proxy, and the host's name is unknown here."""
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True
    try:
        socket.getaddrinfo(urlparse(endpoint).hostname, 443)
    except OSError:
        return False
    return True


def _load_file(network: nn.Module, path: Path, *, backbone: str) -> None:
    """Fill `network` from a state dict on disk, strictly: all it needs, and nothing that is not of this backbone."""
    state = {_canonical(name): value for name, value in _read_state(path).items()}
    wanted = {_canonical(name): name for name in network.state_dict()}
    missing = [name for key, name in wanted.items() if key not in state and not name.endswith("num_batches_tracked")]
    foreign = sorted(state.keys() - wanted.keys())
    if foreign and not missing:  # the layers above are not kept, but may stand in the file
        foreign = sorted(set(foreign) - _all_names(backbone))
    problem = ""
    if missing:
        problem = f"it lacks {len(missing)} of its {len(wanted)} tensors, such as {missing[0]}"
    elif foreign:
        problem = f"it holds tensors that are not of this network, such as {foreign[0]}"
    else:
        counters = {name: torch.tensor(0) for name in wanted.values() if name.endswith("num_batches_tracked")}
        try:
            network.load_state_dict(counters | {name: state[key] for key, name in wanted.items() if key in state})
        except RuntimeError as error:
            problem = str(error).splitlines()[-1].strip().rstrip(".")
    if problem:
        raise UserError(
            f"The weights file {path} does not fit the backbone {backbone}: {problem}; "
            "give a file of this backbone (option `weights`), or its backbone (option `backbone`)."
        )


def _canonical(name: str) -> str:
    """timm's feature networks flatten `stages.0` to `stages_0`; the whole network's file has the former."""
    return name.removeprefix("module.").replace(".", "_")


def _all_names(backbone: str) -> set[str]:
    import timm

    with torch.device("meta"):
        return {_canonical(name) for name in timm.create_model(backbone, pretrained=False).state_dict()}


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f'The option `weights` names {str(path)!r}, which is no file; give "pretrained", "random" or a file.'
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("not only tensors")
        return state
    except Exception as error:  # pickle, zip and safetensors errors share no class
        raise UserError(
            f"The weights file {path} cannot be read ({type(error).__name__}); "
            "give a .safetensors file, or a state dict saved by torch.save, which holds tensors only."
        ) from error
