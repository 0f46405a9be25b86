"""Whatever comes in: every parser reads it or says why not, within a second, and no box leaves its picture.

A hundred inputs each here; ``FUZZ_EXAMPLES=20000 pytest tests/unit -k fuzz`` tries more, others each time.
What was found so stands as an example of its own where the parser is tested.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import answers, as_json, fuzzed, json_lines, numbers, read, sizes, texts, values, written
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.annotate.sources import list_images
from iaa_runtime.boxes.answers import parse_boxes, to_detection
from iaa_runtime.boxes.bounding_box import as_boxes
from iaa_runtime.boxes.convert import CONVENTIONS, boxes_from, to_json, to_kjnodes, to_layerstyle, to_nested
from iaa_runtime.boxes.crops import CropOptions, crop_rectangle
from iaa_runtime.boxes.select import matches, pick
from iaa_runtime.checkpoint.files import WeightFiles
from iaa_runtime.checkpoint.formats import open_weights
from iaa_runtime.cli.chat.script import read_script
from iaa_runtime.config import GenerationConfig, IAAConfig, Task
from iaa_runtime.config.small_files import load_json
from iaa_runtime.evaluation.mme import read_results
from iaa_runtime.evaluation.refcoco import read_annotations, read_predictions
from iaa_runtime.pipeline.remote.messages import parse_stream
from iaa_runtime.pipeline.remote.transport import Dropped
from iaa_runtime.text.conversation import Conversation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(answers, sizes)
def test_answers(text: str, size: tuple[int, int]) -> None:
    for box in read(lambda: parse_boxes(text)) or ():
        found = read(lambda box=box: to_detection(box, size, "", 1.0))
        x1, y1, x2, y2 = found.xyxy
        assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]


@fuzzed
@given(values | texts.map(lambda text: text + "]}"), st.sampled_from(CONVENTIONS), sizes | st.none(), st.booleans())
def test_boxes_of_others(value: Any, convention: str, size: tuple[int, int] | None, one_each: bool) -> None:
    for given_ in (value, as_json(value).decode()):
        boxes = read(lambda given_=given_: boxes_from(given_, convention, size, one_each))
        if boxes is None:
            continue
        for to in (to_kjnodes, to_nested, to_layerstyle, to_json):
            read(lambda to=to, boxes=boxes: to(boxes))
        for box in (box for found in boxes for box in found):
            region = read(lambda box=box: crop_rectangle(box, size or (640, 480), CropOptions()))
            assert region is None or all(edge == int(edge) for edge in region)


@fuzzed
@given(values)
def test_our_own_boxes(value: Any) -> None:
    read(lambda: as_boxes(value))


@fuzzed
@given(st.integers(0, 30), texts | st.text("0123456789-,; ", max_size=30), texts | st.text("*ab", max_size=60))
def test_selections(count: int, indices: str, pattern: str) -> None:
    for position in read(lambda: pick(count, indices)) or ():
        assert 0 <= position < count
    read(lambda: matches("ab" * 2000, pattern))


@fuzzed
@given(st.binary(max_size=60) | values.map(as_json) | st.integers(1, 20000).map(lambda depth: b"[" * depth))
def test_small_files(folder: Path, content: bytes) -> None:
    read(lambda: load_json(written(folder, "small.json", content)))


@fuzzed
@given(st.data())
def test_configs(reference: Path, data: st.DataObject) -> None:
    config = json.loads((reference / "checkpoint" / "config.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        config[data.draw(st.sampled_from(sorted(config)))] = data.draw(values)
    read(lambda: IAAConfig.from_dict(config))


@fuzzed
@given(values, values)
def test_indexes(folder: Path, index: Any, weight_map: Any) -> None:
    for content in (index, {"weight_map": weight_map}, {"weight_map": {"a": index}}):
        written(folder / "indexed", "model.safetensors.index.json", as_json(content))
        read(lambda: WeightFiles.find(folder / "indexed"))


def headers() -> st.SearchStrategy[bytes]:
    """Files of safetensors whose headers lie about what follows."""
    entry = st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "BF16", "I64", "BOOL", "F8_E4M3", "X"]) | values,
            "shape": st.lists(st.integers(-1, 1 << 40), max_size=4) | values,
            "data_offsets": st.lists(st.integers(-4, 1 << 40), min_size=2, max_size=2) | values,
        },
    )
    header = st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), entry | values, max_size=3).map(as_json)
    lengths = st.none() | st.integers(0, (1 << 64) - 1)
    return st.builds(
        lambda text, length, data: struct.pack("<Q", len(text) if length is None else length) + text + data,
        header,
        lengths,
        st.binary(max_size=64),
    )


@fuzzed
@given(headers() | st.binary(max_size=40))
def test_safetensors(folder: Path, content: bytes) -> None:
    file = written(folder, "model.safetensors", content)
    read(lambda: list(open_weights(file).entries()))


@fuzzed
@given(json_lines())
def test_lists_and_scripts(folder: Path, content: bytes) -> None:
    file = written(folder, "list.jsonl", content)
    read(lambda: list(list_images([str(file)])))
    read(lambda: list(read_script(str(file))))
    targets = read(lambda: read_annotations(file))
    read(lambda: read_predictions(file, targets or {}))


@fuzzed
@given(
    st.binary(max_size=60) | st.lists(texts, max_size=5).map(lambda parts: "\t".join(parts).encode(errors="replace"))
)
def test_mme(folder: Path, content: bytes) -> None:
    written(folder / "mme", "existence.txt", content)
    read(lambda: read_results(folder / "mme", partial=True))


def events() -> Iterator[st.SearchStrategy[Any]]:
    """Pieces of an answer, some as a server sends them."""
    token = st.fixed_dictionaries({"token": texts | values, "logprob": numbers | values})
    choice = st.fixed_dictionaries(
        {"delta": st.fixed_dictionaries({"content": texts | values})},
        optional={
            "logprobs": st.fixed_dictionaries({"content": st.lists(token, max_size=3) | values}) | values,
            "finish_reason": st.sampled_from(["stop", "length", "error", None]) | values,
        },
    )
    yield st.fixed_dictionaries({"choices": st.lists(choice | values, max_size=2)})
    yield values


@fuzzed
@given(
    st.lists(st.one_of(*events()).map(lambda event: b"data: " + as_json(event)) | st.binary(max_size=20), max_size=6)
)
def test_servers(lines: list[bytes]) -> None:
    completions = read(lambda: [copy.copy(each) for each in parse_stream([*lines, b"data: [DONE]"], 16)], Dropped)
    for completion in completions or ():
        assert all(logprob <= 0 for logprob in completion.logprobs)  # and so none is NaN


@fuzzed
@given(
    values, st.lists(st.fixed_dictionaries({"role": texts | st.just("user"), "content": texts | values}), max_size=4)
)
def test_conversations(value: Any, messages: list[Any]) -> None:
    read(lambda: Conversation.from_list(messages))
    read(lambda: Conversation.from_list(value if isinstance(value, list) else [value]))


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(sorted(GenerationConfig.__dataclass_fields__)), values | numbers, min_size=1, max_size=3
    )
)
def test_options_of_generation(options: dict[str, Any]) -> None:
    read(lambda: GenerationConfig.for_task(Task.MM, **options))
