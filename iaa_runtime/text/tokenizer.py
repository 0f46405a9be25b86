"""Loads the checkpoint's tokenizer, and decodes, in a way that gives the same with every transformers version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError


def load_tokenizer(folder: Path) -> Any:
    """Loads ``tokenizer.json`` of a checkpoint's folder as a ``transformers`` fast tokenizer.

    Only that file is opened: AutoTokenizer would look into config.json too, whose model type no library version knows.

    Raises:
        CheckpointError: the file is missing or unreadable.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(f"There is no tokenizer.json in {folder}. Fetch it from where the checkpoint came from.")
    from transformers import PreTrainedTokenizerFast  # seconds to import

    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(file))
    except Exception as error:  # the tokenizers library raises bare Exception for files that it cannot read
        raise CheckpointError(f"{file} is not a tokenizer ({error}). Fetch the file again.") from error


def token_id(tokenizer: Any, token: str) -> int:
    """The id of a control token; raises :class:`CheckpointError` where the vocabulary lacks it."""
    number = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(number, int) or number == tokenizer.unk_token_id:
        raise CheckpointError(f"The tokenizer has no token {token}. Use the tokenizer that came with the checkpoint.")
    return number


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ``ids``: control tokens left out, blanks before punctuation kept."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token alone: empty for control tokens, ``BROKEN`` for a part of a character."""
    return [decode(tokenizer, [i]) for i in ids]
