"""Reading a fitted file: tensors and plain numbers only, never code."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from threedzal.errors import UserError

# The methods that a fitted file may name. A table, so that no file can have anything else imported.
METHODS = {
    "BTF": "threedzal.baselines.btf",
    "ThreeDZAL": "threedzal.model",
    "ThreeDZALPlus": "threedzal.plus",
    "DADA": "threedzal.baselines.dsr3d",
    "DSR3D": "threedzal.baselines.dsr3d",
}
BANK = "MemoryBankCallback"
SITE_OPTIONS = ("cache_dir", "cache_rgb", "cache_gigabytes", "predict_path", "num_workers", "units", "camera")


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """The contents of a checkpoint, memory-mapped on the CPU (`weights_only`: no code in it is run).

    Raises:
        UserError: there is no such file, or it is no checkpoint of this project, or one of another version.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file; --ckpt_path takes a fitted file, as fitted.ckpt of a run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}: {_first_line(error)})"
        ) from error
    if not isinstance(checkpoint, dict) or checkpoint.get("method") not in METHODS:
        raise UserError(f"{path}: is not a checkpoint of this project (it names no method of {', '.join(METHODS)})")
    known = inspect.signature(_method_class(checkpoint)).parameters
    if differing := set(checkpoint["hyper_parameters"]) ^ set(known):  # a default would change what it says in silence
        raise UserError(
            f"{path}: was fitted by another version of this project, whose {checkpoint['method']} has other options "
            f"({', '.join(sorted(differing))}): use that version, or fit again"
        )
    return checkpoint


def read_options(path: Path | str) -> dict[str, Any]:
    """The options that a checkpoint was made with, as the sections `model`, `data` and `memory_bank` of a config."""
    checkpoint = read_checkpoint(path)
    method = checkpoint["method"]
    data = checkpoint.get("datamodule_hyper_parameters", {})
    options = {
        "model": {"class_path": f"{METHODS[method]}.{method}", "init_args": checkpoint["hyper_parameters"]},
        "data": {k: v for k, v in data.items() if k not in SITE_OPTIONS},
        "memory_bank": checkpoint.get("callbacks", {}).get(BANK, {}).get("options", {}),
    }
    return _plain(options)


def build_method(checkpoint: dict[str, Any]):
    """The method of a checkpoint with its weights, in eval mode."""
    model = _method_class(checkpoint)(**checkpoint["hyper_parameters"])
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval().requires_grad_(False)


def _method_class(checkpoint: dict[str, Any]) -> type:
    return getattr(import_module(METHODS[checkpoint["method"]]), checkpoint["method"])


def _plain(value: Any) -> Any:
    """Dictionaries, lists and scalars only, as YAML's safe subset has them."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
