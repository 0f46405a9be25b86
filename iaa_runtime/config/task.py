"""The three tasks (:class:`Task`) and the banks of weights that each needs.

A bank is a set of weights that is loaded, moved and freed as one: ``base`` (the frozen Llama's blocks), ``text``,
``mm``, ``g`` (a task's embedding, norm and head, for MM and G its adaptor blocks and projector too), ``vision`` (CLIP).
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from ..errors import ConfigError

BankName = Literal["base", "text", "mm", "g", "vision"]
BANK_NAMES: tuple[BankName, ...] = ("base", "text", "mm", "g", "vision")

IMAGE_TOKEN_INDEX = -200
"""The id in a prompt that stands for the image's patch features."""


class Task(str, Enum):
    """The three workflows: multimodal chat, grounding, and the frozen language model alone.

    Example:
        >>> Task.parse("text"), Task.G.sees, Task.MM.banks
        (<Task.TEXT: 'Text'>, True, ('base', 'mm', 'vision'))
    """

    MM = "MM"
    G = "G"
    TEXT = "Text"

    @property
    def banks(self) -> tuple[BankName, ...]:
        """The banks of weights that this task needs, the image's included."""
        return ("base", self.stack_bank, "vision") if self.sees else ("base", self.stack_bank)

    @property
    def stack_bank(self) -> Literal["text", "mm", "g"]:
        """The bank that holds this task's embedding, norm and head."""
        if self is Task.TEXT:
            return "text"
        return "mm" if self is Task.MM else "g"

    @property
    def sees(self) -> bool:
        """Whether the task can be given an image."""
        return self is not Task.TEXT

    @classmethod
    def parse(cls, value: str | Task) -> Task:
        """Returns the task of that name, whatever its case; raises :class:`ConfigError` for any other."""
        for task in cls:
            if isinstance(value, str) and value.lower() == task.value.lower():
                return task
        raise ConfigError(f"There is no task {value!r}. Choose one of {', '.join(t.value for t in cls)}.")
