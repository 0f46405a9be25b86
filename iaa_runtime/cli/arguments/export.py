"""Arguments of ``iaa export``."""

from __future__ import annotations

from ...config import Task
from ..parser import CommandParser
from .shared import add_adaptor_argument, add_checkpoint_arguments, add_message_arguments


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    parser.add_argument("--task", required=True, choices=[task.value for task in Task], help="which workflow")
    parser.add_argument(
        "--to",
        required=True,
        choices=("llama", "llava", "gguf"),
        help="llava for MM and G, llama for Text (vLLM, transformers); gguf for llama.cpp",
    )
    parser.add_argument(
        "--type", choices=("f32", "f16", "q8_0", "q4_0"), help="of the language model's matrices in a GGUF (f16)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; must be new or empty")
    add_checkpoint_arguments(parser)
    add_adaptor_argument(parser, "merge it into the weights")
    add_message_arguments(parser)
