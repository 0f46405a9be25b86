"""IAA Text: the frozen language model alone (task Text)."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.config import Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.text.conversation import Conversation
from ..iaa_runtime.text.prompts import DEFAULT_SYSTEM
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .notes import notes_ui
from .options import CATEGORY, DEFAULTS, format_input, generation_options, length_input, model_input, sampling_input
from .previews import texts_ui
from .progress import Progress


class Text(Node):
    """Answers a prompt without an image, for instance to expand a short prompt into a long one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Text",
            category=CATEGORY,
            search_aliases=["LLM", "prompt expansion", "enhance prompt", "Llama 3", "generate text"],
            inputs=[
                model_input(),
                io.String.Input("prompt", multiline=True, default=""),
                io.String.Input("system", multiline=True, default=DEFAULT_SYSTEM, optional=True, advanced=True),
                length_input(),
                sampling_input(),
                format_input(),
            ],
            outputs=[io.String.Output("text")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, prompt: Any = None, *, sampling: Any = None) -> bool | str:
        """A prompt needs words."""
        if isinstance(prompt, str) and not prompt.strip():
            return "'prompt' is empty. Type what to ask."
        return True

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        prompt: str,
        system: str = DEFAULT_SYSTEM,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        sampling: dict[str, Any] | None = None,
        format: str = "",
    ) -> io.NodeOutput:
        """Answers the prompt."""
        if not prompt.strip():
            raise InputError("'prompt' is empty. Connect or type what to ask.")
        progress = Progress(1, max_new_tokens, cls.hidden.unique_id)
        with model.in_use() as pipeline:
            reply = pipeline.reply(
                Conversation(system).user(prompt),
                Task.TEXT,
                on_token=progress.on_token,
                on_text=progress.on_text,
                cancelled=check_interrupt,
                **generation_options(max_new_tokens, sampling, format),
            )
        progress.done()
        return io.NodeOutput(reply.text, ui=texts_ui([reply.text]) | notes_ui(pipeline))
