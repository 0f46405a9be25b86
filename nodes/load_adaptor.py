"""IAA Load Adaptor: a model with what an adaptor file was taught."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.errors import AdaptorError, InputError, spelled
from . import host
from .adaptor_files import adaptor_file, as_it_is, find_adaptors
from .inputs import Node
from .options import CATEGORY, IAAModelType, model_input

STRONGEST = 4.0


class LoadAdaptor(Node):
    """Puts an adaptor on top of a model. The model that came in stays as it is, and both share their weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_LoadAdaptor",
            category=CATEGORY,
            search_aliases=["LoRA", "low rank", "fine-tune", "load adapter", "teach"],
            inputs=[
                model_input(),
                io.Combo.Input("adaptor", options=find_adaptors()),
                io.Float.Input("strength", default=1.0, min=-STRONGEST, max=STRONGEST, step=0.05, optional=True),
            ],
            outputs=[IAAModelType.Output("IAA_MODEL")],
        )

    @classmethod
    def validate_inputs(cls, adaptor: Any = None) -> bool | str:
        """Says where a missing file belongs, instead of "value not in list"."""
        if adaptor is None:  # another node's output, which is looked at when it is there
            return True
        if not isinstance(adaptor, str):
            return f"'adaptor' is {spelled(adaptor)}, which is no name. Choose one of the list."
        try:
            adaptor_file(adaptor)
        except AdaptorError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, adaptor: Any = None, **_: Any) -> Any:
        """Changes when the file does."""
        try:
            return as_it_is(adaptor_file(adaptor))
        except (AdaptorError, TypeError):
            return None

    @classmethod
    def execute(cls, model: host.ModelHandle, adaptor: str, strength: float = 1.0) -> io.NodeOutput:
        """Reads the file and compares it with the model."""
        if not isinstance(model, host.ModelHandle):
            raise InputError(
                "'model' is answered by servers, and an adaptor works where the weights are. Connect IAA Loader; or "
                "let the server have it: iaa export --adaptor merges it into what is served."
            )
        return io.NodeOutput(model.adapted(adaptor_file(adaptor), strength))
