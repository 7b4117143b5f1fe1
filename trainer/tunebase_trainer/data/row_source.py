"""Splits a training file into the texts of its rows: JSON lines, or one brightrun-lora-v4 document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .json_rows import RowProblem, format_value

MAX_ROW_BYTES = 4 * 2**20
CONVERT = "Upload the file through the API, or convert it with `tunebase files convert`."
# Other formats by their first bytes; the server explains them in more detail.
MAGIC_BYTES = {
    b"\x1f\x8b": "compressed with gzip",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"%PDF": "a PDF",
}
DOCUMENT = re.compile(r'\s*\{\s*"(training_file_metadata|conversations)"\s*:')
# ShareGPT rows begin with "conversations" too, but are complete objects on one line each.
SHARE_GPT = re.compile(r'\s*\{\s*"conversations"\s*:\s*\[\s*\{\s*"(from|value|role|content)"')
JSON_ARRAY = re.compile(r"\s*\[\s*(\{|$)")
TABLE = re.compile(r'\s*"?[A-Za-z_]\w*"?[ ]*[,;\t]')
META = "_meta"


class FileProblem(ValueError):
    """Why a file cannot be read, and how to fix it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def iter_rows(path: Path) -> Iterator[tuple[int, str]]:
    """Each row's line number, from 1, and its text; blank lines are skipped. Raises FileProblem, and RowProblem for a
    header."""
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, what in MAGIC_BYTES.items():
        if head.startswith(magic):
            raise FileProblem(f"is {what}", CONVERT if magic == b"PAR1" else "Decompress it, or export it as JSONL.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileProblem("is UTF-16", "Save it as UTF-8.")
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if JSON_ARRAY.match(text):
        raise FileProblem("is a JSON array", CONVERT)
    if TABLE.match(text):
        raise FileProblem("is a CSV or TSV file", CONVERT)
    yield from _document(path) if DOCUMENT.match(text) and not SHARE_GPT.match(text) else _lines(path)


def check_meta(meta: Any, name: str) -> None:
    """Checks the header of a brightrun file. Raises RowProblem."""
    version = meta.get("version") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or (version is not None and not str(version).startswith("4.")):
        raise RowProblem("wrong_version", f"{name}.version is {format_value(version)}; only version 4 is supported")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if row := line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").strip(b" \t\r\n"):
                yield number, _decode(row, number)


def _decode(data: bytes, number: int) -> str:
    if len(data) > MAX_ROW_BYTES:
        raise _too_long(number)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(number) from error


def _not_utf8(number: int) -> FileProblem:
    return FileProblem(f"is not UTF-8 at line {number}", "Save it as UTF-8.")


def _too_long(number: int) -> FileProblem:
    return FileProblem(
        f"has a line longer than {MAX_ROW_BYTES // 2**20} MiB, line {number}",
        "One row is one conversation; a line break may be missing.",
    )


def _document(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the objects in `conversations[].training_pairs[]`, and the metadata as a header row."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(data.count(b"\n", 0, error.start) + 1) from error
    del data
    cursor = JsonCursor(text)
    try:
        for key in cursor.keys():  # noqa: SIM118 (not a dict)
            if key == "training_file_metadata":
                line, value = cursor.value()
                yield line, json.dumps({META: json.loads(value)})
            elif key == "conversations" and cursor.opens("["):
                for _ in cursor.items():
                    if not cursor.opens("{"):
                        cursor.value()
                        continue
                    for inner in cursor.keys():  # noqa: SIM118
                        if inner != "training_pairs" or not cursor.opens("["):
                            cursor.value()
                            continue
                        for _ in cursor.items():
                            line, value = cursor.value()
                            if len(value) > MAX_ROW_BYTES:
                                raise _too_long(line)
                            if value.startswith("{"):
                                yield line, value
            else:
                cursor.value()
        cursor.end()
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileProblem):
            raise
        raise FileProblem(
            f"is not one JSON object: line {cursor.line()} is invalid", "Export it again; it may be truncated."
        ) from error


class JsonCursor:
    """Reads JSON value by value and discards what is not needed, so that only one row is in memory."""

    blank = re.compile(r"[ \t\r\n]*")

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._line, self._counted = 1, 0
        self._decoder = json.JSONDecoder()

    def line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def opens(self, bracket: str) -> bool:
        """Whether the next value starts with this bracket."""
        return self._peek() == bracket

    def keys(self) -> Iterator[str]:
        """Yields the keys of the next object; the caller reads each value."""
        self._expect("{")
        for _ in self._until("}"):
            key, self._at = self._decoder.raw_decode(self._text, self._at)
            self._expect(":")
            self._peek()
            yield str(key)

    def items(self) -> Iterator[None]:
        """Stops before each item of the next list; the caller reads it."""
        self._expect("[")
        yield from self._until("]")

    def value(self) -> tuple[int, str]:
        """The line and text of the next value."""
        self._peek()
        line, start = self.line(), self._at
        _, self._at = self._decoder.raw_decode(self._text, start)
        return line, self._text[start : self._at]

    def end(self) -> None:
        if self._peek() != "":
            raise ValueError("trailing data after the document")

    def _until(self, closing: str) -> Iterator[None]:
        first = True
        while self._peek() != closing:
            if not first:
                self._expect(",")
                self._peek()
            first = False
            yield
        self._at += 1

    def _peek(self) -> str:
        blank = self.blank.match(self._text, self._at)
        assert blank is not None
        self._at = blank.end()
        return self._text[self._at : self._at + 1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"expected {character}")
        self._at += 1
