"""Checkpoints that are broken, incomplete or something else: what is found, and what is message about it."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
import torch
from make_checkpoint import Geometry, Packing, make_checkpoint
from safetensors.torch import load_file, save_file

from iaa_runtime import IAAModel, IAAPipeline
from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.checkpoint.files import WeightFiles, path_parts
from iaa_runtime.errors import CheckpointError, ConfigError
from iaa_runtime.export.convert import convert

HEAD = "model.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete checkpoint in one file, ready to be spoilt."""
    return make_checkpoint(tmp_path / "checkpoint", packing="single")


def spoil(folder: Path, drop: str = "", **changes: torch.Tensor) -> None:
    """Rewrites the weight file without the names that start with ``drop`` and with some tensors changed."""
    file = folder / "model.safetensors"
    weights = {n: t for n, t in load_file(file).items() if not (drop and n.startswith(drop))}
    save_file(weights | changes, file)


def config(folder: Path, **changes: object) -> None:
    """Rewrites settings of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def complaint(folder: Path, **options: Path) -> str:
    """What is message when the checkpoint is opened."""
    with pytest.raises(CheckpointError) as caught:
        IAAModel.from_pretrained(folder, **options)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in complaint(tmp_path / "nowhere")


def test_a_folder_without_config(tmp_path: Path) -> None:
    assert "no config.json in" in complaint(tmp_path)


def test_a_file_stands_for_its_folder(folder: Path) -> None:
    """As a file dialog or TAB completes it; of weight files, each may be a checkpoint of its own."""
    opened = Checkpoint(folder / "config.json", folder / "clip" / "config.json")
    assert opened.folder == folder and opened.files.files == [folder / "model.safetensors"]
    assert opened.vision == Checkpoint(folder).vision is not None


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\x00"])
def test_broken_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert "config.json" in complaint(folder)


def test_broken_json_of_the_tower(folder: Path) -> None:
    (folder / "clip" / "config.json").write_text("no JSON")
    assert str(Path("clip") / "config.json") in complaint(folder)


def test_another_models_config(folder: Path) -> None:
    config(folder, model_type="llama")
    with pytest.raises(ConfigError, match="'llama' model"):
        Checkpoint(folder)


def test_a_folder_without_weights_says_what_it_holds(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in (message := complaint(folder))
    assert "tokenizer.json" in message


def test_missing_tensors_are_listed_with_what_is_there(folder: Path) -> None:
    spoil(folder, drop="model.condition_layers.1.")
    message = complaint(folder)
    assert "'mm'" in message
    assert "lacks 9 of" in message
    assert "model.condition_layers.1.input_layernorm.weight" in message
    assert "and 5 more" in message
    assert "model.layers (36)" in message


def test_unexpected_tensors_are_listed(folder: Path) -> None:
    config(folder, num_hidden_layers=3, iaa_insert_layers=[0, 1, 2])
    message = complaint(folder)
    assert "9 tensors that config.json does not account for" in message
    assert "model.layers.3." in message


@pytest.mark.parametrize("suffix", ["comfy_quant", "weight_scale", "weight.absmax", "qweight", "config.json"])
def test_weights_that_another_program_quantized_are_called_so(folder: Path, suffix: str) -> None:
    if suffix == "config.json":
        config(folder, quantization_config={"quant_method": "awq"})
    else:
        spoil(folder, **{f"model.layers.0.mlp.up_proj.{suffix}": torch.zeros(3, dtype=torch.uint8)})
    assert re.search(r"quantized by another program \(.*\).* iaa convert", complaint(folder))


def test_tensors_of_no_iaa_checkpoint_are_listed(folder: Path) -> None:
    spoil(folder, **{"transformer.h.0.weight": torch.zeros(2)})
    assert "1 tensors that no IAA checkpoint has: transformer.h.0.weight" in complaint(folder)


def test_wrong_shapes_are_listed_with_both(folder: Path) -> None:
    spoil(folder, **{HEAD: torch.zeros(300, 32)})
    assert f"{HEAD} is [300, 32], not [384, 32]" in complaint(folder)


def test_another_projector_than_the_configs(folder: Path) -> None:
    config(folder, mm_projector_type="linear")
    assert "model.mm_projector.weight" in complaint(folder)
    config(folder, mm_projector_type="resampler")
    with pytest.raises(ConfigError, match="'resampler' is not supported"):
        IAAModel.from_pretrained(folder)


def test_no_language_model(folder: Path) -> None:
    spoil(folder, drop="model.layers.")
    assert "no language model layers" in complaint(folder)


def test_without_an_adaptor_the_other_tasks_run(folder: Path) -> None:
    ids = torch.tensor([[1, 2]])
    expected = IAAModel.from_pretrained(folder)(ids, task="MM")
    for prefix in (
        "model.condition_layers_grounding",
        "model.embed_tokens_condition_grounding",
        "model.mm_projector_G",
    ):
        spoil(folder, drop=prefix)
    spoil(folder, drop="model.norm_condition_grounding")
    spoil(folder, drop="lm_head_condtion_grounding")
    model = IAAModel.from_pretrained(folder)
    assert torch.equal(model(ids, task="MM"), expected)
    with pytest.raises(CheckpointError, match="holds no bank 'g'"):
        model(ids, task="G")
    model.load()
    assert model.loaded_banks == ("base", "text", "mm", "vision")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="shards")
    (folder / "model-00002-of-00003.safetensors").unlink()
    message = complaint(folder)
    assert "lacks 1 of the 3 shards" in message
    assert "model-00002-of-00003.safetensors" in message
    assert "index.json" in message


@pytest.mark.parametrize("number", [1, 3])
def test_a_missing_shard_is_named_without_an_index(tmp_path: Path, number: int) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="shards without index")
    (folder / f"model-0000{number}-of-00003.safetensors").unlink()
    assert f"model-0000{number}-of-00003.safetensors" in complaint(folder)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="shards")
    file = folder / "model-00002-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} cannot be read as safetensors" in complaint(folder)


def test_the_tower_nowhere_names_every_place(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "models" / "checkpoint", tower="none")
    model = IAAModel.from_pretrained(folder)
    assert model(torch.tensor([[1, 2]]), task="Text").shape == (1, 2, 384)
    with pytest.raises(CheckpointError) as caught:
        model.encode_images(torch.zeros(1, 3, 28, 28))
    message = str(caught.value)
    for place in (folder / "missing" / "clip", folder.parent / "missing" / "clip", folder.parent / "clip"):
        assert str(place) in message
    assert f"the weights in {folder}" in message
    assert "Get missing/clip" in message
    assert "vision_tower" in message


def test_a_tower_in_the_shards_without_geometry_says_so(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", tower="shards")
    (folder / "clip" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="which hold a tower, but its geometry"):
        IAAModel.from_pretrained(folder).load("vision")


def test_a_folder_that_the_caller_names_must_hold_the_tower(folder: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in complaint(folder, vision_tower=tmp_path / "nowhere")


ELSEWHERE = [
    "/another/machine/clip",
    "//a.share/on/clip/",
    "\\\\a.share\\on\\clip",
    "\\\\?\\C:\\models\\clip",
    "C:\\models\\clip",
    "C:clip",
    "~/clip",
    "../../models/clip",
    "models\\..\\..\\clip",
]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_tower_in_the_checkpoint_under_the_last_part_of_its_name(folder: Path, name: str) -> None:
    config(folder, mm_vision_tower=name)
    assert Checkpoint(folder).require_vision().image_size == 28
    (folder / "clip").rename(folder.parent / "clip")
    assert Checkpoint(folder).require_vision().image_size == 28


@pytest.mark.parametrize("name", [*ELSEWHERE, "CON", "..", "/", "", "models/clip", "models\\clip"])
def test_no_name_leads_out_of_the_folder_on_any_system(name: str) -> None:
    for system in (PurePosixPath, PureWindowsPath):
        folder = system("D:/models/checkpoint")
        place = folder.joinpath(*path_parts(name))
        assert place.is_relative_to(folder)
        assert ".." not in place.parts


def test_a_config_names_no_place_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = make_checkpoint(tmp_path / "elsewhere" / "home") / "clip"
    monkeypatch.setenv("HOME", str(strange.parent))
    (folder / "clip").rename(folder / "kept")
    (folder / "elsewhere").mkdir()
    for name in (str(strange), "~/clip", "../../elsewhere/home/clip", "elsewhere/../../elsewhere/home/clip"):
        config(folder, mm_vision_tower=name)
        with pytest.raises(CheckpointError, match="Get clip ") as caught:
            Checkpoint(folder).require_vision()
        assert f"{strange} (" not in str(caught.value)


def test_slashes_of_either_kind_lead_to_a_tower_below(folder: Path) -> None:
    (folder / "towers").mkdir()
    (folder / "clip").rename(folder / "towers" / "large")
    for name in ("towers/large", "towers\\large", "./towers/large/"):
        config(folder, mm_vision_tower=name)
        assert Checkpoint(folder).require_vision().image_size == 28


def test_the_shards_of_an_index_lie_beside_it(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    for start in ("/another/machine/", "\\\\a.share\\on\\", "C:", "sub\\", "../"):
        moved = {tensor: start + shard for tensor, shard in content["weight_map"].items()}
        index.write_text(json.dumps(content | {"weight_map": moved}))
        assert {file.parent for file in Checkpoint(folder).files.files} == {folder}


def test_a_tower_with_more_layers_than_its_config_says(folder: Path) -> None:
    file = folder / "clip" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 2}))
    message = complaint(folder)
    assert "16 tensors that config.json does not account for" in message
    assert "encoder.layers.2." in message


def test_a_tower_folder_without_weights(folder: Path) -> None:
    (folder / "clip" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"a config[.]json, but no weights"):
        Checkpoint(folder).require_vision()


def test_a_tower_of_another_width_than_the_projector_takes(folder: Path, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other", Geometry(vision_size=30)) / "clip"
    message = complaint(folder, vision_tower=other)
    assert "30 wide" in message
    assert "expects 24" in message


def test_the_published_tower_needs_no_config_of_its_own(tmp_path: Path) -> None:
    published = Geometry(
        vision_size=1024,
        vision_mlp=4096,
        vision_layers=24,
        vision_heads=16,
        image_size=336,
        layers=1,
        insert_layers=(0,),
    )
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(published.config("openai/clip-vit-large-patch14-336")))
    shapes = {f"model.vision_tower.vision_tower.{n}": s for n, s in published.tower_shapes().items()}
    write_hollow(folder / "model.safetensors", published.language_shapes() | shapes)
    model = IAAModel.from_pretrained(folder)
    assert model.num_image_tokens == 576
    assert model.vision.num_attention_heads == 16


def write_hollow(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of the right size whose data was never written."""
    end, header = 0, {}
    for name, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + end)


def test_a_task_loads_its_own_banks_and_no_other_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="single")
    asked: list[str] = []
    load = WeightFiles.load

    def recording(self, names, *how):  # type: ignore[no-untyped-def]
        for name, tensor in load(self, names, *how):
            asked.append(name)
            yield name, tensor

    monkeypatch.setattr(WeightFiles, "load", recording)
    model = IAAModel.from_pretrained(folder)
    assert asked == []
    model.generate(torch.tensor([[1, 2, 3]]), task="Text", max_new_tokens=2)
    assert asked
    assert [
        name for name in asked if "condition" in name or "condtion" in name or "vision" in name or "mm_" in name
    ] == []
    asked.clear()
    model.generate(torch.tensor([[1, -200, 3]]), torch.zeros(1, 3, 28, 28), task="G", max_new_tokens=2)
    assert all("grounding" in name or "projector_G" in name or name.startswith("vision_model") for name in asked)
    assert len(asked) == len(set(asked))


def test_text_runs_while_the_adaptors_shards_hold_nothing_behind_their_headers(tmp_path: Path) -> None:
    ids = torch.tensor([[1, 2, 3]])
    expected = IAAModel.from_pretrained(make_checkpoint(tmp_path / "whole"))(ids, task="Text")
    folder = make_checkpoint(tmp_path / "hollow", packing="single")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    text = {n: t for n, t in weights.items() if n.startswith(("model.layers.", "model.embed_tokens.", "model.norm."))}
    text["lm_head.weight"] = weights["lm_head.weight"]
    save_file(text, folder / "model-00001-of-00002.safetensors")
    save_file({n: t for n, t in weights.items() if n not in text}, folder / "model-00002-of-00002.safetensors")
    file = folder / "model-00002-of-00002.safetensors"
    model = IAAModel.from_pretrained(folder)
    # Cut off after the header only now: the library compares sizes when it opens a file, so that from here on any
    # opening of this one fails.
    with file.open("r+b") as opened:
        opened.truncate(8 + int.from_bytes(opened.read(8), "little"))
    assert torch.equal(model(ids, task="Text"), expected)
    with pytest.raises(CheckpointError, match="cannot be read"):
        model(ids, task="MM")


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 10**9}, {"num_hidden_layers": 1 << 24, "iaa_insert_layers": list(range(100_000))}],
    ids=["layers", "adaptors"],
)
def test_layers_that_the_weights_cannot_have_are_not_built(folder: Path, changes: dict[str, object]) -> None:
    config(folder, **changes)
    begin = time.process_time()
    with pytest.raises(
        (CheckpointError, ConfigError), match=r"speaks of 16777216 layers|'num_hidden_layers' to 10"
    ) as caught:
        IAAModel.from_pretrained(folder)
    assert time.process_time() - begin < 2 and len(str(caught.value)) < 1000


def test_a_tower_of_more_layers_than_its_weights_is_not_built(folder: Path) -> None:
    file = folder / "clip" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 10_000_000}))
    begin = time.process_time()
    assert "speaks of 10000000 layers in bank 'vision'" in complaint(folder)
    assert time.process_time() - begin < 2


SIZES = ["hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim"]


@pytest.mark.parametrize("name", [*SIZES, "mm_hidden_size"])
@pytest.mark.parametrize("value", [1 << 24, 1 << 25, 10**400])
def test_sizes_that_the_weights_do_not_have_are_refused(folder: Path, name: str, value: int) -> None:
    config(folder, **{name: value})
    begin = time.process_time()
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        IAAModel.from_pretrained(folder)
    assert time.process_time() - begin < 2 and len(str(caught.value)) < 1000


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize(
    "name", [HEAD, "model.layers.1.mlp.up_proj.weight", "model.condition_layers.0.input_layernorm.weight"]
)
def test_whole_numbers_are_no_weights(folder: Path, name: str, dtype: torch.dtype) -> None:
    weight = load_file(folder / "model.safetensors")[name]
    spoil(folder, **{name: weight.to(dtype)})
    message = complaint(folder)
    assert f"1 tensors in dtypes that no weight has: {name} is {str(dtype)[6:]}" in message
    assert "16 or 32 bits" in message


def test_complex_numbers_are_no_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights | {HEAD: weights[HEAD].to(torch.complex64)}, folder / "pytorch_model.bin")
    assert f"{HEAD} is complex64" in complaint(folder)


def test_whole_numbers_are_no_weights_of_the_tower(folder: Path) -> None:
    file = folder / "clip" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layers.0.mlp.fc1.weight"))
    save_file(weights | {name: weights[name].to(torch.int32)}, file)
    assert f"{name} is int32" in complaint(folder)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_converted_checkpoint_holds_whole_numbers_of_its_own_kind(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    converted = convert(Checkpoint(folder), precision, tmp_path / "converted")
    ids = torch.tensor([[1, 2, 3]])
    assert IAAModel.from_pretrained(converted)(ids, task="Text").isfinite().all()
    file, name = converted / "base.safetensors", "model.layers.0.mlp.up_proj.weight"
    weights = load_file(file)
    other = torch.uint8 if weights[name].dtype == torch.int8 else torch.int8
    for wrong in (weights[name].view(other), weights[name].to(torch.float32), weights[name].to(torch.int64)):
        save_file(weights | {name: wrong}, file)
        assert f"{name} is {str(wrong.dtype)[6:]}" in complaint(converted)


@pytest.mark.parametrize("name", ["generation_config.json", "preprocessor_config.json"])
def test_broken_settings_are_told_of(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    assert f"{name} is not valid JSON" in complaint(folder)
    (folder / name).write_text("[]")
    assert f"{name} holds no JSON object" in complaint(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name} is no regular file" in complaint(folder)


@pytest.mark.parametrize(
    "settings", [{"image_mean": 5}, {"size": "336"}, {"do_resize": "yes"}, {"image_std": [1, 0, 1]}]
)
def test_mistyped_settings_of_the_tower_are_told_of(folder: Path, settings: dict[str, object]) -> None:
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=rf"preprocessor_config.json .*'{next(iter(settings))}'"):
        Checkpoint(folder)


@pytest.mark.parametrize("kind", ["a pipe", "/dev/zero"])
def test_a_config_that_never_ends(folder: Path, kind: str) -> None:
    (folder / "config.json").unlink()
    if kind == "a pipe":
        os.mkfifo(folder / "config.json")
    else:
        (folder / "config.json").symlink_to(kind)
    assert "config.json is no regular file" in complaint(folder)


@pytest.mark.parametrize("packing", ["single", "bin", "shards", "shards without index"])
def test_links_that_lead_nowhere_are_named(tmp_path: Path, packing: Packing) -> None:
    """As those of a hub's cache that was emptied, or into a disk that is not there."""
    folder, nowhere = make_checkpoint(tmp_path / "checkpoint", packing=packing), tmp_path / "blobs" / "0123"
    weights = sorted(file.name for suffix in ("*.safetensors", "*.bin") for file in folder.glob(suffix))
    names = ["config.json", "tokenizer.json", "generation_config.json", weights[-1]]
    for file in (folder / name for name in names):
        kept = file.rename(tmp_path / "kept") if file.exists() else None
        file.symlink_to(nowhere)
        with pytest.raises(CheckpointError) as caught:
            IAAPipeline.from_pretrained(folder)
        assert f"{file} is a link to {nowhere}, where nothing is. Fetch" in str(caught.value)
        file.unlink()
        if kept is not None:
            kept.rename(file)
    (tmp_path / "link").symlink_to(nowhere)
    assert "link to" in complaint(tmp_path / "link")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_towers_links_that_lead_nowhere_are_named(folder: Path, tmp_path: Path, name: str) -> None:
    file = folder / "clip" / name
    file.unlink()
    file.symlink_to(tmp_path / "blobs")
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(folder).require_vision()
    assert f"{file} is a link to {tmp_path / 'blobs'}, where nothing is" in str(caught.value)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/clip", "x" * 5000, "a\0b", "/dev/zero"])
def test_names_that_no_folder_has(folder: Path, name: str) -> None:
    assert any(part in complaint(Path(name)) for part in ("There is no checkpoint", "config.json cannot be read"))
    assert "No CLIP vision tower was found" in complaint(folder, vision_tower=Path(name))
    config(folder, mm_vision_tower=name)
    (folder / "clip").rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match="was not found"):
        Checkpoint(folder).require_vision()


def test_banks_come_and_go_alone(folder: Path) -> None:
    model = IAAModel.from_pretrained(folder)
    assert model.loaded_banks == ()
    model.load("g", "base")
    assert model.loaded_banks == ("base", "g")
    before = model(torch.tensor([[5, 6]]), task="G")
    model.unload("g")
    assert model.loaded_banks == ("base",)
    assert torch.equal(model(torch.tensor([[5, 6]]), task="G"), before)
    model.unload()
    assert model.loaded_banks == ()
    with pytest.raises(ConfigError, match=r"no bank 'vqa'[.] The banks are base, text, mm, g, vision"):
        model.load("vqa")


def test_bytes_and_dtypes_by_bank(tmp_path: Path) -> None:
    checkpoint = Checkpoint(make_checkpoint(tmp_path / "checkpoint", dtype=torch.bfloat16))
    assert checkpoint.nbytes("text") == 2 * (2 * 384 * 32 + 32)
    assert checkpoint.dtypes("text") == checkpoint.dtypes("vision") == {"bfloat16"}


def test_an_unsupported_dtype_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"torch.float64 is not supported.*torch.bfloat16"):
        IAAModel.from_pretrained(folder, dtype=torch.float64)
