"""What can go wrong with an attempt, as a person should hear it."""

from __future__ import annotations


class TrainerError(Exception):
    """Ends the attempt with a code of the protocol, a sentence for the user, and what to do about it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class CallbackUnreachable(TrainerError):
    """A callback was not answered for as long as it was worth waiting."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "callback_unreachable",
            f"The worker could not tell Tunebase how it went ({problem}).",
            "The operator must check that the worker reaches the callback's address.",
        )


class CallbackRejected(CallbackUnreachable):
    """A callback was answered with a status that asking again would not change."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class LeaseLost(Exception):
    """This worker does not hold the attempt (any more): stop, and say nothing more."""


class AttemptCancelled(Exception):
    """The server ordered the attempt to end."""


class AttemptStopped(Exception):
    """Paused by order, or preempted, with nothing (more) to save."""
