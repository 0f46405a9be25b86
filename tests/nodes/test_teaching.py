"""IAA Teach in a real ComfyUI: teach, load and ask in one graph; Cancel keeps what is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, Run, Server, node, run_inside

from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.config import Task
from iaa_runtime.shapes.new_things import draw_with
from iaa_runtime.shapes.scenes import EVALUATION_SEED

INSIDE = Path(__file__).parent / "inside"
DEMO = "demo (coloured shapes)"
BOXES = [[{"x": 10, "y": 12, "width": 40, "height": 30}], [{"x": 20, "y": 8, "width": 30, "height": 44}]]


def graph(name: str, **changed: Any) -> Graph:
    """Teaches a few steps, loads what came of it, and asks with it and without."""
    asked = {"image": ["scene", 0], "phrases": "the mascot", "threshold": 0.0}
    taught = {"phrase": "the mascot", "bboxes": {"__value__": BOXES}, "steps": 3, "rank": 2, "batch": 1} | changed
    return {
        "scene": node("IAA_DemoScene", seed=3, width=96, height=96, count=2),
        "loader": node("IAA_Loader", checkpoint=DEMO),
        "teach": node("IAA_Teach", model=["loader", 0], image=["scene", 0], name=name, **taught),
        "adaptor": node("IAA_LoadAdaptor", model=["loader", 0], adaptor=["teach", 0]),
        "with": node("IAA_Ground", model=["adaptor", 0], **asked),
        "without": node("IAA_Ground", model=["loader", 0], **asked),
        "path": node("PreviewAny", source=["teach", 1]),
        "curve": node("PreviewImage", images=["teach", 2]),
        "sheet": node("PreviewImage", images=["teach", 3]),
    }


def file_of(run: Run) -> Path:
    assert run.error == ""
    return Path(run.outputs["path"]["text"][0])


def test_teach_load_and_ground_in_one_graph(client: Client, server: Server) -> None:
    run = client.run(graph("cat"))
    file = file_of(run)
    assert file == server.base / "models" / "iaa_adaptors" / "cat.safetensors"
    adaptor = read_adaptor(file)
    assert (adaptor.task, adaptor.rank, adaptor.phrases) == (Task.G, 2, ("the mascot",))
    assert not file.with_name("cat.safetensors.parts").exists()
    assert run.outputs["with"]["iaa_boxes"][0] and run.outputs["without"]["iaa_boxes"][0]
    for name in ("curve", "sheet"):
        assert min(client.image(run.outputs[name]["images"][0]).size) > 100
    assert any("Learning: 3 of 3" in text for _, text in run.texts)
    assert "before: precision_at_0.5" in run.outputs["teach"]["text"][0]
    written = file.stat().st_mtime_ns
    client.free()  # the same inputs give the same file out
    again = client.run(graph("cat"))
    assert "teach" in again.executed and file_of(again).stat().st_mtime_ns == written
    other = client.run(graph("cat", steps=2))
    assert "'name'" in other.error and "'overwrite'" in other.error and file.stat().st_mtime_ns == written
    replaced = client.run(graph("cat", steps=2, overwrite=True))
    assert read_adaptor(file_of(replaced)).training["steps"] == 2


def test_with_overwrite_the_same_inputs_give_the_file_out_unless_it_is_broken(client: Client) -> None:
    file = file_of(client.run(graph("over", overwrite=True)))
    content, written = file.read_bytes(), file.stat().st_mtime_ns
    client.free()
    again = client.run(graph("over", overwrite=True))
    assert "teach" in again.executed and file_of(again).stat().st_mtime_ns == written
    assert not any("Learning" in text for _, text in again.texts)
    file.write_bytes(content[:100])
    client.free()
    mended = client.run(graph("over", overwrite=True))
    assert any("Learning" in text for _, text in mended.texts) and file_of(mended).read_bytes() == content


def test_a_file_that_is_gone_or_replaced_is_noticed(client: Client) -> None:
    """What ComfyUI remembers of a run gave its name out for ever, and IAA Load Adaptor then named no reason."""
    file = file_of(client.run(graph("gone", steps=1)))
    content = file.read_bytes()
    for own in file.parent.glob("gone.*"):
        own.unlink()
    again = client.run(graph("gone", steps=1))
    assert "teach" in again.executed and file_of(again).read_bytes() == content
    client.run(graph("gone", steps=1))
    quiet = client.run(graph("gone", steps=1))
    assert quiet.error == "" and {"teach", "with"} <= quiet.cached
    file_of(client.run(graph("other", steps=2))).replace(file)
    assert "was not made of these pictures with these settings" in client.run(graph("gone", steps=1)).error


def test_two_nodes_do_not_write_one_file(client: Client) -> None:
    """Whichever came first gave out what the other had written."""
    twice = graph("twice", steps=1, overwrite=True)
    twice["same"] = twice["teach"]
    assert client.run(twice).error == ""
    for name in ("twice", " twice", "twice.safetensors"):
        twice["same"] = {"class_type": "IAA_Teach", "inputs": twice["teach"]["inputs"] | {"steps": 2, "name": name}}
        assert "two IAA Teach of this graph are called 'twice'" in client.run(twice).error.replace(name, "twice")


def test_pictures_that_were_damaged_or_deleted_make_no_other_adaptor_of_it(client: Client) -> None:
    """The curve is drawn anew; what takes the sheet does not run."""
    file = file_of(client.run(graph("pruned")))
    written = file.stat().st_mtime_ns
    pictures = [file.with_suffix(suffix) for suffix in (".curve.png", ".before-after.png")]
    for spoil, overwrite in ((lambda png: png.write_bytes(png.read_bytes()[:100]), True), (Path.unlink, False)):
        for picture in pictures:
            spoil(picture)
        client.free()
        again = client.run(graph("pruned", overwrite=overwrite))
        assert file_of(again).stat().st_mtime_ns == written
        assert not any("Learning" in text for _, text in again.texts)
        assert min(client.image(again.outputs["curve"]["images"][0]).size) > 100 and "sheet" not in again.outputs
    file.unlink()
    client.free()
    assert "without the adaptor that it belongs to" in client.run(graph("pruned")).error


def test_boxes_of_create_bounding_boxes_on_a_picture_that_is_no_multiple_of_16(client: Client) -> None:
    """Its canvas is a little higher, and so are boxes at the lower edge."""
    region = {"x": 320, "y": 184, "width": 192, "height": 184}
    drawn = node("CreateBoundingBoxes", width=640, height=368, background=["one", 0])
    drawn["inputs"]["editor_state"] = {"__value__": [region]}
    made = graph("edge", bboxes=["boxes", 0]) | {
        "scene": node("IAA_DemoScene", seed=3, width=640, height=360, count=2),
        "one": node("ImageFromBatch", image=["scene", 0], batch_index=0, length=1),
        "drawn": drawn,
        "boxes": node("CreateList", **{"inputs.input0": ["drawn", 1], "inputs.input1": ["drawn", 1]}),
    }
    made["teach"]["inputs"] |= {"steps": 1, "rank": 1}
    assert read_adaptor(file_of(client.run(made))).phrases == ("the mascot",)


@pytest.mark.slow
def test_dynamic_vram_management_changes_nothing(client: Client, dynamic_client: Client) -> None:
    files = [file_of(there.run(graph("same"))) for there in (client, dynamic_client)]
    assert read_adaptor(files[0]).digest == read_adaptor(files[1]).digest


def test_cancel_keeps_what_is_learned(client: Client, server: Server) -> None:
    pressed = []

    def press(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["max"] == 400 and data["value"] >= 2 and not pressed:
            pressed.append(data["value"])
            client.interrupt()

    run = client.run(graph("dog", steps=400), press)
    assert run.status == "interrupted" and pressed
    folder = server.base / "models" / "iaa_adaptors"
    assert (folder / "dog.safetensors.parts" / "state.pt").is_file() and not (folder / "dog.safetensors").exists()
    seen: list[int] = []

    def look(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["max"] == 400:
            seen.append(data["value"])
            client.interrupt()

    assert client.run(graph("dog", steps=400), look).status == "interrupted"
    assert seen and seen[0] > pressed[0], "it went on and did not begin anew"


def test_what_was_cancelled_ends_as_if_unbroken(client: Client, server: Server) -> None:
    whole, pressed = file_of(client.run(graph("whole", steps=20))), []

    def press(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["max"] == 20 and data["value"] >= 4 and not pressed:
            pressed.append(data["value"])
            client.interrupt()

    assert client.run(graph("broken", steps=20), press).status == "interrupted" and pressed[0] < 20
    assert not whole.with_name("broken.safetensors").exists()
    seen: list[int] = []

    def look(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["max"] == 20:
            seen.append(data["value"])

    run = client.run(graph("broken", steps=20), look)
    # Pictures that are looked at afterwards may be as many as the steps.
    assert seen[0] >= pressed[0], "it went on and did not begin anew"
    assert file_of(run).read_bytes() == whole.read_bytes()


def test_memory_is_given_back(comfyui: Path, shared_models: Path, tmp_path: Path) -> None:
    """ComfyUI makes room, the model's own weights go for that time, and the copy that was taught goes at the end."""
    report = run_inside(comfyui, INSIDE / "teaching.py", str(shared_models / "iaa" / "sub"), str(tmp_path))
    assert report.pop("own banks before") == 3 and report.pop("loaded before") == 4
    assert report.pop("banks of the copy before room was made") == 0
    assert report.pop("own banks meanwhile") == report.pop("loaded meanwhile") == 0
    assert report.pop("banks that are taught") == 3
    assert report.pop("banks of the copy at the end") == report.pop("banks of the copy after an error") == 0
    assert report.pop("the copy is gone") and report.pop("answers as before") and not report
    assert read_adaptor(tmp_path / "it.safetensors").rank == 1


def test_new_shapes_come_with_their_boxes(client: Client) -> None:
    new: Graph = {
        "new": node("IAA_DemoNewShape", shape="house", seed=7, width=120, height=90, count=3, without=1),
        "boxes": node("PreviewAny", source=["new", 1]),
        "phrase": node("PreviewAny", source=["new", 2]),
        "shown": node("PreviewImage", images=["new", 0]),
    }
    run = client.run(new)
    assert run.error == "" and run.outputs["phrase"]["text"] == ["the house"]
    found = [json.loads(text) for text in run.outputs["boxes"]["text"]]
    assert [[box["label"] for box in boxes] for boxes in found] == [["the house"], ["the house"], []]
    for number, file in enumerate(run.outputs["shown"]["images"][:2]):
        picture, (x1, y1, x2, y2) = draw_with("house", 2 * EVALUATION_SEED + 7 + number, long_side=120, aspect=120 / 90)
        assert client.image(file).convert("RGB").tobytes() == picture.tobytes()
        (box,) = found[number]
        edges = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
        assert edges == tuple(map(round, (x1, y1, x2, y2)))
    assert (
        "too long and thin"
        in client.run(new | {"new": node("IAA_DemoNewShape", shape="house", seed=0, width=64, height=640)}).error
    )


def test_captions(client: Client) -> None:
    texts = {
        "first": node("PrimitiveString", value="Seen: a cat."),
        "second": node("PrimitiveString", value="Seen: a dog."),
        "texts": node("CreateList", **{"inputs.input0": ["first", 0], "inputs.input1": ["second", 0]}),
    }
    made = graph("style", bboxes=None, captions=["texts", 0]) | texts
    del made["teach"]["inputs"]["bboxes"], made["with"], made["without"]
    made["caption"] = node("IAA_Caption", model=["adaptor", 0], image=["scene", 0], max_new_tokens=4)
    run = client.run(made)
    assert read_adaptor(file_of(run)).task is Task.MM and run.outputs["caption"]["text"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", "C:x", ".hidden", "con", "a\nb", "a" * 300, "猫" * 90])
def test_a_name_is_that_of_one_file(client: Client, name: str) -> None:
    with pytest.raises(PromptError) as refused:
        client.run(graph(name))
    assert "no name of one file" in str(refused.value)


def test_what_is_refused(client: Client, server: Server) -> None:
    def error(**changed: Any) -> str:
        return client.run(graph("refused", **changed)).error

    assert "Either 'bboxes' or 'captions'" in error(captions="a text")
    assert "'bboxes' came as 1 lists of boxes for 2 images" in error(bboxes={"__value__": BOXES[:1]})
    outside = {"__value__": [BOXES[0], [{"x": 90, "y": 0, "width": 60, "height": 10}]]}
    assert "'bboxes', image 2: the box" in error(bboxes=outside)
    assert "a box has no label" in error(phrase="")
    two = {
        "first": node("PrimitiveString", value="the mascot"),
        "second": node("PrimitiveString", value="the logo"),
        "two": node("CreateList", **{"inputs.input0": ["first", 0], "inputs.input1": ["second", 0]}),
    }
    for name in ("phrase", "name", "prompt"):
        several = graph("refused") | two
        several["teach"]["inputs"][name] = ["two", 0]
        assert f"'{name}' came as a list of 2 values that differ" in client.run(several).error
    remote = graph("refused") | {"loader": node("IAA_RemoteLoader", servers="http://127.0.0.1:9")}
    del remote["without"]
    assert "'model' is answered by servers" in client.run(remote).error
    linked = graph("refused") | {
        "text": node("PrimitiveString", value=str(server.base / "secret.safetensors")),
        "teach": node("CreateList", **{"inputs.input0": ["text", 0]}),
    }
    for name in ("path", "curve", "sheet"):
        del linked[name]
    assert "'adaptor' is" in client.run(linked).error, "nodes open no paths"
    assert not (server.base / "models" / "iaa_adaptors" / "refused.safetensors").exists()
