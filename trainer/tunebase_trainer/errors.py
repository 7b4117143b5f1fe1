"""What can go wrong with an attempt, as a person should hear it."""

from __future__ import annotations


class TrainerError(Exception):
    """Ends the attempt with a code of the protocol, a sentence for the user, and what to do about it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class AttemptLost(Exception):
    """This worker does not hold the attempt (any more): stop, and say nothing more."""


class AttemptCancelled(Exception):
    """The server ordered the attempt to end."""
