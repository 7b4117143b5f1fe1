"""Uploads a file in parts with PyPI's openai, unchanged; prints what it saw."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from openai import BadRequestError, OpenAI

base_url, api_key, rows = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
data = rows.encode()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "rows.jsonl")
    path.write_bytes(data)
    chunked = client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=len(data) // 3,
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
    )
assert chunked.file is not None
made = client.uploads.create(bytes=9, filename="b.jsonl", mime_type="text/plain", purpose="fine-tune")
part = client.uploads.parts.create(made.id, data=b"12345")
try:
    client.uploads.complete(made.id, part_ids=[part.id])
    refused = ""
except BadRequestError as error:
    refused = str(error.code)
print(
    json.dumps(
        {
            "chunked": [chunked.status, chunked.file.status, chunked.file.bytes == len(data)],
            "part": [part.object, part.upload_id == made.id],
            "refused": refused,
            "cancelled": client.uploads.cancel(made.id).status,
            "file": chunked.file.id,
        }
    )
)
