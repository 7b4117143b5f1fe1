"""OpenAI's Python SDK, unmodified, against this API; run by openai_sdk_test.ts. TRAINED_JOB is a succeeded job."""

import io
import json
import os

import openai
from openai import OpenAI

MODEL = "SmolLM2-135M-Instruct"
ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]}
ROWS = (json.dumps(ROW) + "\n").encode() * 2
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "hi"}]},
    "preferred_output": [{"role": "assistant", "content": "hello"}],
    "non_preferred_output": [{"role": "assistant", "content": "what"}],
}
PREFERENCES = (json.dumps(PREFERENCE) + "\n").encode() * 2
client = OpenAI(max_retries=0)  # the address and the key come from the environment


def files() -> str:
    file = client.files.create(file=("rows.jsonl", io.BytesIO(ROWS)), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.retrieve(file.id).filename == "rows.jsonl"
    assert client.files.content(file.id).read() == ROWS
    other = client.files.create(file=("other.jsonl", ROWS), purpose="fine-tune")
    assert [one.id for one in client.files.list(limit=1, purpose="fine-tune")][:2] == [other.id, file.id]
    assert client.files.delete(other.id).deleted
    return file.id


def jobs(file: str, trained: str) -> None:
    create = client.fine_tuning.jobs.create
    job = create(
        model=MODEL,
        training_file=file,
        suffix="demo",
        metadata={"team": "a b"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}}},
    )
    assert (job.status, job.hyperparameters.n_epochs) == ("queued", 3), job
    assert client.fine_tuning.jobs.retrieve(job.id).id == job.id
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    waiting = create(model=MODEL, training_file=file, extra_body={"auto_start": False})
    assert waiting.status == "paused"
    assert client.fine_tuning.jobs.resume(waiting.id).status == "queued"
    assert {one.id for one in client.fine_tuning.jobs.list(limit=1)} == {job.id, waiting.id, trained}
    listed = client.fine_tuning.jobs.list(metadata={"team": "a b"})
    assert [one.id for one in listed] == [job.id]

    preferences = client.files.create(file=("pairs.jsonl", PREFERENCES), purpose="fine-tune")
    dpo = create(
        model=MODEL,
        training_file=preferences.id,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": "auto"}}},
    )
    assert dpo.method is not None and dpo.method.type == "dpo" and dpo.method.dpo is not None, dpo
    shown = dpo.method.dpo.hyperparameters
    assert shown is not None and (shown.beta, shown.n_epochs) == (0.2, 2), dpo
    assert client.fine_tuning.jobs.retrieve(dpo.id).method == dpo.method
    assert client.fine_tuning.jobs.cancel(dpo.id).status == "cancelled"

    done = client.fine_tuning.jobs.retrieve(trained)
    assert done.status == "succeeded" and done.trained_tokens == 1000, done
    messages = [event.message for event in client.fine_tuning.jobs.list_events(trained, limit=2)]
    assert messages[-1] == "Created fine-tuning job." and len(messages) > 6, messages
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(trained)
    assert checkpoint.step_number == 2 and checkpoint.metrics.train_loss == 1, checkpoint
    csv = client.files.content(done.result_files[0]).text
    assert csv.splitlines()[1].startswith("1,2.5,"), csv


def models(trained: str) -> None:
    name = client.fine_tuning.jobs.retrieve(trained).fine_tuned_model
    assert name is not None
    assert [one.id for one in client.models.list()] == [MODEL, name]
    assert client.models.retrieve(name).id == name
    assert client.models.delete(name).deleted


def errors(file: str, trained: str) -> None:
    wrong = OpenAI(api_key="tb_wrong", max_retries=0)
    create = client.fine_tuning.jobs.create
    cases = [
        (lambda: create(model=MODEL, training_file="x"), openai.BadRequestError, "invalid_request", "training_file"),
        (lambda: wrong.files.list(), openai.AuthenticationError, "invalid_api_key", None),
        (lambda: client.models.delete(MODEL), openai.PermissionDeniedError, "model_not_own", None),
        (lambda: create(model="gpt-4o", training_file=file), openai.NotFoundError, "model_not_found", "model"),
        (lambda: client.fine_tuning.jobs.cancel(trained), openai.ConflictError, "job_already_finished", None),
    ]
    for ask, kind, code, param in cases:
        try:
            ask()
        except kind as error:
            assert (error.code, error.param) == (code, param), (error.code, error.param)
            assert len(error.message) > 20 and error.type
            assert (error.request_id or "").startswith("req_")
        else:
            raise AssertionError(f"{code} was expected")


def main() -> None:
    trained = os.environ["TRAINED_JOB"]
    file = files()
    jobs(file, trained)
    errors(file, trained)
    models(trained)
    print("all of it works")


main()
