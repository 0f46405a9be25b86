"""Whatever comes in, the nodes do what they say, or say what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_server import Client, Graph, PromptError, Run, Server, node, run_inside
from PIL import Image

TINY = "sub/tiny"


def mandelbrot(width: int, height: int) -> Image.Image:
    """A picture with something on it."""
    return Image.effect_mandelbrot((width, height), (-2, -1, 1, 1), 40).convert("RGB")


def ground(client: Client, image: list[Any], before: Graph | None = None, **inputs: Any) -> Run:
    """Grounds in an image of a graph; shows JSON and count as text and the mask as a picture."""
    graph = {
        "loader": node("IAA_Loader", checkpoint=TINY),
        "ground": node("IAA_Ground", **({"model": ["loader", 0], "image": image, "phrases": "the star"} | inputs)),
        "json": node("PreviewAny", source=["ground", 3]),
        "count": node("PreviewAny", source=["ground", 4]),
        "mask": node("MaskToImage", mask=["ground", 1]),
        "masks": node("PreviewImage", images=["mask", 0]),
        "annotated": node("PreviewImage", images=["ground", 2]),
    }
    run = client.run(graph | (before or {}))
    assert run.status == "success", run.error
    return run


def boxes(run: Run) -> list[list[dict[str, Any]]]:
    """The node's JSON, read."""
    found = json.loads(run.outputs["json"]["text"][0])
    assert int(run.outputs["count"]["text"][0]) == sum(map(len, found))
    return list(found)


def masks(client: Client, run: Run) -> list[np.ndarray]:
    """The node's masks, bool (H, W)."""
    return [np.asarray(client.image(shown).convert("L")) > 127 for shown in run.outputs["masks"]["images"]]


SCENE = {"scene": node("IAA_DemoScene", seed=5, width=120, height=80)}


def test_boxes_mask_and_drawing_agree(client: Client) -> None:
    run = ground(client, ["scene", 0], SCENE, phrases="the star\n\n  the red ring  \n")
    (found,), (mask,) = boxes(run), masks(client, run)
    assert {box["label"] for box in found} == {"the star", "the red ring"}
    painted = np.zeros((80, 120), bool)
    for box in found:
        assert set(box) == {"x", "y", "width", "height", "label", "score"}
        assert 0 <= box["x"] < box["x"] + box["width"] <= 120 and 0 <= box["y"] < box["y"] + box["height"] <= 80
        assert 0 < box["score"] <= 1
        painted[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = True
    assert (painted == mask).all()
    (drawn,) = run.outputs["annotated"]["images"]
    assert client.image(drawn).size == (120, 80)


def test_masks_and_labels_go_together(client: Client) -> None:
    """Two images and two phrases, one of them given twice, and one that is in no image once the threshold is 1."""
    scene = {"scene": node("IAA_DemoScene", seed=5, width=120, height=80, count=2)}
    scene |= {"labels": node("PreviewAny", source=["ground", 5])}
    phrases = "the star\nthe red ring\nthe star."
    runs = {
        masks: ground(client, ["scene", 0], scene, phrases=phrases, masks=masks)
        for masks in ("one per image", "one per phrase", "one per box")
    }
    found = boxes(runs["one per image"])
    assert all(boxes(run) == found for run in runs.values())
    labels = {name: run.outputs["labels"]["text"] for name, run in runs.items()}
    each = [box["label"] for image in found for box in image]
    assert labels == {
        "one per image": each,
        "one per phrase": ["the star", "the red ring"] * 2,
        "one per box": each,
    }
    drawn = {name: masks(client, run) for name, run in runs.items()}
    assert [len(planes) for planes in drawn.values()] == [2, 4, len(each)]
    for number, image in enumerate(found):
        for nth, phrase in enumerate(("the star", "the red ring")):
            assert (drawn["one per phrase"][2 * number + nth] == painted(image, phrase)).all()
        assert (drawn["one per image"][number] == painted(image)).all()
    single = [painted([box]) for image in found for box in image]
    assert all((a == b).all() for a, b in zip(drawn["one per box"], single, strict=True))
    for kind, count in (("one per image", 2), ("one per phrase", 4), ("one per box", 1)):
        for policy in ("empty", "full image"):
            run = ground(client, ["scene", 0], scene, phrases=phrases, masks=kind, threshold=1.0, nothing_found=policy)
            planes = masks(client, run)
            assert len(planes) == (2 if (policy, kind) == ("full image", "one per box") else count)
            assert all(plane.all() if policy == "full image" else not plane.any() for plane in planes)
            assert ("labels" in run.outputs) == (policy == "full image" or kind == "one per phrase")


def test_too_many_masks_cost_the_masks_alone(client: Client) -> None:
    """All that was found was lost with them, and the advice came too late."""
    graph = {
        "loader": node("IAA_Loader", checkpoint=TINY),
        "scene": node("IAA_DemoScene", seed=5, width=64, height=64),
        "large": node(
            "ImageScale", image=["scene", 0], upscale_method="area", width=4096, height=4096, crop="disabled"
        ),
        "ground": node("IAA_Ground", model=["loader", 0], image=["large", 0], phrases="\n".join(map(str, range(65)))),
        "count": node("PreviewAny", source=["ground", 4]),
        "mask": node("MaskToImage", mask=["ground", 1]),
        "seen": node("PreviewImage", images=["mask", 0]),
    }
    graph["ground"]["inputs"] |= {"masks": "one per box", "threshold": 0.0, "several": False}
    run = client.run(graph)
    assert run.outputs["count"]["text"] == ["65"] and "seen" not in run.outputs
    assert "IAA Boxes to Mask makes masks of those you keep" in run.error
    graph["listed"] = node("CreateList", **{"inputs.input0": ["large", 0], "inputs.input1": ["scene", 0]})
    graph["ground"]["inputs"]["image"] = ["listed", 0]
    graph["pair"] = node("JoinImageWithAlpha", image=["ground", 2], alpha=["ground", 1])
    graph["seen"]["inputs"]["images"] = ["pair", 0]
    run = client.run(graph)
    assert run.outputs["count"]["text"] == ["65", "65"]
    assert "IAA Boxes to Mask makes masks of those you keep" in run.error
    sizes = {client.image(place).size for place in run.outputs["seen"]["images"]}
    assert sizes == {(64, 64)}, "masks of the small image stay beside it"


def painted(found: list[dict[str, Any]], label: str = "") -> np.ndarray:
    """A mask of 120 x 80 that is true in all boxes of a label."""
    mask = np.zeros((80, 120), bool)
    for box in found:
        if label in ("", box["label"]):
            mask[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = True
    return mask


@pytest.mark.parametrize("size", [(1, 1), (3264, 2448), (3000, 20)])
def test_sizes_of_images(client: Client, size: tuple[int, int]) -> None:
    name = client.upload(f"{size[0]}x{size[1]}.png", mandelbrot(*size))
    run = ground(client, ["load", 0], {"load": node("LoadImage", image=name)}, phrases="it")
    for box in boxes(run)[0]:
        assert box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1]
    assert client.image(run.outputs["annotated"]["images"][0]).size == size
    assert masks(client, run)[0].shape == size[::-1]
    ((preview,),) = run.outputs["ground"]["iaa_images"]
    assert (preview["width"], preview["height"]) == size, "boxes are in these pixels"
    assert max(client.image(preview).size) == min(max(size), 2048)
    (marked,) = run.outputs["ground"]["images"]
    assert client.image(marked).size == client.image(preview).size


def test_images_with_transparency(client: Client) -> None:
    picture = mandelbrot(90, 60)
    picture.putalpha(Image.linear_gradient("L").resize((90, 60)))
    before = {
        "load": node("LoadImage", image=client.upload("transparent.png", picture)),
        "rgba": node("JoinImageWithAlpha", image=["load", 0], alpha=["load", 1]),
        "size": node("GetImageSize", image=["rgba", 0]),
        "caption": node("IAA_Caption", model=["loader", 0], image=["rgba", 0], max_new_tokens=4),
    }
    run = ground(client, ["rgba", 0], before)
    assert len(boxes(run)) == 1 and len(run.outputs["caption"]["text"]) == 1
    assert client.image(run.outputs["annotated"]["images"][0]).mode == "RGB"


def test_a_batch_of_mixed_content(client: Client) -> None:
    """Every image of a batch gets what it would get alone, in order."""
    sizes = {"wide.png": (120, 60), "tall.png": (50, 90), "tiny.png": (3, 3)}
    names = [client.upload(name, mandelbrot(*size)) for name, size in sizes.items()]
    load: Graph = {f"load{i}": node("LoadImage", image=name) for i, name in enumerate(names)}
    batch = load | {
        "loader": node("IAA_Loader", checkpoint=TINY, precision="fp32"),  # 16 bits round a batch otherwise than a row
        "two": node("ImageBatch", image1=["load0", 0], image2=["load1", 0]),
        "three": node("ImageBatch", image1=["two", 0], image2=["scene", 0]),
        "caption": node("IAA_Caption", model=["loader", 0], image=["three", 0], max_new_tokens=6),
    }
    together = ground(client, ["three", 0], batch | SCENE, phrases="a\nb")
    assert len(boxes(together)) == len(together.outputs["caption"]["text"]) == 3
    assert len({tuple(map(str, found)) for found in boxes(together)}) > 1, "the images differ, and so do the boxes"
    for number in range(3):
        one = {"one": node("ImageFromBatch", image=["three", 0], batch_index=number, length=1)}
        one["caption"] = node("IAA_Caption", model=["loader", 0], image=["one", 0], max_new_tokens=6)
        alone = ground(client, ["one", 0], batch | SCENE | one, phrases="a\nb")
        for one_box, same in zip(boxes(alone)[0], boxes(together)[number], strict=True):
            assert one_box == same | {"score": pytest.approx(same["score"], rel=1e-4)}
        assert alone.outputs["caption"]["text"] == together.outputs["caption"]["text"][number : number + 1]


def test_a_folder_of_images_of_all_sizes(client: Client, server: Server) -> None:
    for name, size in {"a": (70, 40), "b": (40, 70), "c": (2, 2)}.items():
        client.upload(f"{name}.png", mandelbrot(*size), "my_folder")
    graph = {
        "load": node("LoadImageDataSetFromFolder", folder="my_folder"),
        "loader": node("IAA_Loader", checkpoint=TINY),
        "caption": node("IAA_Caption", model=["loader", 0], image=["load", 0], max_new_tokens=6),
        "save": node(
            "SaveImageTextDataSetToFolder",
            images=["load", 0],
            texts=["caption", 0],
            folder_name="set",
            filename_prefix="image",
            mode="overwrite",
        ),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    folder = server.base / "output" / "set"
    assert len(list(folder.glob("*.png"))) == 3
    written = [file.read_text() for file in sorted(folder.glob("*.txt"))]
    assert written == run.outputs["caption"]["text"] and len(written) == 3


@pytest.mark.parametrize(
    "phrases", ["红色的圆\nКрасный круг", "le carré bleu 🟦", 'a "quoted" \\ phrase', "[0.1,0.2,0.3,0.4]"]
)
def test_phrases_in_any_script(client: Client, phrases: str) -> None:
    (found,) = boxes(ground(client, ["scene", 0], SCENE, phrases=phrases))
    assert {box["label"] for box in found} == set(phrases.splitlines())


@pytest.mark.parametrize("phrases", ["", "  \n \n"])
def test_empty_phrases_are_refused(client: Client, phrases: str) -> None:
    with pytest.raises(PromptError) as refused:
        ground(client, ["scene", 0], SCENE, phrases=phrases)
    assert any("'phrases' is empty. Type what to find" in detail for detail in refused.value.details)


LINKED_EMPTY = {"words": node("PrimitiveStringMultiline", value=" ")}


@pytest.mark.parametrize(
    ("kind", "inputs", "says"),
    [
        ("IAA_Ground", {"image": ["scene", 0], "phrases": ["words", 0]}, "'phrases' is empty"),
        ("IAA_Caption", {"image": ["scene", 0], "preset": "question", "prompt": ["words", 0]}, "nothing to ask"),
        ("IAA_Text", {"prompt": ["words", 0]}, "'prompt' is empty"),
        ("IAA_Chat", {"message": ["words", 0]}, "'message' is empty"),
    ],
)
def test_linked_inputs_are_checked_when_they_arrive(
    client: Client, kind: str, inputs: dict[str, Any], says: str
) -> None:
    graph = {
        **SCENE,
        **LINKED_EMPTY,
        "loader": node("IAA_Loader", checkpoint=TINY),
        "it": node(kind, model=["loader", 0], **inputs),
    }
    run = client.run(graph)
    assert run.status == "error" and says in run.error


@pytest.mark.parametrize(
    ("kind", "inputs", "says"),
    [
        ("IAA_Caption", {"image": ["scene", 0], "preset": "question"}, "'prompt' is empty"),
        ("IAA_Caption", {"image": ["scene", 0], "preset": "poem"}, "no preset 'poem'"),
        ("IAA_Ground", {"image": ["scene", 0], "phrases": ""}, "'phrases' is empty"),
        ("IAA_Text", {"prompt": " "}, "'prompt' is empty"),
        ("IAA_Chat", {"message": ""}, "'message' is empty"),
        ("IAA_Chat", {"message": "hello", "task": "X"}, "'X' not in"),
    ],
)
def test_typed_inputs_are_checked_before_the_run(client: Client, kind: str, inputs: dict[str, Any], says: str) -> None:
    """Each mistake is told of once, although two inputs have a part in it and two nodes follow."""
    graph = {**SCENE, "loader": node("IAA_Loader", checkpoint=TINY), "it": node(kind, model=["loader", 0], **inputs)}
    graph |= {name: node("PreviewAny", source=["it", 0]) for name in ("one", "two")}
    with pytest.raises(PromptError) as refused:
        client.run(graph)
    (told,) = refused.value.details
    assert says in told


def test_what_is_typed_is_what_is_asked(client: Client) -> None:
    """With dynamic prompts, the browser takes braces out of JSON and all behind the slashes of an address."""
    nodes = {name: made for name, made in client.get_json("/object_info").items() if name.startswith("IAA_")}
    assert "IAA_Text" in nodes
    for name, made in nodes.items():
        for declared in (made["input"].get("required", {}) | made["input"].get("optional", {})).values():
            assert not declared[1].get("dynamicPrompts"), name


def test_a_checkpoint_that_is_not_here_is_told_of_once(client: Client) -> None:
    graph = {"loader": node("IAA_Loader", checkpoint="no/such", precision="auto")}
    graph |= {f"it{n}": node("IAA_Text", model=["loader", 0], prompt="hi") for n in (1, 2)}
    with pytest.raises(PromptError) as refused:
        client.run(graph)
    (told,) = refused.value.details
    assert "There is no checkpoint 'no/such'" in told


class TestNothingFound:
    """Every box scores below 1, so that threshold finds none."""

    def test_empty(self, client: Client) -> None:
        run = ground(client, ["scene", 0], SCENE, threshold=1.0, nothing_found="empty")
        assert boxes(run) == [[]]
        assert not masks(client, run)[0].any()

    def test_full_image(self, client: Client) -> None:
        run = ground(client, ["scene", 0], SCENE, threshold=1.0, nothing_found="full image")
        whole = {"x": 0, "y": 0, "width": 120, "height": 80, "label": "the star", "score": 0.0}
        assert boxes(run) == [[whole]]
        assert masks(client, run)[0].all()

    def test_error(self, client: Client) -> None:
        graph = SCENE | {
            "loader": node("IAA_Loader", checkpoint=TINY),
            "ground": node(
                "IAA_Ground",
                model=["loader", 0],
                image=["scene", 0],
                phrases="the star",
                threshold=1.0,
                nothing_found="error",
            ),
        }
        assert "Nothing was found in image 1 of 1 for the star. Lower the threshold" in client.run(graph).error

    def test_core_nodes_take_it(self, client: Client) -> None:
        graph = SCENE | {
            "loader": node("IAA_Loader", checkpoint=TINY),
            "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="x", threshold=1.0),
            **core_consumers(["scene", 0], "ground"),
        }
        run = client.run(graph)
        assert run.status == "success", run.error


def core_consumers(image: list[Any], ground: str) -> Graph:
    """What a person who read only ComfyUI's documentation would connect."""
    return {
        "crop": node(
            "CropByBBoxes",
            image=image,
            bboxes=[ground, 0],
            output_width=64,
            output_height=64,
            padding=0,
            keep_aspect="pad",
        ),
        "save crop": node("SaveImage", images=["crop", 0], filename_prefix="crop"),
        "draw": node("DrawBBoxes", image=image, bboxes=[ground, 0]),
        "save drawing": node("SaveImage", images=["draw", 0], filename_prefix="draw"),
        "grow": node("GrowMask", mask=[ground, 1], expand=4, tapered_corners=True),
        "invert": node("InvertMask", mask=["grow", 0]),
        "picture": node("MaskToImage", mask=["invert", 0]),
        "save mask": node("SaveImage", images=["picture", 0], filename_prefix="mask"),
    }


def test_core_nodes_take_boxes_and_masks(client: Client) -> None:
    name = client.upload("someones.png", mandelbrot(200, 150))
    graph = {
        "load": node("LoadImage", image=name),
        "loader": node("IAA_Loader", checkpoint=TINY),
        "ground": node("IAA_Ground", model=["loader", 0], image=["load", 0], phrases="a bulb\nthe left edge"),
        **core_consumers(["load", 0], "ground"),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    sizes = {name: client.image(run.outputs[f"save {name}"]["images"][0]).size for name in ("crop", "drawing", "mask")}
    assert sizes == {"crop": (64, 64), "drawing": (200, 150), "mask": (200, 150)}


def test_a_missing_checkpoint_says_where_it_belongs(client: Client, server: Server) -> None:
    graph = SCENE | {
        "loader": node("IAA_Loader", checkpoint="someone/elses"),
        "text": node("IAA_Text", model=["loader", 0], prompt="hello"),
    }
    with pytest.raises(PromptError) as refused:
        client.run(graph)
    (detail,) = [detail for detail in refused.value.details if "someone/elses" in detail]
    assert str(server.base / "models" / "iaa") in detail and "config.json" in detail


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        (node("IAA_Loader", checkpoint={"__value__": [1, 2]}), "which is no name. Choose one of the list."),
        (node("IAA_Loader", checkpoint="x" * 100_000), "There is no checkpoint 'xxx"),
        (node("IAA_RemoteLoader", servers="http://127.0.0.1:1\n" * 100_000), "'servers' has 100,000 lines."),
    ],
    ids=["a list", "a long name", "many addresses"],
)
def test_a_loader_says_at_once_and_shortly_what_is_wrong(client: Client, loader: Any, says: str) -> None:
    graph = {"loader": loader, "text": node("IAA_Text", model=["loader", 0], prompt="hello")}
    with pytest.raises(PromptError) as refused:
        client.run(graph)
    assert any(says in detail for detail in refused.value.details)
    assert all(len(detail) < 1000 for detail in refused.value.details if says in detail)


def test_the_published_model_is_offered_with_what_it_takes(client: Client, server: Server) -> None:
    offered = client.get_json("/object_info/IAA_Loader")["IAA_Loader"]["input"]
    name = "qihoo360/Inner-Adaptor-Architecture"
    assert name in offered["required"]["checkpoint"][1]["options"]
    assert not offered["optional"]["download"][1].get("advanced"), "what is asked for can be seen"
    graph = {
        "loader": node("IAA_Loader", checkpoint=name, precision="auto"),
        "text": node("IAA_Text", model=["loader", 0], prompt="hello"),
    }
    error = client.run(graph).error
    assert str(server.base / "models" / "iaa" / name) in error
    for said in ("33 GB", r"\d+ GB are free", "Llama 3 Community License", "switch on 'download'"):
        assert re.search(said, error), said


def test_a_download_moves_the_bar_and_hears_cancel(comfyui: Path, tmp_path: Path) -> None:
    report = run_inside(comfyui, Path(__file__).parent / "inside" / "download.py", str(tmp_path))
    folder = str(tmp_path / "iaa" / "qihoo360" / "Inner-Adaptor-Architecture")
    assert report["whole"] == [folder, 0], "not elsewhere"
    assert len(report["bar"]) > 4 and report["bar"] == sorted(report["bar"]) and report["bar"][-1] > 0.8
    stopped, seconds = report["cancelled"]
    assert stopped == "stopped" and seconds < 1
    assert report["sent_until_cancel"] < 0.7 * report["sent"], "pressed at 0.3, it ends in the middle of a file"
    assert report["begins_at"] >= 0.2, "the file that was complete was kept"
    stopped, seconds = report["stalled"]
    assert stopped == "stopped" and seconds < 1 and report["waits_still"], "nobody waits for what does not come"
    assert report["ended"] == ["done", "cancelled", "cancelled"], "the threads that fetch have ended too"
    assert not [path for path in report["asked"] if "xet" in path], "what is fetched by Xet hears no Cancel"


def test_an_incomplete_checkpoint_says_what_it_lacks(client: Client, server: Server, shared_models: Path) -> None:
    broken = server.base / "models" / "iaa" / "broken"
    broken.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(shared_models / "elsewhere" / "tiny" / name, broken / name)
    graph = {
        "loader": node("IAA_Loader", checkpoint="broken"),
        "text": node("IAA_Text", model=["loader", 0], prompt="a"),
    }
    run = client.run(graph)
    assert run.status == "error" and str(broken) in run.error and "weights" in run.error
    (broken / "model.safetensors").symlink_to(shared_models / "unmounted")
    run = client.run(graph)
    assert f"model.safetensors is a link to {shared_models / 'unmounted'}, where nothing is." in run.error


def test_a_checkpoint_hides_none_that_lie_in_its_folder(client: Client, server: Server, shared_models: Path) -> None:
    """Files put straight into models/iaa hid every folder there, which were then offered for download."""
    outer = server.base / "models" / "iaa" / "outer"
    shutil.copytree(shared_models / "elsewhere" / "tiny", outer)
    shutil.copytree(shared_models / "elsewhere" / "tiny", outer / "inner")
    shutil.copytree(shared_models / "elsewhere" / "tiny", outer / "tower")
    (outer / "tower" / "config.json").write_text('{"model_type": "clip_vision_model"}')
    required = client.get_json("/object_info/IAA_Loader")["IAA_Loader"]["input"]["required"]
    offered = required["checkpoint"][1]["options"]
    assert {"outer", "outer/inner"} <= set(offered) and "outer/tower" not in offered
    shutil.rmtree(outer)


def test_names_in_a_checkpoint_do_not_steer_the_servers_terminal(
    client: Client, server: Server, shared_models: Path
) -> None:
    hostile = server.base / "models" / "iaa" / "hostile"
    shutil.copytree(shared_models / "elsewhere" / "tiny", hostile)
    weights = {"\x1b[2Jhostile": "\x1b]0;hostile\x07.safetensors"}
    for file in hostile.glob("model*.safetensors"):
        file.unlink()
    (hostile / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    loader = node("IAA_Loader", checkpoint="hostile")
    run = client.run({"loader": loader, "text": node("IAA_Text", model=["loader", 0], prompt="a")})
    assert run.status == "error" and r"\u001b]0;hostile\u0007" in run.error
    assert "]0;hostile" in server.log and "\x1b]0;hostile" not in server.log


def test_extra_model_paths_are_searched(client: Client) -> None:
    required = client.get_json("/object_info/IAA_Loader")["IAA_Loader"]["input"]["required"]
    assert TINY in required["checkpoint"][1]["options"]


def test_scenes_are_the_same_for_a_seed_and_say_when_they_cannot_be(client: Client) -> None:
    graph = {
        "scene": node("IAA_DemoScene", seed=7, width=90, height=64, count=2),
        "next": node("IAA_DemoScene", seed=8, width=90, height=64),
        "all": node("PreviewImage", images=["scene", 0]),
        "one": node("PreviewImage", images=["next", 0]),
        "captions": node("PreviewAny", source=["scene", 1]),
    }
    run = client.run(graph)
    first, second = (client.image(shown) for shown in run.outputs["all"]["images"])
    assert second.tobytes() == client.image(run.outputs["one"]["images"][0]).tobytes() != first.tobytes()
    assert len(run.outputs["captions"]["text"]) == 2
    graph["next"]["inputs"]["width"] = 600
    assert "too long and thin" in client.run(graph).error


def test_a_conversation_goes_on_across_tasks(client: Client) -> None:
    graph = SCENE | {
        "loader": node("IAA_Loader", checkpoint=TINY),
        "first": node(
            "IAA_Chat", model=["loader", 0], message="What is it?", task="MM", image=["scene", 0], max_new_tokens=5
        ),
        "second": node(
            "IAA_Chat", model=["loader", 0], message="Where?", task="G", history=["first", 1], max_new_tokens=5
        ),
        "third": node(
            "IAA_Chat", model=["loader", 0], message="Why?", task="Text", history=["second", 1], max_new_tokens=5
        ),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    assert all(run.outputs[turn]["text"] for turn in ("first", "second", "third"))
    graph["third"]["inputs"]["message"] = "When?"
    again = client.run(graph)
    assert again.executed == {"third"}, "earlier turns are remembered"
    graph["second"]["inputs"].pop("history")
    assert client.run(graph).outputs["second"]["text"], "a turn may stand alone, without an image"
