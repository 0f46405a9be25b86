"""What Python's users meet first: help with examples that run, types that find slips, results that show themselves."""

from __future__ import annotations

import base64
import doctest
import inspect
import io
import json
import logging
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from model_server import says, serving
from PIL import Image

import iaa_runtime
from iaa_runtime import GenerationConfig, IAAPipeline
from iaa_runtime.config import GenerationOptions
from iaa_runtime.errors import CheckpointError, ConfigError, InputError
from iaa_runtime.pipeline.chat import Chat
from iaa_runtime.shapes.scenes import draw_scene, make_scene

PUBLIC = [name for name in iaa_runtime.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def pipeline() -> IAAPipeline:
    return IAAPipeline.from_pretrained(dtype="fp32")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw_scene(make_scene(7))


@pytest.mark.parametrize("name", [*PUBLIC, "Chat"])
def test_help_has_an_example_that_runs(name: str) -> None:
    public = Chat if name == "Chat" else getattr(iaa_runtime, name)
    module = inspect.getmodule(public)
    assert module is not None
    told = io.StringIO()
    with serving("iaa-mm", "iaa-g", "iaa-text") as server:
        server.behaves(says("right"))
        names = vars(module) | {"url": server.url}
        (test,) = doctest.DocTestFinder(recurse=False).find(public, name, globs=names)
        assert test.examples, f"help({name}) shows no example"
        doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test, out=told.write)
    assert told.getvalue() == ""


def test_the_page_for_python_runs(project: Path) -> None:
    page = (project / "docs" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "['3', '3']" in done.stdout and "loaded bank base" in done.stderr


TENSORS = """
import torch
from iaa_runtime import Conversation, IAAPipeline, preprocess
from iaa_runtime.shapes.scenes import draw_scene, make_scene
iaa = IAAPipeline.from_pretrained(dtype="fp32")
model, pictures = iaa.model, [draw_scene(make_scene(7))]
pixel_values = PREPROCESS
input_ids = torch.tensor([Conversation().user("How many shapes are there?").encode(iaa.tokenizer, "MM")])
print(iaa.tokenizer.decode(GENERATE[0]), MODEL.shape[-1] == model.config.vocab_size)
"""


def test_the_rows_about_tensors_run(project: Path) -> None:
    page, program = (project / "docs" / "python.md").read_text(encoding="utf-8"), TENSORS
    for name, call in (("PREPROCESS", "preprocess("), ("GENERATE", "model.generate("), ("MODEL", "model(")):
        (shown,) = re.findall(rf"\| `({re.escape(call)}[^*`]*)`", page)
        program = program.replace(name, shown.replace(", …", ""))
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True)
    assert done.stdout.strip() == "3<|eot_id|> True", done.stderr


def test_pixels_of_another_size_are_refused_with_the_size_that_it_takes(
    pipeline: IAAPipeline, picture: Image.Image
) -> None:
    size = pipeline.model.vision.image_size
    with pytest.raises(InputError, match=rf"preprocess\(pictures, size={size}\)"):
        pipeline.model.vision_features(iaa_runtime.preprocess([picture]))


def test_formats_of_the_pages_can_be_met(project: Path, pipeline: IAAPipeline, picture: Image.Image) -> None:
    pytest.importorskip("llguidance", reason="NO LLGUIDANCE: formats go untested. It comes with the extra 'test'.")
    pages = [project / "docs" / "python.md", *sorted((project / "web" / "docs").glob("*/*.md"))]
    text = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in pages)
    begins = [found.start() for found in re.finditer(r'\{"type": "object"', text)]
    shown = {json.dumps(json.JSONDecoder().raw_decode(text, begin)[0]) for begin in begins}
    assert len(begins) == 7
    for schema in shown:
        answer = json.loads(pipeline.caption(picture, "How many shapes are there?", format=json.loads(schema))[0])
        assert list(answer) == json.loads(schema)["required"]


WRONG = """
from iaa_runtime import IAAModel, IAAPipeline
iaa = IAAPipeline.from_pretrained()
iaa.caption("a.png", max_new_tokens=5)
iaa.caption("a.png", max_new_token=5)
iaa.ground("a.png", "a", gramar=True)
iaa.ground("a.png", "a", top_k="many")
iaa.text("a", do_sampel=True)
iaa.chat().say("a", task="MM", on_txt=None)
iaa.reply(iaa.chat().conversation, "MM", temprature=1.0)
IAAPipeline.from_pretrained("x", precison="int4")
IAAPipeline.from_pretrained("x", precision="int5")
IAAPipeline.from_pretrained("x", dtype="fp17")
"""


@pytest.mark.slow
def test_a_type_checker_finds_slips(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "wrong.py")]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True).stdout
    assert {int(line.split(":")[1]) for line in told.splitlines() if ": error:" in line} == set(range(5, 14)), told


def test_typed_options_are_those_there_are() -> None:
    assert list(get_type_hints(GenerationOptions)) == [field.name for field in fields(GenerationConfig)]


def test_a_pipeline_says_what_it_is(pipeline: IAAPipeline) -> None:
    pipeline.model.unload()
    folder = str(pipeline.model.checkpoint.folder)
    assert repr(pipeline) == f"IAAPipeline({folder!r}, device='cpu', dtype=torch.float32, loaded_banks=())"
    low = IAAPipeline.from_pretrained(precision="int8")
    low.model.load("base", "text")
    assert "precision='int8', loaded_banks=('base', 'text'))" in repr(low)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"device": "abacus"}, InputError, "'abacus' cannot be used"),
        ({"device": "meta"}, InputError, "'meta' cannot be used"),
        ({"device": 3.5}, InputError, "3.5 cannot be used"),
        ({"dtype": "fp9"}, ConfigError, r"'fp9' is not supported\. Choose one of fp32"),
        ({"precision": "int3"}, ConfigError, "no precision 'int3'"),
        ({"folder": "qihoo360/Inner-Adaptor-Architecture"}, CheckpointError, "add download=True"),
    ],
    ids=str,
)
def test_what_cannot_be_opened_says_so_at_once(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        IAAPipeline.from_pretrained(**options)


def test_devices_and_dtypes_have_names() -> None:
    for name in ("bf16", "bfloat16", torch.bfloat16):
        model = IAAPipeline.from_pretrained(dtype=name, device="auto").model  # type: ignore[arg-type, unused-ignore]
        assert model.dtype == torch.bfloat16


def test_several_pictures_of_any_kind(pipeline: IAAPipeline, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    array = np.array(picture)
    tensor, opened = torch.from_numpy(array) / 255, io.BytesIO((tmp_path / "a.png").read_bytes())
    question = "How many shapes are there?"
    for batch in ([tmp_path / "a.png", str(tmp_path / "a.png"), picture, array, tensor, opened], np.stack([array] * 2)):
        assert set(pipeline.caption(batch, question)) == {"3"}
    assert pipeline.caption(torch.stack([tensor] * 2), question) == ["3", "3"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, r"None \(NoneType\) is no picture\. Give a path"),
        (b"\x89PNG", "opened as io.BytesIO"),
        ((each for each in ["a.png"]), "Make a list"),
        ({"a.png"}, "Make a list"),
        ("https://example.org/a.png", "is an address, and nothing is fetched here"),
        ("data:image/png;base64,AAAA", "is an address"),
        (["a.png", ["b.png"]], r"\(list\) is no picture"),
        (7, r"7 \(int\) is no picture"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_picture_ends_in_a_sentence(
    image: Any, said: str, pipeline: IAAPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("a.png")
    for ask in (pipeline.caption, lambda given: pipeline.ground(given, "a"), pipeline.chat):
        if (image, ask) != (None, pipeline.chat):  # which may do without
            with pytest.raises(InputError, match=said):
                ask(image)


def shown(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_results_show_themselves_in_a_notebook(
    pipeline: IAAPipeline, picture: Image.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    picture.save(tmp_path / "a.png")
    found: Any = pipeline.ground([tmp_path / "a.png", picture], "the leftmost shape")
    assert found == [list(found[0]), list(found[1])], "they are lists as before"
    assert found._repr_html_().count("<img") == 2
    drawn = shown(found[0]._repr_html_())
    x, y, *_ = found[0][0].xyxy
    assert drawn.size == picture.size
    assert drawn.convert("RGB").getpixel((x + 20, y)) != picture.getpixel((x + 20, y)), "an edge of the box"
    (tmp_path / "a.png").unlink()
    assert found[0]._repr_html_() is None, "then its text is shown"
    assert "Detection(x=" in found._repr_html_()
    turn: Any = pipeline.chat(picture).say("<b>How many shapes are there?</b>", max_new_tokens=4)
    assert "&lt;b&gt;How many" in turn._repr_html_() and shown(turn._repr_html_()).size == picture.size
    assert shown(turn.reply._repr_html_()).size == picture.size
    alone: Any = pipeline.chat().say("What is 2 plus 3?", task="Text")
    assert (alone._repr_html_(), repr(alone.reply)) == (None, "Reply(text='5', detections=())")


def test_a_large_picture_is_shown_small(pipeline: IAAPipeline) -> None:
    (found,) = pipeline.ground(Image.new("RGB", (3000, 1500)), "the dog", max_new_tokens=40)
    assert shown(found._repr_html_()).size == (1024, 512)  # type: ignore[attr-defined]
