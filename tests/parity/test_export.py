"""Exported tasks: stock transformers classes compute from them what we compute, whatever the checkpoint's shape."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from iaa_runtime import IAAModel, IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.cli import main
from iaa_runtime.errors import CheckpointError, InputError
from iaa_runtime.export import export
from iaa_runtime.images.preprocess import preprocess
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.text.conversation import IMAGE_TOKEN, Conversation
from iaa_runtime.text.tokenizer import load_tokenizer, token_id

TASKS = ("MM", "G", "Text")


def stock_model(folder: Path, task: str) -> torch.nn.Module:
    """The exported folder as transformers opens it; nothing may be missing, left over or made up."""
    from transformers import LlamaForCausalLM, LlavaForConditionalGeneration

    kind = LlamaForCausalLM if task == "Text" else LlavaForConditionalGeneration
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def with_image_tokens(ids: Tensor, image_token: int, patches: int) -> Tensor:
    """Our -200 as the run of image tokens that stock LLaVA takes."""
    (row,) = ids.tolist()
    return torch.tensor([[t for i in row for t in ([image_token] * patches if i == -200 else [i])]])


@pytest.mark.parametrize("task", TASKS)
def test_stock_classes_reproduce_the_goldens(reference: Path, tmp_path: Path, task: str) -> None:
    """Logits within 1e-5 and the same greedy tokens as the published code, through several shards."""
    folder = export(Checkpoint(reference / "checkpoint"), task, tmp_path / "out", shard_bytes=1 << 20)
    assert len(list(folder.glob("*.safetensors"))) > 3
    golden = load_file(reference / "checkpoint" / "golden.safetensors")
    model = stock_model(folder, task)
    for case in "ab":
        ids = golden[f"{task}.{case}.input_ids"]
        images = {} if task == "Text" else {"pixel_values": golden[f"{task}.{case}.pixel_values"]}
        if images:
            ids = with_image_tokens(ids, 300, 16)
        expected = golden[f"{task}.{case}.logits"]
        with torch.no_grad():
            logits = model(input_ids=ids, **images).logits
        assert (logits - expected).norm() / expected.norm() < 1e-5
        longer = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=257,
            **images,
        )
        assert torch.equal(longer[:, ids.shape[1] :], golden[f"{task}.{case}.greedy"])


@pytest.mark.parametrize("task", ["MM", "G"])
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(projector="linear"),
        Geometry(select_feature="cls_patch", select_layer=-1, rope_theta=10000.0),
        Geometry(heads=2, kv_heads=1, head_dim=24, insert_layers=(1,), patch_size=7, vision_act="gelu"),
    ],
    ids=["linear projector", "class token", "own head size"],
)
def test_other_shapes(tmp_path: Path, geometry: Geometry, task: str) -> None:
    """Projectors, features and head counts that the reference checkpoint does not have."""
    source = make_checkpoint(tmp_path / "iaa", geometry)
    ours = IAAModel.from_pretrained(source)
    stock = stock_model(export(ours.checkpoint, task, tmp_path / "out"), task)
    ids = torch.tensor([[1, 5, -200, 7, 9, 11]])
    pixels = torch.randn(1, 3, geometry.image_size, geometry.image_size, generator=torch.Generator().manual_seed(1))
    expected = ours(ids, pixels, task)
    image_token = token_id(load_tokenizer(source), IMAGE_TOKEN)
    with torch.no_grad():
        longer = with_image_tokens(ids, image_token, ours.num_image_tokens)
        logits = stock(input_ids=longer, pixel_values=pixels).logits
    assert (logits - expected).norm() / expected.norm() < 1e-5


def test_processor_and_template_make_our_prompt(reference: Path, tmp_path: Path) -> None:
    """The folder's own processor pads, preprocesses and tokenises as we do."""
    from transformers import AutoProcessor

    folder = export(Checkpoint(reference / "checkpoint"), "MM", tmp_path / "out")
    processor = AutoProcessor.from_pretrained(folder, use_fast=False)
    content = [{"type": "image"}, {"type": "text", "text": " What is it? "}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    photo = Image.open(reference / "readpanda.jpg")
    made = processor(images=photo, text=text, add_special_tokens=False, return_tensors="pt")
    ours = Conversation().user("What is it?").encode(load_tokenizer(reference / "checkpoint"), "MM")
    assert torch.equal(made["input_ids"], with_image_tokens(torch.tensor([ours]), 300, 16))
    assert torch.allclose(made["pixel_values"], preprocess([photo], 56), atol=1e-6)


def test_a_batch_of_unequal_prompts_answers_as_each_alone(tmp_path: Path) -> None:
    """The folder's own processor fills up shorter prompts on the side where that changes no answer."""
    from transformers import AutoProcessor, AutoTokenizer

    iaa = IAAPipeline.from_pretrained(dtype=torch.float32)
    scenes = [draw_scene(make_scene(seed)) for seed in (7, 8, 9)]
    questions = ["What is the opposite of left?", "What is 2 plus 3?", "Describe this image.", "What is on the left?"]
    checkpoint = Checkpoint(DEMO_CHECKPOINT)

    tokenizer = AutoTokenizer.from_pretrained(export(checkpoint, "Text", tmp_path / "text"))
    texts = [chat_text(tokenizer, question) for question in questions[:2]]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    generated = stock_model(tmp_path / "text", "Text").generate(**batch, max_new_tokens=20)
    answers = tokenizer.batch_decode(generated[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [answer.strip() for answer in answers] == [iaa.text(question) for question in questions[:2]]
    assert answers[0].strip() == "right"

    processor = AutoProcessor.from_pretrained(export(checkpoint, "MM", tmp_path / "mm"))
    contents = [[{"type": "image"}, {"type": "text", "text": question}] for question in questions[1:]]
    texts = [chat_text(processor, content) for content in contents]
    batch = processor(images=scenes, text=texts, add_special_tokens=False, padding=True, return_tensors="pt")
    assert len(set(batch["attention_mask"].sum(-1).tolist())) > 1, "prompts of unequal length"
    generated = stock_model(tmp_path / "mm", "MM").generate(**batch, max_new_tokens=60)
    answers = processor.batch_decode(generated[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    alone = [iaa.caption(scene, question)[0] for scene, question in zip(scenes, questions[1:], strict=True)]
    assert [answer.strip() for answer in answers] == alone


@pytest.mark.parametrize("task", TASKS)
def test_logits_of_every_row_of_a_batch_are_those_of_each_alone(reference: Path, tmp_path: Path, task: str) -> None:
    """The reference checkpoint, filled up by the folder's own tokenizer, against ours one by one."""
    from transformers import AutoTokenizer

    ours = IAAModel.from_pretrained(reference / "checkpoint", torch.float32)
    folder = export(ours.checkpoint, task, tmp_path / "out")
    questions = ["What?", "What is the red panda holding in its paws, and where does it look?", "Is it day?"]
    tokenizer = load_tokenizer(reference / "checkpoint")
    prompts = [torch.tensor([Conversation().user(q).encode(tokenizer, task)]) for q in questions]
    pixels = preprocess([Image.open(reference / "readpanda.jpg").rotate(90 * n) for n in range(3)], 56)
    rows = [with_image_tokens(ids, 300, 16)[0].tolist() for ids in prompts]
    batch = AutoTokenizer.from_pretrained(folder).pad({"input_ids": rows}, return_tensors="pt")
    assert not batch["attention_mask"][0, 0] and batch["attention_mask"][:, -1].all(), "filled up on the left"
    images = {} if task == "Text" else {"pixel_values": pixels}
    with torch.no_grad():
        together = stock_model(folder, task)(**batch, **images).logits
    for row, ids in enumerate(prompts):
        alone = ours(ids, pixels[row : row + 1] if images else None, task)[0]
        mine = together[row, -len(alone) :]
        assert (mine - alone).norm() / alone.norm() < 1e-5


def chat_text(processor: Any, content: Any) -> str:
    """One question as a prompt's text, by the folder's own template."""
    messages = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def test_template_of_a_longer_conversation(reference: Path, tmp_path: Path) -> None:
    """A system prompt of one's own, several turns, plain strings as content."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(export(Checkpoint(reference / "checkpoint"), "Text", tmp_path / "out"))
    talk = Conversation("Be brief.").user("one").assistant(" two ").user("three")
    text = tokenizer.apply_chat_template(talk.to_list(), add_generation_prompt=True, tokenize=False)
    assert tokenizer(text, add_special_tokens=False).input_ids == talk.encode(tokenizer, "Text")


def test_configs_tell_the_rope_base_to_every_version(tmp_path: Path) -> None:
    """With either name alone some version of transformers takes base 10000."""
    source = Checkpoint(make_checkpoint(tmp_path / "iaa", Geometry(rope_theta=77777.0)))
    for task, text in (("Text", None), ("G", "text_config")):
        config = json.loads((export(source, task, tmp_path / task) / "config.json").read_text())
        config = config[text] if text else config
        assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 77777.0


def test_dtype_stays_as_stored(tmp_path: Path) -> None:
    """16-bit weights are not converted."""
    source = Checkpoint(make_checkpoint(tmp_path / "iaa", Geometry(), dtype=torch.bfloat16))
    folder = export(source, "Text", tmp_path / "out")
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {t.dtype for f in folder.glob("*.safetensors") for t in load_file(f).values()} == {torch.bfloat16}


def test_nothing_is_overwritten_or_half_written(reference: Path, tmp_path: Path) -> None:
    """A folder with content is refused and left alone; a failing export leaves nothing behind."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        export(Checkpoint(reference / "checkpoint"), "Text", tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["mine.txt"]

    def fail(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(Checkpoint(reference / "checkpoint"), "Text", tmp_path / "new", progress=fail)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_what_stands_beside_the_folder_is_left_alone(reference: Path, tmp_path: Path) -> None:
    beside = [tmp_path / "keep.partial", tmp_path / f"keep.partial-{os.getpid()}"]
    for folder in beside:
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    export(Checkpoint(reference / "checkpoint"), "Text", tmp_path / "keep")
    assert [(folder / "mine.txt").read_text() for folder in beside] == ["mine", "mine"]
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "keep", *beside])


def test_tower_without_its_last_layer(tmp_path: Path) -> None:
    """IAA runs without what lies behind the selected layer; other engines do not."""
    source = make_checkpoint(tmp_path / "iaa", Geometry())
    weights = source / "clip" / "model.safetensors"
    from safetensors.torch import save_file

    save_file({n: t for n, t in load_file(weights).items() if ".layers.2." not in n}, weights)
    checkpoint = Checkpoint(source)
    with pytest.raises(CheckpointError, match="last layers"):
        export(checkpoint, "MM", tmp_path / "out")


def test_command_line(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``iaa export``: one JSON line; a format that the task is not is a clear error."""
    words = ["export", "--model", str(reference / "checkpoint"), "--task", "Text", "--out", str(tmp_path / "out")]
    assert main([*words, "--to", "llama", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "out")
    assert main([*words[:-1], str(tmp_path / "other"), "--to", "llava"]) == 2
    assert "use --to llama" in capsys.readouterr().err
