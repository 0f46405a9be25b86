from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar

class Input:
    id: str
    display_name: str | None
    optional: bool
    tooltip: str | None
    lazy: bool | None
    rawLink: bool | None  # noqa: N815
    advanced: bool | None
    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        *,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None: ...
    def get_io_type(self) -> str: ...
    def get_all(self) -> list[Input]: ...

class WidgetInput(Input):
    default: Any

class Output:
    id: str | None
    display_name: str | None
    tooltip: str | None
    is_output_list: bool
    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None: ...

class ComfyTypeIO:
    io_type: ClassVar[str]
    class Input(Input): ...
    class Output(Output): ...

def Custom(io_type: str) -> type[ComfyTypeIO]: ...  # noqa: N802

class Image(ComfyTypeIO): ...
class Mask(ComfyTypeIO): ...

class Boolean(ComfyTypeIO):
    class Input(WidgetInput):
        def __init__(self, id: str, *, default: bool, optional: bool = False, advanced: bool | None = None) -> None: ...

class Int(ComfyTypeIO):
    class Input(WidgetInput):
        min: int | None
        max: int | None
        def __init__(
            self,
            id: str,
            *,
            default: int,
            min: int | None = None,
            max: int | None = None,
            step: int | None = None,
            optional: bool = False,
            control_after_generate: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Float(ComfyTypeIO):
    class Input(WidgetInput):
        min: float | None
        max: float | None
        def __init__(
            self,
            id: str,
            *,
            default: float,
            min: float | None = None,
            max: float | None = None,
            step: float | None = None,
            optional: bool = False,
            advanced: bool | None = None,
        ) -> None: ...

class String(ComfyTypeIO):
    class Input(WidgetInput):
        placeholder: str | None
        def __init__(
            self,
            id: str,
            *,
            multiline: bool = False,
            placeholder: str | None = None,
            default: str | None = None,
            dynamic_prompts: bool | None = None,
            optional: bool = False,
            force_input: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Combo(ComfyTypeIO):
    class Input(WidgetInput):
        options: list[str]
        def __init__(
            self,
            id: str,
            options: Sequence[str],
            *,
            default: str | None = None,
            optional: bool = False,
            advanced: bool | None = None,
        ) -> None: ...

    class Output(Output):
        def __init__(self, id: str | None = None) -> None: ...

class BoundingBox(ComfyTypeIO):
    class Input(WidgetInput):
        def __init__(
            self, id: str, *, optional: bool = False, force_input: bool | None = None, socketless: bool = True
        ) -> None: ...

class MultiType:
    class Input(Input):
        def __init__(self, id: str, types: Sequence[type[ComfyTypeIO]], *, optional: bool = False) -> None: ...

class DynamicCombo:
    io_type: ClassVar[str]
    class Option:
        key: str
        inputs: list[Input]
        def __init__(self, key: str, inputs: Sequence[Input]) -> None: ...

    class Input(Input):
        options: list[DynamicCombo.Option]
        def __init__(self, id: str, options: Sequence[DynamicCombo.Option], *, optional: bool = False) -> None: ...

class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"

class HiddenHolder:
    unique_id: str
    prompt: Mapping[str, Any] | None

class Schema:
    node_id: str
    display_name: str
    description: str
    category: str
    inputs: list[Input]
    outputs: list[Output]
    search_aliases: list[str]
    is_input_list: bool
    def __init__(
        self,
        node_id: str,
        *,
        category: str,
        inputs: Sequence[Input] = (),
        outputs: Sequence[Output] = (),
        hidden: Sequence[Hidden] = (),
        search_aliases: Sequence[str] = (),
        is_input_list: bool = False,
        is_output_node: bool = False,
        has_intermediate_output: bool = False,
        not_idempotent: bool = False,
        enable_expand: bool = False,
        is_dev_only: bool = False,
    ) -> None: ...

class ComfyNode:
    hidden: ClassVar[HiddenHolder]
    @classmethod
    def define_schema(cls) -> Schema: ...

class NodeOutput:
    args: tuple[Any, ...]
    ui: Any
    @property
    def result(self) -> tuple[Any, ...]: ...
    def __init__(
        self,
        *args: Any,
        ui: Any = None,
        expand: dict[str, Any] | None = None,
        block_execution: str | None = None,
    ) -> None: ...
