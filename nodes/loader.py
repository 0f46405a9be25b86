"""IAA Loader: a checkpoint, ready to answer."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.errors import spelled
from . import host
from .inputs import Node
from .options import CATEGORY, IAAModelType


class Loader(Node):
    """Opens a checkpoint. Weights are read when a node first needs them, and only those it needs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Loader",
            category=CATEGORY,
            search_aliases=["load IAA", "Inner-Adaptor Architecture", "VLM loader", "vision language model"],
            inputs=[
                io.Combo.Input("checkpoint", options=host.checkpoint_options(), default=host.DEMO_NAME),
                io.Combo.Input("precision", options=_Dtypes(host.DTYPES), default="auto", optional=True),
                io.Combo.Input(
                    "device", options=host.device_options(), default="default", optional=True, advanced=True
                ),
                io.Boolean.Input("keep_loaded", default=False, optional=True, advanced=True),
                io.Boolean.Input("download", default=False, optional=True),
                io.Combo.Input("weights", options=list(host.WEIGHTS), default=host.AS_STORED, optional=True),
            ],
            outputs=[IAAModelType.Output("IAA_MODEL")],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: Any) -> bool | str:
        """Says where a missing checkpoint belongs, instead of "value not in list".

        What is on offer but not here is spoken of when it is run.
        """
        if not isinstance(checkpoint, (str, type(None))):
            return f"'checkpoint' is {spelled(checkpoint)}, which is no name. Choose one of the list."
        if checkpoint is None or checkpoint in host.checkpoint_options():
            return True
        return host.missing_checkpoint_message(checkpoint)

    @classmethod
    def fingerprint_inputs(cls, checkpoint: Any = None, **_: Any) -> Any:
        """Changes when the checkpoint's files do."""
        return host.fingerprint(checkpoint) if isinstance(checkpoint, str) else None

    @classmethod
    def upgrade(cls, inputs: dict[str, Any]) -> dict[str, Any]:
        """``precision`` once said both, in what to compute and in what to keep the weights.

        Queued from the browser, a workflow of that time says ``weights``, too, at its default.
        """
        precision = inputs.get("precision")
        if isinstance(precision, str) and precision in host.WEIGHTS:
            weights = inputs.get("weights", host.AS_STORED)
            return inputs | {"weights": precision if weights == host.AS_STORED else weights, "precision": "auto"}
        return inputs

    @classmethod
    def execute(
        cls,
        checkpoint: str,
        precision: str = "auto",
        device: str = "default",
        keep_loaded: bool = False,
        download: bool = False,
        weights: str = host.AS_STORED,
    ) -> io.NodeOutput:
        """Opens the checkpoint, or hands out the one that is open already."""
        return io.NodeOutput(host.open_model(checkpoint, precision, weights, device, keep_loaded, download))


class _Dtypes(list[str]):
    """The dtypes on offer, among which ComfyUI also finds what :meth:`Loader.upgrade` takes.

    If ``validate_inputs`` named this input, ComfyUI would not look, but tell of a wrong checkpoint here too.
    """

    def __contains__(self, value: object) -> bool:
        return super().__contains__(value) or value in list(host.WEIGHTS)
