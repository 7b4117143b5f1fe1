"""A fine-tune from a training file to the adapter and an answer by its name, with OpenAI's unmodified Python SDK.

    pip install openai
    OPENAI_BASE_URL=http://127.0.0.1:54321/functions/v1/tunebase OPENAI_API_KEY=tb_… python finetune.py rows.jsonl

Endpoints that OpenAI's API does not have are called with `client.get` and `client.post`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlretrieve

from openai import OpenAI

client = OpenAI()
path = Path(sys.argv[1])

file = client.files.create(file=path.open("rb"), purpose="fine-tune")
client.files.wait_for_processing(file.id)
model = client.models.list().data[0].id
body: dict[str, Any] = {
    "model": model,
    "training_file": file.id,
    "suffix": "example",
    "hyperparameters": {"n_epochs": 1, "batch_size": 4},
}

estimate = client.post("/fine_tuning/estimates", body=body, cast_to=dict[str, Any])
print(f"{estimate['steps']['total']} steps, cost {estimate['cost']['usd']}")

job = client.fine_tuning.jobs.create(**body)
print(job.id, job.status)
seen = 0
while job.finished_at is None:
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)
    events = list(client.fine_tuning.jobs.list_events(job.id))[::-1]
    for event in events[seen:]:
        print(" ", event.message)
    seen = len(events)
if job.status != "succeeded":
    sys.exit(f"{job.status}: {job.error.message if job.error else ''}")

print(client.files.content(job.result_files[0]).text.splitlines()[-1])
adapter = client.get(f"/fine_tuning/jobs/{job.id}/adapter", cast_to=dict[str, Any])
folder = Path(job.id)
for item in adapter["files"]:
    target = folder / item["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    urlretrieve(item["url"], target)
print(f"{job.fine_tuned_model} was saved to {folder}/")

with path.open() as rows:
    question = json.loads(next(rows))["messages"][:-1]
for name in (model, job.fine_tuned_model):
    print(f"{name}: ", end="")
    # While the model loads, the stream waits.
    with client.chat.completions.create(
        model=name, messages=question, temperature=0, max_completion_tokens=50, stream=True
    ) as answer:
        for chunk in answer:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
