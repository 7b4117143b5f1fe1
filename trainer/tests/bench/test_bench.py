"""The GPU bench does on tiny shapes, without a GPU, what it will do on one; its results have the benches' format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.paths import TRAINER
from transformers import AutoModelForCausalLM

from tunebase_trainer.bench import gpu, random_weights, results
from tunebase_trainer.bench.__main__ import main
from tunebase_trainer.model.quantization import Nf4Config
from tunebase_trainer.model.targets import fused_experts


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunebase_trainer.bench", *arguments]
    return subprocess.run(command, cwd=TRAINER, capture_output=True, text=True)


def test_the_bench_command_lists_its_benches() -> None:
    done = bench("--help")
    assert done.returncode == 0 and "{cpu,mixed,rendering,gpu,model_start}" in done.stdout


@pytest.mark.usefixtures("bf16")
def test_the_gpu_bench_runs_on_tiny_shapes_and_saves_its_results_where_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results.FILE.read_bytes() if results.FILE.exists() else None
    monkeypatch.setattr(sys, "argv", ["bench", "gpu", "--tiny", "--json", str(tmp_path / "bench.json")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Qwen3-Next, 26,624 trainable" in capsys.readouterr().out
    rows = json.loads((tmp_path / "bench.json").read_text())
    moe = [row for row in rows if row["name"] == "tiny_gpu_moe"]
    assert [row["against"] for row in moe] == [f"nothing, {n} tokens on a CPU" for n in (16, 32, 64)]
    assert all(row["value"] > 0 and row["unit"] == "tokens/s" for row in moe)
    assert all(row["name"].startswith("tiny_") for row in rows)
    assert (results.FILE.read_bytes() if results.FILE.exists() else None) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_bench_reports_that_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "gpu", "--json", str(tmp_path / "bench.json")])
    with pytest.raises(SystemExit, match="There is no GPU here"):  # a text: Python's exit status is 1
        main()
    assert not (tmp_path / "bench.json").exists()


def test_the_true_shapes_are_those_of_the_models() -> None:
    sizes = gpu.true_sizes()
    for config, billions, tensors in ((sizes.moe, 79.67, 74_391), (sizes.dense, 8.19, 399)):
        with torch.device("meta"):
            net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        found = random_weights.checkpoint(net)
        count = sum(torch.Size(tensor.shape).numel() for tensor in found.values())
        assert round(count / 1e9, 2) == billions and len(found) == tensors
        assert count == sum(p.numel() for p in net.parameters())


def test_random_weights_load_like_a_real_checkpoint_one_parameter_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, read = gpu.tiny_sizes().moe, list[tuple[int, ...]]()
    draw = random_weights.RandomTensor.__getitem__

    def counting(self: random_weights.RandomTensor, key: object) -> torch.Tensor:
        read.append(self.shape)
        return draw(self, key)

    monkeypatch.setattr(random_weights.RandomTensor, "__getitem__", counting)
    net = random_weights.load(config, Nf4Config())
    assert len(list(fused_experts(net))) == 2 * config.num_hidden_layers
    assert read.count((32, 64)) >= 2 * 8 * 4 and read.count((64, 32)) >= 8 * 4, "experts come one by one"
    assert net(input_ids=torch.arange(4, 20)[None]).logits.isfinite().all()


def test_gpu_results_are_evaluated_against_ceilings_and_the_reference_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(results, "machine", lambda: "NVIDIA A100-SXM4-80GB")
    ceiling = gpu.CEILINGS["A100"][8192]
    good = gpu.evaluate_moe(8192, gpu.Speed(1900, 47 * gpu.GIB), ceiling, last=True)
    assert [(f.name, f.ok) for f in good] == [("gpu_moe_memory", True), ("gpu_moe", True), ("gpu_moe_seed", True)]
    bad = gpu.evaluate_moe(8192, gpu.Speed(1700, 49 * gpu.GIB), ceiling, last=True)
    assert [f.ok for f in bad] == [False, False, False]
    assert [f.name for f in gpu.evaluate_moe(2048, gpu.Speed(1700, 1), None, last=False)] == [], "no ceiling is known"


def test_new_bench_results_replace_those_of_the_same_name_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.json"
    other = {"name": "callbacks", "value": 1}
    file.parent.mkdir()
    file.write_text(json.dumps([other]))
    for value in (10.0, 20.0):
        results.save(file, [results.evaluate("model_start", value, "s", "the first", 3, 1 / 0.35)])
    kept = json.loads(file.read_text())
    assert [row["name"] for row in kept] == ["callbacks", "model_start"] and kept[1]["value"] == 20
    assert set(kept[1]) == {"name", "value", "unit", "against", "ratio", "goal", "ok", "machine"} and kept[1]["ok"]


def test_plain_trl_runs_the_same_rows() -> None:
    pytest.importorskip("trl", reason="requirements-dev.txt is not installed")
    sizes = gpu.tiny_sizes()
    assert gpu.trl(sizes.dense, gpu.batch(256, 2, 16)).tokens_per_second > 0
