"""Defaults of generation, and options that are refused."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from iaa_runtime.config import GenerationConfig, Task
from iaa_runtime.errors import InputError


def test_generation_defaults_by_task() -> None:
    assert [GenerationConfig.for_task(task).max_new_tokens for task in Task] == [512, 128, 512]
    assert GenerationConfig.for_task(Task.G, max_new_tokens=None, seed=3) == GenerationConfig(
        max_new_tokens=128, seed=3
    )


def test_one_stop_string_may_stand_alone() -> None:
    assert GenerationConfig.for_task(Task.MM, stop="END").stop == ("END",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
        ({"temperature": 0.0}, "leave do_sample off"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"temperature": 1e-46}, "it must be at least 0.000001"),
        ({"top_p": 0.0}, "in [0.000001, 1]"),
        ({"top_p": 1e-46}, "in [0.000001, 1]"),
        ({"top_p": 1.5}, "in [0.000001, 1]"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0.0}, "at least 0.000001"),
        ({"repetition_penalty": 1e-46}, "at least 0.000001"),
        ({"length_penalty": 400.0}, "length_penalty is 400.0; it must be in [-10, 10]"),
        ({"length_penalty": -400.0}, "in [-10, 10]"),
        ({"num_beams": 0}, "num_beams"),
        ({"seed": 1 << 64}, "seed"),
        ({"num_beams": 2, "do_sample": True}, "Beam search and sampling"),
        ({"max_length": 5}, "no generation option max_length. Known: do_sample"),
    ],
    ids=str,
)
def test_generation_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        GenerationConfig.for_task(Task.MM, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"max_new_tokens": []}, "a whole number"),
        ({"max_new_tokens": True}, "a whole number"),
        ({"max_new_tokens": 12.5}, "a whole number"),
        ({"temperature": float("nan")}, "a finite number"),
        ({"length_penalty": float("inf")}, "a finite number"),
        ({"top_k": 10**400}, "a whole number"),
        ({"seed": "0"}, "a whole number"),
        ({"do_sample": "yes"}, "True or False"),
        ({"stop": ["a", 5]}, "texts"),
        ({"num_beams": 100000}, "from 1 to 256"),
    ],
    ids=str,
)
def test_values_of_another_kind_are_named(options: dict[str, object], wanted: str) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"^{name} is .*; it must be {wanted}"):
        GenerationConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.float32, np.float64, Fraction])
def test_numbers_are_pythons_own(number: Any) -> None:
    options = {"temperature": number(2), "top_p": number(1), "length_penalty": number(3), "stop": ["END"]}
    if issubclass(number, np.integer):
        options |= {"seed": number(3), "top_k": number(5)}
    config = asdict(GenerationConfig(**options))
    assert {name: value for name, value in config.items() if name in options} == {**options, "stop": ("END",)}
    assert [type(value) for value in config.values()] == [type(value) for value in asdict(GenerationConfig()).values()]
