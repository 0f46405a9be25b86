"""Loads the checkpoint's tokenizer, and decodes, in a way that gives the same with every transformers version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.settings import load_settings
from ..errors import CheckpointError
from .held_back import held_back
from .tokenizer_file import checked_tokenizer

_PANIC = "PanicException"
_USUAL, _MOST = 16, 256
"""Characters that a token of a long text holds at most, and ever: Llama 3's longest is 128 blanks."""


def load_tokenizer(folder: Path) -> Any:
    """Loads ``tokenizer.json`` of a checkpoint's folder as a ``transformers`` fast tokenizer.

    Nothing else is used: AutoTokenizer would look into config.json, whose model type no library version knows. But a
    tokenizer_config.json or special_tokens_map.json that is broken is told of.

    Raises:
        CheckpointError: the file is missing, unreadable, or asks for what may never end.
        ConfigError: a setting of the other two is of the wrong kind.
    """
    file = checked_tokenizer(folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        load_settings(folder / name)
    from transformers import PreTrainedTokenizerFast  # seconds to import

    try:
        with _told(str(file)):
            return PreTrainedTokenizerFast(tokenizer_file=str(file))
    except CheckpointError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception for files that it cannot read
        raise CheckpointError(f"{file} is not a tokenizer ({error}). Fetch the file again.") from error


def encode(tokenizer: Any, text: str) -> list[int]:
    """The ids of plain text; control tokens in it are text too.

    Raises:
        CheckpointError: the tokenizer gave up.
    """
    with _told("The tokenizer"), held_back(_PANIC):
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def fits(tokenizer: Any, text: str, tokens: int) -> bool:
    """Whether ``text`` may have no more than ``tokens``; False is certain, and said within a fraction of a second.

    A megabyte takes the tokenizer seconds, in which it hears nothing. Long texts are judged by their beginning, whose
    tokens are those of the whole but for the last few.
    """
    if len(text) > _MOST * tokens:
        return False
    beginning = text[: _USUAL * tokens]
    return len(beginning) == len(text) or len(encode(tokenizer, beginning)) <= tokens + 1


def token_id(tokenizer: Any, token: str) -> int:
    """The id of a control token; raises :class:`CheckpointError` where the vocabulary lacks it."""
    number = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(number, int) or number == tokenizer.unk_token_id:
        raise CheckpointError(f"The tokenizer has no token {token}. Use the tokenizer that came with the checkpoint.")
    return number


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ``ids``: control tokens left out, blanks before punctuation kept."""
    with _told("The tokenizer"):
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token alone: empty for control tokens, ``BROKEN`` for a part of a character."""
    return [decode(tokenizer, [i]) for i in ids]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Makes an error of ours of a panic of the library, which passes every ``except Exception`` and ends a server."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        remedy = "Use the tokenizer.json that came with the checkpoint."
        raise CheckpointError(f"{what} gave up ({error}). {remedy}") from None
