"""IAA Teach: a new thing from pictures with boxes, or a style from pictures with captions, kept in an adaptor file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io
from PIL import Image

from ..iaa_runtime.boxes.bounding_box import as_boxes
from ..iaa_runtime.config import Task
from ..iaa_runtime.config.teaching import LARGEST_RANK, LARGEST_SHARE, MOST_PICTURES, MOST_STEPS, TeachSettings
from ..iaa_runtime.errors import Cancelled, CheckpointError, InputError, spelled
from ..iaa_runtime.pipeline.local import IAAPipeline
from ..iaa_runtime.teaching.examples import Example
from ..iaa_runtime.teaching.files import RunFiles
from ..iaa_runtime.teaching.given import box_examples, caption_examples
from ..iaa_runtime.teaching.results import Taught, taught_before
from ..iaa_runtime.teaching.scores import told
from ..iaa_runtime.teaching.teach import teach
from ..iaa_runtime.text.prompts import CAPTION_PROMPTS, grounding_question
from .adaptor_files import as_it_is, new_adaptor_file, stem_of
from .boxes_common import SKIP, box_input
from .host import ModelHandle, check_interrupt, intermediate
from .inputs import Node
from .lists import first_of, only
from .options import CATEGORY, model_input
from .previews import pictures_ui, texts_ui
from .progress import Phases
from .room import interrupted, make_room, opened_to_teach
from .values import image_batch, pictures

DEFAULTS = TeachSettings()
PROMPT = CAPTION_PROMPTS["caption"]
DOING = {
    "views": "Looking at the pictures",
    "views asked about": "Asking what the model knows already",
    "steps": "Learning",
    "scores": "Testing on the pictures held out",
}
"""What is going on, by what is counted."""


class Teach(Node):
    """Teaches a model, of which a frozen copy is opened for that time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Teach",
            category=CATEGORY,
            search_aliases=["train", "fine-tune", "LoRA", "learn", "few-shot", "new object", "custom class"],
            inputs=[
                model_input(),
                io.Image.Input("image"),
                io.String.Input("name", default="my_adaptor"),
                io.String.Input("phrase", default="", optional=True),
                box_input("bboxes", optional=True),
                io.String.Input("captions", optional=True, force_input=True),
                io.Int.Input("steps", default=DEFAULTS.steps, min=1, max=MOST_STEPS, optional=True),
                io.Int.Input("rank", default=DEFAULTS.rank, min=1, max=LARGEST_RANK, optional=True),
                io.Float.Input(
                    "hold_out", default=DEFAULTS.hold_out, min=0.0, max=LARGEST_SHARE, step=0.05, optional=True
                ),
                io.Int.Input(
                    "seed", default=DEFAULTS.seed, min=0, max=0xFFFFFFFF, control_after_generate=False, optional=True
                ),
                io.Boolean.Input("overwrite", default=False, optional=True),
                io.Int.Input("batch", default=DEFAULTS.batch, min=1, max=MOST_PICTURES, optional=True, advanced=True),
                io.String.Input("prompt", default=PROMPT, optional=True, advanced=True),
            ],
            outputs=[
                io.Combo.Output("adaptor"),
                io.String.Output("path"),
                io.Image.Output("curve"),
                io.Image.Output("before_after"),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def validate_inputs(cls, name: Any = None) -> bool | str:
        """Says at once that a name is none."""
        name = first_of(name)
        try:
            return name is None or not isinstance(name, str) or bool(new_adaptor_file(name))
        except InputError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, name: Any = None, **_: Any) -> Any:
        """Changes when the file does; without it, nothing that is remembered counts (NaN equals nothing)."""
        try:
            return as_it_is(new_adaptor_file(first_of(name))) or float("nan")
        except (InputError, AttributeError):  # a name that another node gives is known when it runs
            return None

    @classmethod
    def execute(
        cls,
        model: list[ModelHandle],
        image: list[torch.Tensor],
        name: Any,
        phrase: Any = "",
        bboxes: Any = None,
        captions: Any = None,
        steps: Any = DEFAULTS.steps,
        rank: Any = DEFAULTS.rank,
        hold_out: Any = DEFAULTS.hold_out,
        seed: Any = DEFAULTS.seed,
        overwrite: Any = False,
        batch: Any = DEFAULTS.batch,
        prompt: Any = PROMPT,
    ) -> io.NodeOutput:
        """Teaches; or gives the file out that the same inputs made before."""
        check_only_one(cls.hidden, name)
        handle, file = on_this_machine(only(model, "model")), new_adaptor_file(only(name, "name"))
        shown = [picture.whole(check_interrupt) for some in image for picture in pictures(some)]
        examples = examples_of(shown, bboxes, only(phrase, "phrase"), captions, only(prompt, "prompt"))
        chosen = {"rank": rank, "steps": steps, "hold_out": hold_out, "seed": seed, "batch": batch}
        task = Task.MM if bboxes is None else Task.G
        settings = TeachSettings(task, **{key: only(value, key) for key, value in chosen.items()})
        replaces = bool(only(overwrite, "overwrite"))
        with opened_to_teach(handle) as pipeline:
            taught = made_before(pipeline, examples, settings, file, replaces)
            if taught is None:
                make_room(handle)
                phases = Phases(cls.hidden.unique_id, DOING)
                taught = teach_anew(pipeline, examples, settings, file, replaces, phases)
        return output(taught, file, cls)


def check_only_one(hidden: Any, name: Any) -> None:
    """Raises :class:`InputError` where another node of the graph makes something else under the same name.

    Both would give out the file that was written last.
    """
    graph = hidden.prompt or {}
    own = graph.get(hidden.unique_id)
    if own is None:
        return
    for node in graph.values():
        names = [each["inputs"].get("name") for each in (node, own)]
        first, second = (stem_of(name) if isinstance(name, str) else name for name in names)  # a link is a list
        if node["class_type"] == own["class_type"] and first == second and node["inputs"] != own["inputs"]:
            raise InputError(
                f"'name': two IAA Teach of this graph are called {spelled(first_of(name))}, and the one would replace "
                "the file of the other. Give each a name of its own."
            )


def on_this_machine(model: Any) -> ModelHandle:
    """The model, whose weights are here.

    Raises:
        InputError: servers have them.
    """
    if isinstance(model, ModelHandle):
        return model
    raise InputError(
        "'model' is answered by servers, and teaching works where the weights are. Connect IAA Loader; on the machine "
        "of the server, iaa teach does the same."
    )


def examples_of(shown: Sequence[Image.Image], bboxes: Any, phrase: str, captions: Any, prompt: str) -> list[Example]:
    """What is learned: boxes of a phrase, or captions.

    Raises:
        InputError: there are both or neither, or not one an image; names the input.
    """
    if (bboxes is None) == (captions is None):
        raise InputError(
            "Either 'bboxes' or 'captions' must be connected, and not both: boxes are learned by task G, and captions "
            "by task MM. Use one IAA Teach for each."
        )
    if bboxes is None:
        return caption_examples(shown, captions, prompt, "'captions'")
    if phrase.strip():
        try:
            grounding_question(phrase)
        except InputError as error:
            raise InputError(f"'phrase': {error}") from None
    boxes = [found for value in bboxes for found in as_boxes(value, check_interrupt)]
    return box_examples(shown, boxes, phrase.strip(), "'bboxes'")


def made_before(
    pipeline: IAAPipeline, examples: Sequence[Example], settings: TeachSettings, file: Path, overwrite: bool
) -> Taught | None:
    """What the same inputs made before; None where nothing is in the way of making it.

    Raises:
        InputError: something else is called so, and not to be replaced.
        CheckpointError: the file is broken, and not to be replaced.
    """
    try:
        taught = taught_before(pipeline, examples, settings, file, check_interrupt)
    except (InputError, CheckpointError):
        if not overwrite:
            raise
        return None  # what is broken is replaced, and teaching itself tells of all else
    if overwrite:
        return taught
    files = RunFiles(file)
    there = next((path for path in files.results if path.exists()), None)
    if taught is not None or there is None or files.begun():
        return taught
    if there == files.adaptor:
        raise InputError(
            f"'name': {there} is there already, and was not made of these pictures with these settings. Choose another "
            "name, or switch on 'overwrite'."
        )
    raise InputError(
        f"'name': {there} is there already, without the adaptor that it belongs to. Move it away, choose another name, "
        "or switch on 'overwrite'."
    )


def teach_anew(
    pipeline: IAAPipeline,
    examples: Sequence[Example],
    settings: TeachSettings,
    file: Path,
    overwrite: bool,
    phases: Phases,
) -> Taught:
    """Teaches until it is done, or Cancel is pressed: the same inputs go on from there."""
    try:
        return teach(pipeline, examples, settings, file, overwrite=overwrite, on_progress=phases, cancelled=interrupted)
    except Cancelled:
        check_interrupt()
        raise


def output(taught: Taught, file: Path, cls: type[io.ComfyNode]) -> io.NodeOutput:
    """The node's outputs and what it shows; without a sheet of held-out pictures, what takes it does not run."""
    sheets = [taught.curve] if taught.sheet is None else [taught.curve, taught.sheet]
    curve, *rest = (intermediate(image_batch([sheet], 1, sheet.size)) for sheet in sheets)
    scores = [f"{title}: {line}" for title in ("before", "after") for line in told(getattr(taught, title))]
    said = "\n".join([f"{file.name}, as it was after step {taught.best}.", *scores])
    shown = pictures_ui(reversed(sheets), cls) | texts_ui([said])
    return io.NodeOutput(file.name, str(file), curve, rest[0] if rest else SKIP, ui=shown)
