"""Redacts the end of a training log for the user: removes secrets and this worker's paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# A message in a report has at most 2,000 characters.
MAX_CHARACTERS = 1900
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD", re.IGNORECASE)
SECRETS = re.compile(
    r"\b(?:whsec|hf|tb|sk|rpa|ghp|github_pat)[_-][A-Za-z0-9_\-+/=]{6,}"  # keys with a known prefix
    r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # JSON web tokens
    r"|(?<=[Bb]earer )[^\s,;'\"]+"
    r"|(?<=token=)[^\s&'\"]+|(?<=secret=)[^\s&'\"]+|(?<=password=)[^\s&'\"]+|(?<=api_key=)[^\s&'\"]+"
)
URL = re.compile(r"\b(https?|s3|postgres(?:ql)?)://(?:[^\s/@'\"]*@)?([^\s/?'\"]+)[^\s'\"]*")
PATH = re.compile(r"(?<![\w:/.])(?:~|\.{1,2})?(?:/[^\s/:'\",()<>]+)+/([^\s/:'\",()<>]+)")
PROGRESS_BAR = re.compile(r"\d+%\|")


def redact(line: str) -> str:
    """Redacts one line: removes secrets, and keeps only the host of URLs and the last component of paths."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= 8:
            line = line.replace(value, "[secret]")
    line = URL.sub(r"\1://\2/…", line)
    line = SECRETS.sub("[secret]", line)
    return PATH.sub(r"\1", line)


def redacted_tail(lines: Iterable[str]) -> str:
    """The last lines that fit into one message, without progress bars."""
    kept: list[str] = []
    room = MAX_CHARACTERS
    for line in reversed(list(lines)):
        if PROGRESS_BAR.search(line) or not line.strip():
            continue
        cleaned = redact(line)
        room -= len(cleaned) + 1
        if room < 0:
            break
        kept.append(cleaned)
    return "\n".join(reversed(kept))
