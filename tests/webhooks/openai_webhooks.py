"""Manages a webhook endpoint with PyPI's openai, unchanged; prints what it saw."""

import json
import sys

from openai import OpenAI

base_url, api_key, url = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
made = client.webhooks.create(
    name="python", url=url, event_types=["fine_tuning.job.succeeded", "fine_tuning.job.failed"]
)
said = {
    "types": len(client.webhooks.event_types.list().data),
    "created": made.signing_secret.startswith("whsec_") and client.webhooks.retrieve(made.id).url == url,
    "renamed": client.webhooks.update(made.id, name="renamed").name,
    "listed": len(list(client.webhooks.list(limit=1))),
    "rotated": client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True).signing_secret
    != made.signing_secret,
    "tested": client.webhooks.test(made.id, event_type="fine_tuning.job.succeeded").status_code,
    "deleted": client.webhooks.delete(made.id).deleted,
}
print(json.dumps(said))
