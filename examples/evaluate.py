"""Compare a base model with its fine-tuned adapter on held-out rows, with plain transformers and PEFT.

    trainer/.venv/bin/python examples/evaluate.py --base DIR --adapter DIR --heldout FILE

FILE is chat JSONL whose rows end with an assistant message. For both models, reports the mean loss over the answer
tokens (nats), the number of exact matches with greedy decoding, and sample answers side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

started = time.monotonic()


def log(text: str) -> None:
    print(f"[{time.monotonic() - started:5.1f} s] {text}", file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base model's directory")
    parser.add_argument("--adapter", type=Path, required=True, help="the adapter's directory")
    parser.add_argument("--heldout", type=Path, required=True, help="chat JSONL, one chat per line")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("/dev/stdout"),
        help="output file (default: stdout)",
    )
    parser.add_argument("--samples", type=int, default=3, help="number of sample answers (default: 3)")
    parser.add_argument("--batch-size", type=int, default=16, help="rows per batch (default: 16)")
    return parser.parse_args()


def read_rows(path: Path) -> list[list[dict[str, str]]]:
    """Return the messages of each row. Exits with the line number of an invalid row."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        messages = json.loads(line).get("messages")
        if not messages or len(messages) < 2 or messages[-1]["role"] != "assistant":
            sys.exit(f"{path}, line {number}: the row must end with an assistant message")
        rows.append(messages)
    if not rows:
        sys.exit(f"{path} is empty")
    return rows


def main() -> None:
    options = parse_arguments()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (options.adapter / name).is_file():
            sys.exit(f"{options.adapter} is not an adapter: {name} is missing")
    rows = read_rows(options.heldout)
    import peft
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    log(f"{len(rows)} held-out rows; loading the base model")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(options.base, padding_side="left")
    # A CPU without bf16 instructions emulates them about 100 times slower.
    native = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    dtype = torch.bfloat16 if native else torch.float32
    base = transformers.AutoModelForCausalLM.from_pretrained(options.base, dtype=dtype)
    model: Any = peft.PeftModel.from_pretrained(base, str(options.adapter)).eval()

    prompts = [tokenizer.apply_chat_template(m[:-1], tokenize=False, add_generation_prompt=True) for m in rows]
    answers = [m[-1]["content"].strip() for m in rows]
    targets = [tokenizer(text + tokenizer.eos_token, add_special_tokens=False).input_ids for text in answers]
    room = max(len(target) for target in targets) + 8
    # Group rows of similar length to minimize padding.
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    batches = [order[i : i + options.batch_size] for i in range(0, len(order), options.batch_size)]

    def mean_loss() -> float:
        total, count = 0.0, 0
        for batch in batches:
            ids = [tokenizer(prompts[i], add_special_tokens=False).input_ids + targets[i] for i in batch]
            width = max(map(len, ids))
            keep = max(len(targets[i]) for i in batch) + 1
            with torch.inference_mode():
                logits = model(
                    input_ids=torch.tensor([[tokenizer.pad_token_id] * (width - len(x)) + x for x in ids]),
                    attention_mask=torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in ids]),
                    logits_to_keep=keep,
                ).logits.float()
            for row, i in enumerate(batch):
                target = torch.tensor(targets[i])
                scores = logits[row, -len(target) - 1 : -1].log_softmax(-1)
                total -= scores.gather(1, target[:, None]).sum().item()
                count += len(target)
        return total / count

    def generate() -> list[str]:
        texts = [""] * len(rows)
        for batch in batches:
            inputs = tokenizer(
                [prompts[i] for i in batch],
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
            )
            with torch.inference_mode():
                out = model.generate(
                    **inputs,
                    max_new_tokens=room,
                    do_sample=False,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.pad_token_id,
                )
            for i, ids in zip(batch, out[:, inputs.input_ids.shape[1] :], strict=True):
                texts[i] = tokenizer.decode(ids, skip_special_tokens=True).strip()
        return texts

    with model.disable_adapter():
        log("evaluating the base model")
        base_loss, base_answers = mean_loss(), generate()
    log("evaluating the fine-tuned model")
    tuned_loss, tuned_answers = mean_loss(), generate()

    result = {
        "rows": len(rows),
        "base_exact": sum(a == b for a, b in zip(base_answers, answers, strict=True)),
        "tuned_exact": sum(a == b for a, b in zip(tuned_answers, answers, strict=True)),
        "base_loss": base_loss,
        "tuned_loss": tuned_loss,
        "samples": [
            {
                "prompt": rows[i][-2]["content"],
                "expected": answers[i],
                "base": base_answers[i],
                "tuned": tuned_answers[i],
            }
            for i in range(min(options.samples, len(rows)))
        ],
        "max_tokens": room,
        "answers": [{"base": base, "tuned": tuned} for base, tuned in zip(base_answers, tuned_answers, strict=True)],
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
    }
    options.json.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    log("done")


if __name__ == "__main__":
    main()
