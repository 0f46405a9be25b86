"""What a format costs: the time of answers held to one beside that of free answers as long, in one run.

    python benchmarks/structured.py [--rows 1] [--tokens 64] [--repeats 5] [--clock cpu] [--folder KEPT]

A checkpoint of `iaa bench --size wide`, random weights in matrices of the real size, but with as many tokens as Llama 3
has, which stand for all pairs and very many triples of bytes. It has four base layers of the real model's 32, so a
format takes a smaller share there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import PreTrainedTokenizerFast

from iaa_runtime import GenerationConfig, Task
from iaa_runtime.bench.checkpoints import write_checkpoint
from iaa_runtime.bench.choices import SIZES
from iaa_runtime.bench.timing import Clock, interleaved, median_ratio
from iaa_runtime.generation.loop import generate
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.generation.structured import FormatGrammar
from iaa_runtime.pipeline.model import IAAModel
from iaa_runtime.text.formats import Formats

VOCABULARY = 128_256
FORMATS = {
    "expression": "[a-zA-Z ,.]{2000}",
    "flat schema": json.dumps({"type": "object", "properties": {"caption": {"type": "string", "minLength": 2000}}}),
    "nested schema": json.dumps(
        {
            "type": "array",
            "minItems": 200,
            "items": {
                "type": "object",
                "properties": {
                    "label": {"enum": ["person", "dog", "cat", "car"]},
                    "count": {"type": "integer", "minimum": 0, "maximum": 99},
                    "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                    "note": {"type": "string", "maxLength": 20},
                },
                "required": ["label", "count", "box", "note"],
            },
        }
    ),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with ``VOCABULARY`` tokens: every byte, every pair, and triples that begin with a letter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(product(letters, repeat=2))
    triples = product((a + b for a, b in product("abcdefghijklmnopqrstuvwxyz", letters)), letters)
    end = "<|eot_id|>"
    wanted = VOCABULARY - 1 - len(letters) - len(pairs)
    merges = [*pairs, *(triple for _, triple in zip(range(wanted), triples, strict=False))]
    vocabulary = {token: number for number, token in enumerate([*letters, *(a + b for a, b in merges)])}
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), ByteLevel()
    made.add_special_tokens([end])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end)


def main() -> None:
    """Measures free and held answers in turn, and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--folder", help="keep the checkpoint there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.folder or made) / "wide-128k"
        if not folder.exists():
            size = SIZES["wide"]
            write_checkpoint(folder, replace(size, config=replace(size.config, vocab_size=VOCABULARY)), torch.bfloat16)
        measure(folder, options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Prints a line a format."""
    model = IAAModel.from_pretrained(folder, "auto", "auto")
    stack, tokens = model.stack(Task.TEXT), tokenizer()
    prompts = [Prompt(tuple(range(300, 320 + row))) for row in range(options.rows)]
    config = GenerationConfig(max_new_tokens=options.tokens)
    formats = Formats(tokens, VOCABULARY, tokens.eos_token_id)
    grammars = {name: FormatGrammar(formats, format, VOCABULARY) for name, format in FORMATS.items()}
    lengths: dict[str, int] = {}

    def answer(name: str) -> None:
        # No token ends a free answer: what is compared is as long.
        answers = generate(stack, prompts, config, [VOCABULARY], constraint=grammars.get(name))
        lengths[name] = sum(len(row.ids) for row in answers)

    runs = {name: lambda name=name: answer(name) for name in ("free", *grammars)}
    seconds = interleaved(runs, options.repeats, Clock(options.clock, model.device))
    assert len(set(lengths.values())) == 1, lengths
    print(f"{options.rows} rows of {options.tokens} tokens out of {VOCABULARY:,}, {model.dtype}, {model.device}")
    print("held beside free:")
    for name in grammars:
        ratio = median_ratio(seconds[name], seconds["free"])
        print(f"  {name:<15}{ratio:.3f}")


if __name__ == "__main__":
    main()
