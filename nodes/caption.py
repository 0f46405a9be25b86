"""IAA Caption: what is in each image (task MM)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.errors import InputError, spelled
from ..iaa_runtime.text.styles import ANY, ENGLISH, KINDS, LANGUAGES, LENGTHS, caption_prompt, styled
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .lists import first_of, flat, one_an_image
from .notes import notes_ui
from .options import CATEGORY, DEFAULTS, format_input, generation_options, length_input, model_input, sampling_input
from .previews import texts_ui
from .progress import Progress
from .values import pictures

QUESTION = "question"
PRESETS = [*KINDS, QUESTION]


class Caption(Node):
    """Describes each image of a batch, or answers a question about it."""

    paired, along = "prompt", ("image", "prompt")

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Caption",
            category=CATEGORY,
            search_aliases=["describe image", "image to text", "VQA", "tagger", "OCR", "ask about image"],
            inputs=[
                model_input(),
                io.Image.Input("image"),
                io.Combo.Input("preset", options=PRESETS, default="caption", optional=True),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="Your question, for the preset 'question'; else added to the preset",
                ),
                length_input(),
                sampling_input(),
                io.Combo.Input("length", options=list(LENGTHS), default=ANY, optional=True),
                io.String.Input("extras", default="", optional=True, advanced=True),
                io.String.Input("forbid", default="", optional=True, advanced=True),
                io.Combo.Input("language", options=list(LANGUAGES), default=ENGLISH, optional=True, advanced=True),
                format_input(),
            ],
            outputs=[io.String.Output("captions", is_output_list=True)],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def validate_inputs(cls, prompt: Any = "", preset: Any = None, *, sampling: Any = None) -> bool | str:
        """A question needs words. (Behind the star: what ComfyUI passes in any case and checks itself.)

        Raises:
            InputError: what is wrong; returned, ComfyUI would tell it of each of the two inputs.
        """
        preset, prompt = first_of(preset), first_of(prompt)
        if preset == QUESTION and isinstance(prompt, str) and not prompt.strip():
            raise InputError("The preset is 'question', but 'prompt' is empty. Type it, or choose another preset.")
        if not (preset is None or preset in PRESETS):
            raise InputError(unknown_preset(preset))
        return True

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        image: list[torch.Tensor],
        preset: str = "caption",
        prompt: Sequence[str | list[str]] = "",
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        sampling: dict[str, Any] | None = None,
        length: str = ANY,
        extras: str = "",
        forbid: str = "",
        language: str = ENGLISH,
        format: str = "",
    ) -> io.NodeOutput:
        """Captions the batches."""
        style = {"length": length, "extras": items(extras), "forbid": items(forbid), "language": language}
        images = flat(map(pictures, image))
        progress = Progress(len(images), max_new_tokens, cls.hidden.unique_id)
        with model.in_use() as pipeline:
            captions = pipeline.caption(
                images,
                [question(preset, words, style) for words in one_an_image(prompt, image)],
                on_token=progress.on_token,
                on_text=progress.on_text,
                cancelled=check_interrupt,
                **generation_options(max_new_tokens, sampling, format),
            )
        progress.done()
        return io.NodeOutput(captions, ui=texts_ui(captions) | notes_ui(pipeline))


def question(preset: str, prompt: str, style: dict[str, Any]) -> str:
    """What is asked: the preset's words, the user's, or both, with what the answer shall be like.

    Args:
        preset: one of ``PRESETS``.
        prompt: the user's words.
        style: arguments of :func:`styled`.

    Raises:
        InputError: both are empty, or there is no such preset or extra, or a length for a list.
    """
    if preset not in PRESETS:
        raise InputError(unknown_preset(preset))
    words = prompt.strip()
    if preset != QUESTION:
        return " ".join(filter(None, (caption_prompt(preset, **style), words)))
    if not words:
        raise InputError("There is nothing to ask: 'prompt' is empty. Type the question, or choose another preset.")
    return styled(words, **style)


def items(text: str) -> list[str]:
    """What stands between commas and line ends, in English or Chinese."""
    return [item.strip() for item in re.split(r"[,;，；、\n]", text) if item.strip()]


def unknown_preset(preset: object) -> str:
    """What to do about a preset that does not exist."""
    return f"There is no preset {spelled(preset)}. Choose one of {', '.join(PRESETS)}."
