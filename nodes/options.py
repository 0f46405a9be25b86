"""What several nodes' schemas share: categories, custom types, generation options."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.config import GenerationConfig

CATEGORY = "IAA"

IAAModelType = io.Custom("IAA_MODEL")
IAAChatType = io.Custom("IAA_CHAT")

DEFAULTS = GenerationConfig()
GREEDY, RANDOM = "likeliest words", "random"
RANDOM_DEFAULTS: dict[str, Any] = {
    "temperature": 0.7,
    "top_k": DEFAULTS.top_k,
    "top_p": 0.9,
    "min_p": DEFAULTS.min_p,
    "repetition_penalty": DEFAULTS.repetition_penalty,
    "seed": DEFAULTS.seed,
}
"""What 'random' starts with: where it matters, tamer than the model's own distribution."""


def model_input() -> io.Input:
    """The socket that takes a Loader's model."""
    return IAAModelType.Input("model")


def length_input(default: int = DEFAULTS.max_new_tokens) -> io.Input:
    """How long an answer may get."""
    return io.Int.Input("max_new_tokens", default=default, min=1, max=8192, optional=True, advanced=True)


def format_input() -> io.Input:
    """What answers are held to: a JSON schema or a regular expression; free ones where it is empty."""
    return io.String.Input("format", multiline=True, default="", optional=True, advanced=True)


def sampling_input() -> io.Input:
    """How words are chosen: a group that unfolds for random choice."""
    random = [
        io.Float.Input(
            "temperature", default=RANDOM_DEFAULTS["temperature"], min=0.01, max=5.0, step=0.01, optional=True
        ),
        io.Int.Input("top_k", default=RANDOM_DEFAULTS["top_k"], min=0, max=1000, optional=True),
        io.Float.Input("top_p", default=RANDOM_DEFAULTS["top_p"], min=0.01, max=1.0, step=0.01, optional=True),
        io.Float.Input("min_p", default=RANDOM_DEFAULTS["min_p"], min=0.0, max=1.0, step=0.01, optional=True),
        io.Float.Input(
            "repetition_penalty",
            default=RANDOM_DEFAULTS["repetition_penalty"],
            min=0.1,
            max=5.0,
            step=0.01,
            optional=True,
        ),
        io.Int.Input(
            "seed",
            default=RANDOM_DEFAULTS["seed"],
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            optional=True,
        ),
    ]
    return io.DynamicCombo.Input(
        "sampling", options=[io.DynamicCombo.Option(GREEDY, []), io.DynamicCombo.Option(RANDOM, random)], optional=True
    )


def generation_options(max_new_tokens: int, sampling: dict[str, Any] | None, format: str = "") -> dict[str, Any]:
    """A node's generation inputs as fields of :class:`GenerationConfig`."""
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    if format.strip():
        options["format"] = format
    if sampling and sampling.get("sampling") == RANDOM:
        chosen = {name: value for name, value in sampling.items() if name != "sampling" and value is not None}
        options |= RANDOM_DEFAULTS | chosen | {"do_sample": True}
    return options
