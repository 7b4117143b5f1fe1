"""The tokens at which generation stops, and whether a chat template teaches one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from ..errors import TrainerError
from .conversation_prefix import TEMPLATE_ERRORS

if TYPE_CHECKING:
    from .rendering import Renderer

ANSWER = "canary answer"


def stop_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[frozenset[int], bool]:
    """The ids that vLLM reads from the model's files, and whether the files name any."""
    own = frozenset() if tokenizer.eos_token_id is None else frozenset({int(tokenizer.eos_token_id)})
    path = Path(tokenizer.name_or_path) / "generation_config.json"
    if not path.is_file():
        return own, False
    configured = json.loads(path.read_text()).get("eos_token_id")
    named = configured if isinstance(configured, list) else [configured]
    return own | {token for token in named if isinstance(token, int)}, configured is not None


def next_turn_as_stop(renderer: Renderer, tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends an answer by starting the next turn, for templates without an end-of-turn token (GLM); else
    "".

    Raises TrainerError `no_chat_template` if the model could not learn where an answer ends.
    """
    question, answer = {"role": "user", "content": "x"}, {"role": "assistant", "content": ANSWER}
    try:
        alone, followed = (
            renderer.text([question, answer, *after], [], False).rpartition(ANSWER)[2] for after in ([], [question])
        )
    except TEMPLATE_ERRORS:
        return ""  # reported for the first row
    stops, are_named = stop_tokens(tokenizer)
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special} | stops
    end = [token for token in tokenizer(alone, add_special_tokens=False)["input_ids"] if token in special]
    if stops & set(end) or (end and not are_named):
        return ""
    following = tokenizer(followed, add_special_tokens=False)["input_ids"][:1]
    if following and following[0] in stops:
        return str(tokenizer.decode(following))
    names = ", ".join(str(token) for token in tokenizer.convert_ids_to_tokens(sorted(stops))) or "none"
    ends = f"with {tokenizer.decode(end)}" if end else "without a special token"
    raise TrainerError(
        "no_chat_template",
        f"The base model's chat template ends an answer {ends}, but generation stops at {names}: the fine-tuned model "
        "would not learn to stop.",
        "Choose an instruct model, or ask the operator to correct the template or generation_config.json.",
    )
