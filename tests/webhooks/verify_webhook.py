"""Verifies one webhook, given as JSON, with PyPI's standardwebhooks and openai, and prints their results."""

import json
import sys

from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook

given = json.loads(sys.argv[1])
secret, body, headers = given["secret"], given["body"], given["headers"]
client = OpenAI(api_key="unused", webhook_secret=secret)
said = {
    "standardwebhooks": Webhook(secret).verify(body, headers)["type"],
    "openai": type(client.webhooks.unwrap(body, headers)).__name__,
    "forged": "taken",
}
try:
    client.webhooks.verify_signature(body + " ", headers)
except InvalidWebhookSignatureError:
    said["forged"] = "refused"
print(json.dumps(said))
