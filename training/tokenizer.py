"""The demo's tokenizer: byte-level BPE with Llama 3's pre-tokenizer, special tokens and chat template, in small.

Numbers are cut into groups of up to three digits and every such group is a token, as in Llama 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from iaa_runtime.text.conversation import BEGIN_OF_TEXT, END_HEADER, EOT, IMAGE_TOKEN, START_HEADER

LLAMA3_PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
END_OF_TEXT = "<|end_of_text|>"
SPECIALS = (BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, EOT, IMAGE_TOKEN)
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def _llama3_splits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _learn_words(texts: Iterable[str], words: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Bytes plus ``words`` merges learned from the texts without their digits: tokens in order, and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _llama3_splits()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256 + words, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(("".join(c for c in text if not c.isdigit()) for text in texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(pair) for pair in model["merges"]]


def build_tokenizer(texts: Iterable[str], words: int) -> Tokenizer:
    """Learns the tokenizer.

    Args:
        texts: Samples of prompts and answers.
        words: Merges to learn beside the numbers.

    Returns:
        A tokenizer whose ids are bytes, words, ``00`` to ``99``, ``000`` to ``999`` and specials, in this order.
    """
    tokens, merges = _learn_words(texts, words)
    numbers = [f"{n:02d}" for n in range(100)] + [f"{n:03d}" for n in range(1000)]
    merges += [(number[:-1], number[-1]) for number in numbers]
    vocabulary = {token: i for i, token in enumerate(tokens + numbers)}
    # ignore_merges, as in Llama 3: a group that is a token is taken whole, whatever order its merges have.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = _llama3_splits()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": BEGIN_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    added: dict[str, Any] = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token in SPECIALS
    }
    config = {
        "added_tokens_decoder": added,
        **roles,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(roles, indent=2) + "\n")
