"""Where the tests find what lies outside of them."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
TRAINER = TESTS.parent
REPOSITORY = TRAINER.parent
