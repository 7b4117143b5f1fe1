"""The errors of an attempt."""

from __future__ import annotations


class TrainerError(Exception):
    """Ends the attempt with one of the protocol's codes, a message for the user, and a hint."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class CallbackUnreachable(TrainerError):
    """A callback received no response in time."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "callback_unreachable",
            f"The worker could not reach Tunebase ({problem}).",
            "The operator must check that the worker can reach the callback URL.",
        )


class CallbackRejected(CallbackUnreachable):
    """A callback received a response that a retry would not change."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class LeaseLost(Exception):
    """This worker does not hold the attempt, or no longer does. It stops and reports nothing more."""


class AttemptCancelled(Exception):
    """The server cancelled the attempt."""


class AttemptStopped(Exception):
    """Paused on request, or preempted; everything worth saving has been saved."""
