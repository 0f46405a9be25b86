"""Objects out of what models say when they are asked for a list."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.text.listing import LONGEST, MOST_OBJECTS, listed_objects


@pytest.mark.parametrize(
    ("said", "objects"),
    [
        ("small red circle, large blue star", ["small red circle", "large blue star"]),
        ("Three shapes, from left to right: a red ring, a blue star and a red ring.", ["red ring", "blue star"]),
        ("1. A dog\n2) the cat\n3. Two birds", ["dog", "cat", "Two birds"]),
        ("- **Car**\n- person\n* tree.\n• bench", ["Car", "person", "tree", "bench"]),
        ("There is a man, a dog, and an umbrella.", ["man", "dog", "umbrella"]),
        ("In the image, there are trees and a river.", ["trees", "river"]),
        ("The image shows: a black and white cat; tables and chairs", ["black and white cat", "tables", "chairs"]),
        ("Objects: laptop, Laptop, coffee mug & a pen", ["laptop", "coffee mug", "pen"]),
        ("a salt and pepper shaker", ["salt and pepper shaker"]),
        ("狗、猫，树。", ["狗", "猫", "树"]),
        ("'sign', \"lamp\", etc.", ["sign", "lamp"]),
        ("2 dogs. A cat.", ["2 dogs", "cat"]),
        ("1. A **red car**\n2. **A blue** car\n3. the _old_ tree", ["red car", "blue car", "old tree"]),
        ("a \"stop sign\", the 'lamp', a “red” car, the *dog", ["stop sign", "lamp", "red car", "dog"]),
        ("the dog's tail, the dogs' bowl, a 17\" monitor", ["dog's tail", "dogs' bowl", '17" monitor']),
        ("一只“红色”的车", ["一只红色的车"]),
        ("There are 1,500 birds and a boat.", ["1,500 birds", "boat"]),
        ("1. 1,500,000 birds\n2.5 apples\n- ３，５００只鸟", ["1,500,000 birds", "2.5 apples", "３，５００只鸟"]),
        ("2 dogs,3 cats, 7, 1,500, 4. 5. a 3.5 inch disk", ["2 dogs", "3 cats", "3.5 inch disk"]),
        ("桌子1，2把椅子，编号7，8只鸟", ["桌子1", "2把椅子", "编号7", "8只鸟"]),
        ('"停"标志, 一只猫', ["停标志", "一只猫"]),
        ('红色的车、"出口"标志、‘停’字牌', ["红色的车", "出口标志", "停字牌"]),
        ('a sign reading "stop, look", a dog', ["sign reading stop", "look", "dog"]),
        ('["dog", "a cat, asleep"]', ["dog", "cat, asleep"]),
        ('{"objects": ["dog", "cat", "dog"]}', ["dog", "cat"]),
        ('```json\n["dog", "cat"]\n```', ["dog", "cat"]),
        ('Here is the list: ["dog", "cat, asleep"]', ["dog", "cat, asleep"]),
        ('Sure!\n```json\n{"objects": ["dog", "cat"]}\n```\nHope it helps.', ["dog", "cat"]),
        ('["dog", "cat", "do', ["dog", "cat", "do"]),
        ("['dog', 'cat']", ["dog", "cat"]),
        ("1. **Red car**: parked by the tree\n2. **A tree**: tall, green", ["Red car", "tree"]),
        ("- **Red car** – parked\n- **Tree** - tall, green\n- bench — empty", ["Red car", "Tree", "bench"]),
        ("* Red car: parked, empty\n* **Tree:** tall\n* *Bench*: old", ["Red car", "Tree", "Bench"]),
        ("1) Red car (parked, empty)\n2) **Tree** (tall)\n(3) a bench (old): empty", ["Red car", "Tree", "bench"]),
        ("**Red car**: parked\n**Tree** - tall\n__Bench:__ old", ["Red car", "Tree", "Bench"]),
        ("a dog (left), a cat（右） and a red-white T-shirt", ["dog", "cat", "red-white T-shirt"]),
        ("- **红色的车**：停在树旁\n2. 狗（黑色）：睡着", ["红色的车", "狗"]),
        ("**Tables and chairs**: wooden\n1. Salt & a shaker: old", ["Tables", "chairs", "Salt", "shaker"]),
        (
            "**Objects:** laptop, mouse\n- Foreground: a dog\n- **Other animals**: cat",
            ["laptop", "mouse", "dog", "cat"],
        ),
        ("1. In the image: a dog, a cat\n- clock at 10:30", ["dog", "cat", "clock at 10:30"]),
        ("Here are the objects:\n1. **Car**: red\nRed bench:\n- old", ["Car", "Red bench", "old"]),
        ("None.", []),
        ("", []),
        (" , ,\n-\n1.", []),
        ("x" * (LONGEST + 1) + ", dog", ["dog"]),
    ],
)
def test_lists_of_all_forms(said: str, objects: list[str]) -> None:
    assert listed_objects(said) == objects


def test_a_model_that_repeats_itself_ends() -> None:
    assert len(listed_objects(", ".join(f"thing {n}" for n in range(1000)))) == MOST_OBJECTS


@given(st.text(alphabet=st.sampled_from("a and, :.;\n-*1)(的、the"), max_size=200))
def test_any_text_gives_names_or_none(text: str) -> None:
    for name in listed_objects(text):
        assert name == name.strip() and any(map(str.isalpha, name))


def test_long_texts_take_no_time() -> None:
    begin = time.process_time()
    for text in (
        "a and " * 20_000,
        ": " * 50_000,
        "there is " * 20_000,
        "the image shows " * 20_000,
        "- " * 50_000,
        "'a " * 50_000,
        "'" * 100_000,
        "1. " + "(" * 100_000,
        "- **" * 30_000,
        "**a" * 30_000,
        "- a" + " " * 100_000 + "b",
    ):
        listed_objects(text)
    assert time.process_time() - begin < 1
