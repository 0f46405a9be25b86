"""Tasks by name, and the banks that they need."""

from __future__ import annotations

import pytest

from iaa_runtime.config import Task
from iaa_runtime.errors import ConfigError


@pytest.mark.parametrize("name", ["MM", "mm", Task.MM])
def test_tasks_are_named_in_any_case(name: str) -> None:
    assert Task.parse(name) is Task.MM


def test_an_unknown_task_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'VQA'.*MM, G, Text"):
        Task.parse("VQA")


def test_tasks_know_their_banks() -> None:
    assert Task.TEXT.banks == ("base", "text")
    assert Task.MM.banks == ("base", "mm", "vision")
    assert Task.G.banks == ("base", "g", "vision")
