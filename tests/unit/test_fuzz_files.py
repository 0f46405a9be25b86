"""Files that came after the first fuzz tests: what is taught, scored, packed, merged, and what a format may be.

As in ``test_fuzz.py``: each is read, or it is said why not, within a second.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import tarfile
import warnings
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import KEYS, answers, as_json, fuzzed, json_lines, numbers, read, sizes, texts, values, written
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.annotate.listed import Listed
from iaa_runtime.annotate.sources import list_images
from iaa_runtime.boxes.convert import CONVENTIONS, boxes_from
from iaa_runtime.checkpoint.files import WeightFiles
from iaa_runtime.cli.arguments.shared import parse_adaptor
from iaa_runtime.cli.caption import read_boxes
from iaa_runtime.cli.keyboard.history import History
from iaa_runtime.config import Task
from iaa_runtime.config.formats import checked_format
from iaa_runtime.config.settings import SETTINGS, load_settings
from iaa_runtime.evaluation.mme_questions import read_question_file, read_release
from iaa_runtime.evaluation.shapes import read_scenes
from iaa_runtime.images.load import load_image
from iaa_runtime.jobs.files import read_torn_jsonl
from iaa_runtime.jobs.origin import origin_file, read_origin
from iaa_runtime.jobs.start import open_job
from iaa_runtime.pipeline.remote import Retries, servers
from iaa_runtime.pipeline.remote.messages import parse_prompt
from iaa_runtime.pipeline.remote.said import refusal_message
from iaa_runtime.pipeline.remote.transport import CancelToken
from iaa_runtime.teaching.formats import read_examples
from iaa_runtime.text.formats import format_check
from iaa_runtime.text.listing import LONGEST, MOST_OBJECTS, listed_objects
from iaa_runtime.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file with some bytes changed, and perhaps cut."""

    def change(hits: list[tuple[int, int]], end: int) -> bytes:
        content = bytearray(whole)
        for place, byte in hits:
            content[place] = byte
        return bytes(content[: len(content) - end])

    hit = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    return st.builds(change, st.lists(hit, max_size=8), st.just(0) | st.integers(0, len(whole)))


# Teaching and scoring ------------------------------------------------------------------------------------------------


def data_sets() -> st.SearchStrategy[bytes]:
    """JSON nearly as COCO and LLaVA have it."""
    names = st.sampled_from(["a.png", "../a.png", "a"]) | texts | values
    keys = st.sampled_from([1, 2, "a"]) | values
    box = st.lists(numbers, min_size=4, max_size=4) | values
    sides = {"width": numbers | values, "height": numbers | values}
    image = st.fixed_dictionaries({"id": keys, "file_name": names}, optional=sides) | values
    category = st.fixed_dictionaries({"id": keys, "name": names}) | values
    notes = {"category_id": keys, "bbox": box, "caption": names, "iscrowd": values}
    note = st.fixed_dictionaries({"image_id": keys}, optional=notes) | values
    lists = {"images": st.lists(image, max_size=3), "annotations": st.lists(note, max_size=3)}
    coco = st.fixed_dictionaries(lists, optional={"categories": st.lists(category, max_size=3) | values})
    turn = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]) | values, "value": texts | values}) | values
    entry = st.fixed_dictionaries({"image": names, "conversations": st.lists(turn, max_size=4) | values}) | values
    return (coco | st.lists(entry, max_size=3) | values).map(as_json) | st.binary(max_size=40)


def records() -> st.SearchStrategy[bytes]:
    """Lines nearly as ``iaa ground`` prints them."""
    sides = dict.fromkeys(("x", "y", "width", "height"), numbers | values)
    box = st.fixed_dictionaries(sides, optional={"label": texts | values, "score": numbers}) | values
    about = {"image": texts | st.just("a.png") | values, "detections": st.lists(box, max_size=3) | values}
    more = {"phrases": st.lists(texts | values, max_size=3) | values, "caption": texts | values}
    rows = st.fixed_dictionaries(about, optional=more | {"prompt": texts | values, "width": numbers, "height": numbers})
    return st.lists(rows.map(as_json), max_size=4).map(b"\n".join) | json_lines()


@fuzzed
@given(data_sets(), records(), st.sampled_from([Task.G, Task.MM]))
def test_what_is_taught(folder: Path, data: bytes, lines: bytes, task: Task) -> None:
    for file in (written(folder, "data.json", data), written(folder, "lines.jsonl", lines)):
        for example in read(lambda file=file: read_examples(file, task)) or ():
            assert example.asked and all(len(box) == 4 for box in example.boxes)
    read(lambda: read_boxes(str(folder / "lines.jsonl"), ["a.png"]))


@fuzzed
@given(json_lines(), texts | st.sampled_from(["Is it?\tYes\nIs it?\tNo", "Is it? Please answer yes or no.\tmaybe"]))
def test_questions_of_mme(folder: Path, lines: bytes, answers_given: str) -> None:
    picture = folder / "OCR" / "a.png"
    if not picture.exists():
        picture.parent.mkdir()
        picture.touch()
    written(folder / "OCR", "a.txt", answers_given.encode(errors="surrogatepass"))
    read(lambda: read_release(folder))
    row = {"image": "a.png", "text": "Is it?", "category": "OCR"}
    for more in lines.split(b"\n"):
        written(folder, "questions.jsonl", more + b"\n" + as_json(row))
        read(lambda: read_question_file(folder / "questions.jsonl", folder / "OCR"))


@fuzzed
@given(values, st.dictionaries(KEYS, values, max_size=5))
def test_results_of_shapes(folder: Path, scene: Any, more: dict[str, Any]) -> None:
    whole = {"seed": 1, "ious": [0.5], "questions": [True], "text": True, "caption": False}
    for scenes in (scene, [scene], [whole | more]):
        written(folder, "scenes.json", as_json({"scenes": scenes}))
        read(lambda: read_scenes(folder / "scenes.json"))


# Adaptors and weights ------------------------------------------------------------------------------------------------


@cache
def adaptor() -> bytes:
    """A small file that is nearly one."""
    name = "base_model.model.model.condition_layers_grounding.0.mlp.up_proj.lora_"
    about = {"iaa_adaptor": "1", "task": "G", "rank": "2", "alpha": "4.0", "base": "x", "phrases": "[]"}
    return save({f"{name}A.weight": torch.ones(2, 3), f"{name}B.weight": torch.ones(4, 2)}, about)


def adaptors() -> st.SearchStrategy[bytes]:
    """That file with other metadata, names, shapes and dtypes, and damaged."""
    size = struct.unpack("<Q", adaptor()[:8])[0]
    header = json.loads(adaptor()[8 : 8 + size])
    tensors = [name for name in header if name != "__metadata__"]
    about = st.dictionaries(st.sampled_from(sorted(header["__metadata__"])), texts | values.map(json.dumps), max_size=2)
    names = st.sampled_from([*tensors, "a.lora_A.weight", "../x.lora_B.weight"]) | texts
    shapes = st.lists(st.integers(-1, 6), max_size=3) | values
    entry = st.fixed_dictionaries(
        {}, optional={"shape": shapes, "dtype": st.sampled_from(["F32", "BF16", "I8", "F64"]), "data_offsets": values}
    )

    def change(said: dict[str, str], changed: dict[str, dict[str, Any]], data: bytes) -> bytes:
        made = dict(header) | {"__metadata__": header["__metadata__"] | said}
        for name, parts in changed.items():
            made[name] = made.get(name, header[tensors[0]]) | parts
        text = as_json(made)
        return struct.pack("<Q", len(text)) + text + (data or adaptor()[8 + size :])

    made = st.builds(change, about, st.dictionaries(names, entry, max_size=2), st.binary(max_size=56))
    return made | damaged(adaptor()) | st.binary(max_size=40)


@fuzzed
@given(adaptors(), texts | st.sampled_from(["a.safetensors:", "C:\\a.safetensors", "a:nan", "a:1e999", ":2", "a:-0x1"]))
def test_adaptors(folder: Path, content: bytes, name: str) -> None:
    file = written(folder, "adaptor.safetensors", content)
    found = read(lambda: read_adaptor(file))
    assert found is None or all(tensor.isfinite().all() for pair in found.pairs.values() for tensor in pair)
    read(lambda: parse_adaptor(name))


@cache
def table() -> tuple[bytes, list[tuple[str, bytes]]]:
    """The pickle of a ``.bin`` file, and its other parts."""
    packed = io.BytesIO()
    torch.save({"a": torch.ones(2, 3), "b": torch.ones(1).bfloat16()}, packed)
    with zipfile.ZipFile(packed) as parts:
        every = [(name, parts.read(name)) for name in parts.namelist()]
    return next(data for name, data in every if name.endswith("data.pkl")), every


OPERATIONS = st.sampled_from([code.code.encode("latin1") for code in pickletools.opcodes])


@fuzzed
@given(damaged(table()[0]) | st.lists(OPERATIONS | st.binary(max_size=3), max_size=20).map(b"".join))
def test_pickles(folder: Path, pickled: bytes) -> None:
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as file:
        for name, data in table()[1]:
            file.writestr(name, pickled if name.endswith("data.pkl") else data)
    for content in (changed.getvalue(), b"\x80\x02" + pickled):
        written(folder / "pickled", "pytorch_model.bin", content)
        read(lambda: WeightFiles.find(folder / "pickled").names)


@fuzzed
@given(st.sampled_from(sorted(SETTINGS)), st.data())
def test_settings(folder: Path, name: str, data: st.DataObject) -> None:
    keys = st.sampled_from(sorted(SETTINGS[name])) | KEYS
    content = data.draw(st.dictionaries(keys, values, max_size=4).map(as_json) | values.map(as_json))
    file = written(folder, name, content)
    read(lambda: load_settings(file))


@fuzzed
@given(st.data())
def test_tokenizers(reference: Path, folder: Path, data: st.DataObject) -> None:
    whole = json.loads((reference / "checkpoint" / "tokenizer.json").read_text(encoding="utf-8"))
    part = data.draw(st.sampled_from(["model", "normalizer", "pre_tokenizer", "decoder", "added_tokens"]))
    kinds = st.sampled_from(["Sequence", "Replace", "Prepend", "Split", "ByteLevel", "BPE", "Strip", "Lowercase"])
    piece = st.fixed_dictionaries({"type": kinds}, optional={"pattern": values, "content": texts, "prepend": texts})
    whole[part] = data.draw(piece | values | st.lists(piece, max_size=3))
    written(folder / "tokenizer", "tokenizer.json", as_json(whole))
    read(lambda: load_tokenizer(folder / "tokenizer"))


# Pictures and packs of them ------------------------------------------------------------------------------------------


@cache
def pictures() -> list[bytes]:
    """A small picture in every container that is looked through before it is decoded."""
    made = []
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "ICO", "ICNS", "JPEG2000", "BMP", "PPM", "TGA", "PCX"):
        file = io.BytesIO()
        Image.new("RGB", (16, 16), "red").save(file, kind)
        made.append(file.getvalue())
    return made


@fuzzed
@given(st.sampled_from(pictures()).flatmap(damaged))
def test_pictures(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's own, of broken notes in a picture
        found = read(lambda: load_image(io.BytesIO(content)))
    assert found is None or found.mode == "RGB"


@cache
def tar() -> bytes:
    """Two pictures with a text."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for name, data in (("a.png", pictures()[0]), ("a.txt", b"a"), ("b.jpg", pictures()[1])):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return packed.getvalue()[:4096]


@fuzzed
@given(damaged(tar()))
def test_tars(folder: Path, content: bytes) -> None:
    file = written(folder, "packed.tar", content)
    for row in read(lambda: list(list_images([str(file)]))) or ():
        read(lambda row=row: Listed.from_row(row).load())


@fuzzed
@given(st.lists(st.dictionaries(KEYS, values, max_size=4), max_size=4), texts)
def test_lists_of_pictures_with_metadata(folder: Path, rows: list[dict[str, Any]], name: str) -> None:
    lines = b"\n".join(as_json({"file_name": name} | row) for row in rows)
    file = written(folder / "listed", "metadata.jsonl", lines)
    read(lambda: list(list_images([str(file)], column="file_name")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(file.parent)  # a pattern may go through all that is below
        if name != "-":  # which is standard input, and a test has none
            read(lambda: list(list_images([name])))


# Formats, boxes and lists that models write --------------------------------------------------------------------------


def schemas() -> st.SearchStrategy[Any]:
    """JSON schemas, most of which mean something."""
    kinds = st.sampled_from(["string", "integer", "number", "boolean", "object", "array", "null", "x"]) | values
    keywords = {"minimum": numbers, "maxLength": numbers, "pattern": texts, "enum": values, "$ref": texts}
    plain = st.fixed_dictionaries({"type": kinds}, optional=keywords)

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        properties = st.dictionaries(KEYS | texts, inner, max_size=3)
        whole = {"properties": properties, "items": inner, "anyOf": st.lists(inner, max_size=3), "$defs": properties}
        return st.fixed_dictionaries({"type": kinds}, optional=whole | {"required": values})

    return st.recursive(plain, around, max_leaves=6)


EXPRESSIONS = st.lists(
    st.sampled_from(["[", "]", "(", ")", "a", "b", "*", "+", "?", "|", "{2}", "{1,9}", ".", "\\d", "^", "$", "\\", "&"])
    | st.text(max_size=2),
    max_size=12,
).map("".join)


@fuzzed
@given(schemas() | values | EXPRESSIONS | texts)
def test_formats(given_: Any) -> None:
    for format in (given_, as_json(given_).decode()):
        text = read(lambda format=format: checked_format(format))
        if text is not None:
            read(lambda text=text: format_check(text))


@fuzzed
@given(answers | texts | st.lists(st.sampled_from(["a ", "the ", "and ", "1. ", "- ", ": ", ", ", ". "]), max_size=40))
def test_listed_objects(text: str | list[str]) -> None:
    for many in (1, 3000):
        found = read(lambda many=many: listed_objects("".join(text) * many))
        assert len(found) <= MOST_OBJECTS and all(0 < len(name) <= LONGEST for name in found)


@fuzzed
@given(sizes, st.lists(values, max_size=3), st.sampled_from(CONVENTIONS))
def test_segs(size: tuple[int, int], segs: list[Any], convention: str) -> None:
    read(lambda: boxes_from((size, segs), convention, size))


# Servers and jobs ----------------------------------------------------------------------------------------------------


@fuzzed
@given(values, texts)
def test_what_servers_tell_of_themselves(value: Any, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for told in (value, {"data": value}, {"data": [{"id": text, "max_model_len": value}, {"id": "iaa-g"}]}):
            patch.setattr(servers, "get_json", lambda *_, told=told: told)
            read(lambda: servers.find_tasks(["http://127.0.0.1:1"], CancelToken()))
    for told in (value, {"prompt_logprobs": value}, {"prompt_logprobs": [None, {"1": value}]}):
        completion = read(lambda told=told: parse_prompt(as_json(told)))
        assert completion is None or all(logprob <= 0 for logprob in completion.logprobs)
        read(lambda told=told: refusal_message(as_json({"error": told})))
    read(lambda: servers.parse_server(text))
    pause = read(lambda: Retries().pause(1, text))
    assert pause is None or 0 <= pause <= 300


@fuzzed
@given(values.map(as_json) | st.binary(max_size=40), st.dictionaries(KEYS, values, max_size=4), json_lines())
def test_what_lies_in_the_folder_of_a_job(folder: Path, manifest: bytes, more: dict[str, Any], lines: bytes) -> None:
    for content in (manifest, as_json({"version": 1, "count": 1, "settings": {}} | more)):
        written(folder / "job", "items.jsonl", lines)
        written(folder / "job", "manifest.json", content)
        read(lambda: open_job(folder / "job", {"model": "m"}, lambda: [{}], 2, 2))
        written(folder, origin_file(Path("a.json")).name, content)
        read(lambda: read_origin(folder / "a.json"))
    file = written(folder, "begun.jsonl", lines)
    read(lambda: list(read_torn_jsonl(file)))


@fuzzed
@given(json_lines() | st.integers(1, 20000).map(lambda depth: b"[" * depth))
def test_remembered_lines(folder: Path, lines: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("iaa_runtime.cli.keyboard.history.state_folder", lambda: folder)
        written(folder, "chat-history.jsonl", lines)
        assert all(isinstance(line, str) for line in read(lambda: History().lines()))
