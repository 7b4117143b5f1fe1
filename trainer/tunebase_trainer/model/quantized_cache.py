"""Caches base models in NF4 on the volume, so that the next worker reads a quarter of the bytes and does not quantize.

Only models with a revision are cached, because the contents of a plain directory may change. The key contains the
revision, the quantization, the compute dtype, and the library versions. An entry is written to a temporary directory,
under a lock, and then renamed, so that it is either complete or absent.
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

from . import precision
from .base_model import cache_root
from .cache_pruning import mark_used, prune
from .locking import lock

log = logging.getLogger(__name__)

FORMAT = 2
"""Increment it when the format of an entry changes."""
COMPLETE_FILE = "tunebase.json"
"""Written last: names and sizes of the other files."""
KEYED = ("bitsandbytes", "torch", "transformers")


def cache_path(path: Path, revision: str) -> Path:
    """The cache entry for the model at `path` with this revision."""
    key = {
        "config": json.loads((path / "config.json").read_text()),
        "revision": revision,
        "quantization": "nf4, double",
        # The quantization state contains the dtype to which the weights are dequantized.
        "dtype": str(precision.compute_dtype()),
        "format": FORMAT,
        "versions": {name: importlib.metadata.version(name) for name in KEYED},
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / f"nf4-{digest}"


def load(
    path: Path, revision: str | None, quantize: Callable[[Path], Any], read: Callable[[Path], Any]
) -> tuple[Any, bool]:
    """Loads the model from the cache with `read`, or else from `path` with `quantize`, and then caches it.

    Returns the model, and whether it came from the cache. A damaged entry or too little disk space is only a warning.
    """
    if revision is None:
        return quantize(path), False
    target = cache_path(path, revision)
    if (net := _read(target, read)) is not None:
        return net, True
    with lock(target):
        if (net := _read(target, read)) is not None:  # another worker has written it in the meantime
            return net, True
        for stale in (target, *target.parent.glob(f".{target.name}.*.part")):
            shutil.rmtree(stale, ignore_errors=True)  # damaged, or left by a worker that died, because we hold the lock
        net = quantize(path)
        _write(net, target)
    return net, False


def _read(target: Path, read: Callable[[Path], Any]) -> Any | None:
    try:
        files = json.loads((target / COMPLETE_FILE).read_text())
        if any((target / name).stat().st_size != size for name, size in files.items()):
            raise ValueError("a file has changed its size")
        mark_used(target / COMPLETE_FILE)
        return read(target)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever the problem, the entry is rebuilt
        from ..gpu_errors import is_out_of_gpu_memory

        if is_out_of_gpu_memory(error):
            raise
        log.warning("the quantized model in %s is unusable and will be rebuilt: %s", target, error)
        return None


def _write(net: Any, target: Path) -> None:
    from huggingface_hub import save_torch_state_dict

    tensors = net.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    part = None
    try:
        prune(target.parent, COMPLETE_FILE, 1.05 * size)
        if (free := shutil.disk_usage(target.parent).free) < 1.05 * size:
            log.warning(
                "the quantized model is not cached: it needs %.1f GB, but %.1f GB are free", size / 1e9, free / 1e9
            )
            return
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        net.config.save_pretrained(part)
        if net.generation_config is not None:
            net.generation_config.save_pretrained(part)
        save_torch_state_dict(tensors, part)
        (part / COMPLETE_FILE).write_text(json.dumps({file.name: file.stat().st_size for file in part.iterdir()}))
        part.chmod(0o755)
        part.rename(target)
    except Exception as error:  # safetensors raises its own error for a full disk; the model is already loaded
        log.warning("the quantized model could not be cached: %s", error)
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)  # renamed, unless something went wrong
