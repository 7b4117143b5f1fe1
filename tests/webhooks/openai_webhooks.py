"""
Manages a webhook endpoint with PyPI's openai, and verifies a webhook, given as JSON, with openai and standardwebhooks.
Both are unchanged. Prints their results.
"""

import json
import sys

from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook

base_url, api_key, url, webhook = sys.argv[1:]
given = json.loads(webhook)
secret, body, headers = given["secret"], given["body"], given["headers"]
client = OpenAI(base_url=base_url, api_key=api_key, webhook_secret=secret, max_retries=0)
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
    "standardwebhooks": Webhook(secret).verify(body, headers)["type"],
    "openai": type(client.webhooks.unwrap(body, headers)).__name__,
    "forged": "taken",
}
try:
    client.webhooks.verify_signature(body + " ", headers)
except InvalidWebhookSignatureError:
    said["forged"] = "refused"
print(json.dumps(said))
