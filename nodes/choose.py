"""IAA Choose: a question about each image, answered by one of some choices (task MM; without images task Text)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.errors import InputError
from ..iaa_runtime.pipeline.choices import Choice, checked_choices
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .lists import first_of, flat, one_an_image
from .notes import notes_ui
from .options import CATEGORY, model_input
from .previews import texts_ui
from .progress import Progress
from .values import lines, pictures


class Choose(Node):
    """Chooses among answers, so that a graph can branch."""

    paired, along = "question", ("image", "question")

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Choose",
            category=CATEGORY,
            search_aliases=["classify", "yes or no", "if", "branch", "condition", "router", "zero-shot"],
            inputs=[
                model_input(),
                io.String.Input(
                    "question", multiline=True, default="", placeholder="What to decide:\nIs there a red circle?"
                ),
                io.String.Input("choices", multiline=True, default="yes\nno"),
                io.Image.Input("image", optional=True),
            ],
            outputs=[
                io.String.Output("choice", is_output_list=True),
                io.Int.Output("index", is_output_list=True),
                io.Float.Output("probability", is_output_list=True),
                io.Boolean.Output("yes", is_output_list=True),
            ],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def validate_inputs(cls, question: Any = None, choices: Any = None) -> bool | str:
        """There must be a question, and something to choose among.

        Raises:
            InputError: what is wrong; returned, ComfyUI would tell it of each of the two inputs.
        """
        question, choices = first_of(question), first_of(choices)
        if isinstance(question, str) and not question.strip():
            raise InputError("'question' is empty. Type what to decide.")
        if isinstance(choices, str):
            checked_choices(lines(choices))
        return True

    @classmethod
    def look_ahead(cls, given: Sequence[Mapping[str, Any]]) -> None:
        """All questions are about images, or none is."""
        lacking = sum(inputs.get("image") is None for inputs in given)
        if 0 < lacking < len(given):
            raise InputError(
                f"'image' is null in {lacking} of {len(given)} places of its list. Connect one image a question, or "
                "none."
            )

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        question: list[str | list[str]],
        choices: str,
        image: Any = None,
    ) -> io.NodeOutput:
        """Chooses for each image, or for each question where there are none.

        Raises:
            InputError: there is no question, or fewer than two choices.
        """
        asked = one_an_image(question, [[None] if batch is None else batch for batch in image])
        if not all(text.strip() for text in asked):
            raise InputError("'question' is empty. Connect or type what to decide.")
        progress = Progress(len(asked), 1, likely=1)
        with model.in_use() as pipeline:
            choose = partial(pipeline.choose, choices=lines(choices), cancelled=check_interrupt)
            if image[0] is None:
                chosen = one_by_one(choose, asked, progress)
            else:
                chosen = choose(flat(map(pictures, image)), asked, on_token=progress.on_token)
        progress.done()
        texts = [choice.text for choice in chosen]
        shown = texts_ui([told(choice, lines(choices)) for choice in chosen]) | {"text": texts}
        values = zip(*((c.text, c.index, c.probability, c.is_yes) for c in chosen), strict=True)
        return io.NodeOutput(*map(list, values), ui=shown | notes_ui(pipeline))


def one_by_one(choose: Callable[..., list[Choice]], asked: Sequence[str], progress: Progress) -> list[Choice]:
    """What is chosen without images: each question is a call of its own, and a row of the bar."""
    chosen: list[Choice] = []
    for row, text in enumerate(asked):

        def on_token(_: int, token: int, row: int = row) -> None:
            progress.on_token(row, token)

        chosen += choose(None, text, on_token=on_token)
    return chosen


def told(choice: Choice, choices: list[str]) -> str:
    """The choice and every probability, for people."""
    shares = (f"{name}: {share:.1%}" for name, share in zip(choices, choice.probabilities, strict=True))
    return "\n".join((choice.text, *shares))
