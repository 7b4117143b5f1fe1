"""Base models in NF4 on the volume: the next worker reads a quarter of the bytes, and quantizes nothing.

Kept are models with a revision; a plain directory may change under its name. The key has the revision, the
quantization and the libraries that made it. It is written beside its place, under a lock, and renamed: it is whole, or
absent.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base_model import cache_root, lock

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise it when what is written changes."""
COMPLETE_FILE = "tunebase.json"
"""Written last: the names and sizes of the other files."""
KEYED = ("bitsandbytes", "torch", "transformers")


def cache_path(path: Path, revision: str) -> Path:
    """Where the model at `path`, of this revision, is kept."""
    key = {
        "config": json.loads((path / "config.json").read_text()),
        "revision": revision,
        "quantization": "nf4, double, bf16",
        "format": FORMAT,
        "versions": {name: importlib.metadata.version(name) for name in KEYED},
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / f"nf4-{digest}"


def load(
    path: Path, revision: str | None, quantize: Callable[[Path], Any], read: Callable[[Path], Any]
) -> tuple[Any, bool]:
    """The model from the cache with `read`, else from `path` with `quantize`, and then it is kept.

    Returns it, and whether it came from the cache. A broken cache, or none for want of room, is a warning.
    """
    if revision is None:
        return quantize(path), False
    target = cache_path(path, revision)
    if (net := _read(target, read)) is not None:
        return net, True
    with lock(target):
        if (net := _read(target, read)) is not None:  # another worker was quicker
            return net, True
        for left in (target, *target.parent.glob(f".{target.name}.*.part")):
            shutil.rmtree(left, ignore_errors=True)  # broken, or of a worker that died writing: ours is the lock
        net = quantize(path)
        _write(net, target)
    return net, False


def _read(target: Path, read: Callable[[Path], Any]) -> Any | None:
    try:
        files = json.loads((target / COMPLETE_FILE).read_text())
        if any((target / name).stat().st_size != size for name, size in files.items()):
            raise ValueError("a file has another size than was written")
        return read(target)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever is wrong with it, the answer is the same
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            raise
        log.warning("the quantized model in %s cannot be used, it is made anew: %s", target, error)
        return None


def _write(net: Any, target: Path) -> None:
    from huggingface_hub import save_torch_state_dict

    tensors = net.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    part = None
    try:
        if (free := shutil.disk_usage(target.parent).free) < 1.05 * size:
            log.warning("the quantized model is not kept: %.1f GB, and %.1f GB are free", size / 1e9, free / 1e9)
            return
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        net.config.save_pretrained(part)
        if net.generation_config is not None:
            net.generation_config.save_pretrained(part)
        save_torch_state_dict(tensors, part)
        (part / COMPLETE_FILE).write_text(json.dumps({file.name: file.stat().st_size for file in part.iterdir()}))
        part.chmod(0o755)
        part.rename(target)
    except OSError as error:  # of the disk: the model is there all the same
        log.warning("the quantized model could not be kept: %s", error)
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
