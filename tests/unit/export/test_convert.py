"""Converted checkpoints: they answer as those quantized while they are opened, and need no quantizing then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, TowerPlace, make_checkpoint
from safetensors.torch import load_file, save_file

from iaa_runtime import IAAModel, IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.cli import main
from iaa_runtime.config import Task
from iaa_runtime.errors import CheckpointError, ConfigError, IAAError, InputError
from iaa_runtime.export import export
from iaa_runtime.export.convert import convert, converted_files
from iaa_runtime.model.linear.kinds import PRECISIONS, QUANTIZED, stored_kinds
from iaa_runtime.model.store import BankStore
from iaa_runtime.shapes.scenes import draw_scene, make_scene

GEOMETRY = Geometry(hidden_size=64, intermediate_size=96, heads=2, kv_heads=1)
IDS, PIXELS = torch.tensor([[5, 6, -200, 7, 8]]), torch.rand((1, 3, 28, 28), generator=torch.Generator().manual_seed(0))


def asked(task: Task) -> tuple[torch.Tensor, torch.Tensor | None, Task]:
    """What a model is called with."""
    return (IDS, PIXELS, task) if task.sees else (IDS.clamp_min(9), None, task)


def forbid_quantizing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every kind of layer fail that rounds a weight."""

    def quantizer(chunks: object) -> None:
        raise AssertionError("a converted checkpoint is not quantized anew")

    for kinds in QUANTIZED.values():
        for kind in kinds:
            monkeypatch.setattr(kind, "quantizer", quantizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tower", ["folder", "shards", "sibling"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_answers_as_if_quantized_while_opened(
    tmp_path: Path, precision: str, tower: TowerPlace, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, wherever it lies, in either dtype, and with no weight rounded a second time."""
    source = make_checkpoint(tmp_path / "deep" / "source", GEOMETRY, tower=tower, dtype=torch.bfloat16)
    made = convert(Checkpoint(source), precision, tmp_path / "converted")
    direct = IAAModel.from_pretrained(source, dtype, precision=precision)
    expected = {task: direct(*asked(task)) for task in Task}
    forbid_quantizing(monkeypatch)
    model = IAAModel.from_pretrained(made, dtype)
    assert model.precision == precision
    for task in Task:
        assert torch.equal(model(*asked(task)), expected[task])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_the_banks_of_the_tasks_are_written(tmp_path: Path, precision: str) -> None:
    made = convert(Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY)), precision, tmp_path / "out", ["G"])
    assert {file.name for file in made.glob("*.safetensors")} == {"base.safetensors", "g.safetensors"}
    model = IAAModel.from_pretrained(made)
    model(IDS, PIXELS, "G")
    with pytest.raises(CheckpointError, match=r"no bank 'mm'.*iaa convert --task"):
        model(IDS, PIXELS, "MM")


def test_what_was_converted_for_text_alone_lacks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = convert(Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY)), "int4", tmp_path / "out", ["Text"])
    assert main(["info", "--model", str(made), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["missing"], list(about["banks"]), list(about["tasks"])) == ([], ["base", "text"], ["Text"])
    model = IAAModel.from_pretrained(made)
    for use in (lambda: model(IDS, PIXELS, "MM"), lambda: model.vision):
        with pytest.raises(CheckpointError, match=r"(no bank 'mm'|nothing that sees).*iaa convert --task"):
            use()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_cast_to_8_bit_floats_are_rounded_like_others(tmp_path: Path, precision: str) -> None:
    folder = make_checkpoint(tmp_path / "source", GEOMETRY)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        cast = {name: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for name, t in tensors.items()}
        save_file(cast, file)
    widened = tmp_path / "widened"
    shutil.copytree(folder, widened)
    for file in widened.glob("*.safetensors"):
        save_file({name: t.float() for name, t in load_file(file).items()}, file)
    made = convert(Checkpoint(folder), precision, tmp_path / "out")
    expected = IAAModel.from_pretrained(widened, precision=precision)
    for model in (IAAModel.from_pretrained(folder, precision=precision), IAAModel.from_pretrained(made)):
        for task in Task:
            assert torch.equal(model(*asked(task)), expected(*asked(task)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_names_and_notes_are_those_of_comfyui(tmp_path: Path, precision: str) -> None:
    """A note for each quantized matrix says its form; its scales are called weight_scale."""
    made = convert(Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY)), precision, tmp_path / "out")
    stored = load_file(made / "base.safetensors")
    prefix = "model.layers.0.mlp.up_proj."
    note = json.loads(stored[f"{prefix}comfy_quant"].numpy().tobytes())
    forms = {"fp8": "float8_e4m3fn", "int8": "int8_tensorwise", "int4": "iaa_int4"}
    assert note == {"format": forms[precision]} | ({"group_size": 32} if precision == "int4" else {})
    assert stored[f"{prefix}weight"].itemsize == 1
    quantized = {name.removesuffix(".comfy_quant") for name in stored if name.endswith(".comfy_quant")}
    assert quantized == {name.removesuffix(".weight_scale") for name in stored if name.endswith(".weight_scale")}
    assert len(quantized) == 7 * GEOMETRY.layers


def test_it_is_as_small_as_info_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--precision", "int4", "--task", "G", "--out", str(tmp_path / "g"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert main(["info", "--model", str(tmp_path / "g"), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["precision"] == "int4" and set(about["tasks"]) == {"G"} and about["missing"] == []
    assert about["tasks"]["G"]["bytes"] == {"int4": pytest.approx(written["bytes"], rel=0.05)}
    assert {tuple(fits["G"]) for fits in about["fits"].values()} == {("int4",)}
    assert main(["info", "--model", str(tmp_path / "g")]) == 0
    assert "converted to int4" in capsys.readouterr().out


def test_the_demo_finds_the_same_boxes(tmp_path: Path) -> None:
    made = convert(Checkpoint(DEMO_CHECKPOINT), "int4", tmp_path / "int4")
    picture = draw_scene(make_scene(26))
    direct = IAAPipeline.from_pretrained(precision="int4").ground(picture, ["the large shapes"])
    assert direct[0]
    assert IAAPipeline.from_pretrained(made).ground(picture, ["the large shapes"]) == direct


@pytest.mark.parametrize("parts", [("adaptor_query", "adaptor_key"), ("adaptor_key",)], ids=" and ".join)
def test_a_folder_that_was_converted_with_more_in_4_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parts: tuple[str, ...]
) -> None:
    """As int4 was before adaptor blocks' queries, and then their keys, stayed in 8: it opens, and answers as it did."""
    source = make_checkpoint(tmp_path / "source", GEOMETRY)
    kept_now = IAAModel.from_pretrained(source, precision="int4")(*asked(Task.G))
    with monkeypatch.context() as before:
        now = QUANTIZED["int4"]
        before.setitem(QUANTIZED, "int4", now._replace(**dict.fromkeys(parts, now.matrix)))
        made = convert(Checkpoint(source), "int4", tmp_path / "made", ["G"])
        expected = IAAModel.from_pretrained(source, precision="int4")(*asked(Task.G))
    key = "model.condition_layers_grounding.0.self_attn.k_proj.weight"
    assert load_file(made / "g.safetensors")[key].dtype == torch.uint8
    assert not torch.equal(kept_now, expected)
    forbid_quantizing(monkeypatch)
    assert torch.equal(IAAModel.from_pretrained(made)(*asked(Task.G)), expected)
    assert main(["info", "--model", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []


def test_no_full_precision_is_made_of_what_was_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ran in int8 without a word."""
    made = convert(Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY)), "int8", tmp_path / "int8")
    asks = ["text", "--prompt", "a", "--max-new-tokens", "1", "--model"]
    assert main([*asks, str(made)]) == main([*asks, str(made), "--precision", "int8"]) == 0
    assert main([*asks, str(tmp_path / "source"), "--precision", "full"]) == 0
    assert main([*asks, str(made), "--precision", "full"]) == 1
    assert "converted to int8, of which nothing else can be made" in capsys.readouterr().err


def test_what_is_refused(tmp_path: Path) -> None:
    source = Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY))
    made = Checkpoint(convert(source, "int8", tmp_path / "int8"))
    with pytest.raises(InputError, match="holds something already"):
        convert(source, "int8", tmp_path / "int8")
    with pytest.raises(ConfigError, match="converted to int8 already"):
        convert(made, "int4", tmp_path / "int4")
    with pytest.raises(ConfigError, match="no precision 'int3'"):
        convert(source, "int3", tmp_path / "int3")
    with pytest.raises(ConfigError, match="converted to int8, of which nothing else"):
        IAAModel(made, precision="int4")
    with pytest.raises(CheckpointError, match="Export from the checkpoint that it was made from"):
        export(made, "G", tmp_path / "llava")
    for precision, problem in (("int4", "lacks|wrong shape"), ("int3", "no precision"), (["int4"], "'iaa_precision'")):
        raw = json.loads((made.folder / "config.json").read_text())
        (made.folder / "config.json").write_text(json.dumps(raw | {"iaa_precision": precision}))
        with pytest.raises((CheckpointError, ConfigError), match=problem):
            IAAModel(Checkpoint(made.folder))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8", "source"]


def test_nothing_is_left_of_one_that_is_cut_short(tmp_path: Path) -> None:
    source = Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY))

    def stop(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, "int4", tmp_path / "out", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX limits the files of a process")
def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    """Here a limit on files, as FAT32 has one; a full disk ends the same way."""
    limited = (
        "import resource, sys; from iaa_runtime.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["convert", "--precision", "int8", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "out cannot be written (File too large); nothing is left of it. Free space" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_loaded_to_a_device_of_its_own(tmp_path: Path, precision: str) -> None:
    """``meta`` stands for any that is not the CPU. The scale of an fp8 weight is a number, which has no rows."""
    made = convert(Checkpoint(make_checkpoint(tmp_path / "source", GEOMETRY)), precision, tmp_path / "out")
    store = BankStore(Checkpoint(made), torch.bfloat16, torch.device("meta"), None, stored_kinds(precision))
    for bank in ("base", "g", "vision"):
        assert {tensor.device.type for tensor in store.load(bank).state_dict().values()} == {"meta"}


@pytest.mark.parametrize("missing", ["tower", "tokenizer"])
def test_what_is_missing_is_named_before_anything_is_written(tmp_path: Path, missing: str) -> None:
    source = make_checkpoint(tmp_path / "source", GEOMETRY)
    if missing == "tower":
        shutil.rmtree(source / "clip")
    else:
        (source / "tokenizer.json").unlink()
    for make in (convert_to_int8, look_at_int8, export_g):
        with pytest.raises(IAAError, match="vision tower" if missing == "tower" else r"tokenizer\.json"):
            make(Checkpoint(source), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def convert_to_int8(source: Checkpoint, out: Path) -> None:
    convert(source, "int8", out)


def look_at_int8(source: Checkpoint, out: Path) -> None:
    """As a dry run does."""
    converted_files(source, "int8")


def export_g(source: Checkpoint, out: Path) -> None:
    def written(file: str) -> None:
        pytest.fail(f"{file} was written first")

    export(source, "G", out, progress=written)


def test_a_projector_that_no_stock_llava_has_is_refused(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", replace(GEOMETRY, projector="mlp3x_gelu"))
    with pytest.raises(CheckpointError, match="'mlp3x_gelu'; a stock LLaVA has"):
        export(Checkpoint(source), "G", tmp_path / "out")
    export(Checkpoint(source), "Text", tmp_path / "text")
