"""Adaptors merged into the weights: exported tasks and converted checkpoints answer as the model with them does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from make_adaptor import random_adaptor, write_random
from make_checkpoint import Geometry, make_checkpoint
from safetensors.torch import load_file, save_file
from stock_models import read_weights

from iaa_runtime import IAAModel
from iaa_runtime.adaptors.base import base_fingerprint
from iaa_runtime.adaptors.merge import merged
from iaa_runtime.checkpoint.checkpoint import MERGED, Checkpoint
from iaa_runtime.cli import main
from iaa_runtime.config import Task
from iaa_runtime.errors import AdaptorError, ConfigError
from iaa_runtime.export import export
from iaa_runtime.export.convert import convert
from iaa_runtime.text.conversation import IMAGE_TOKEN
from iaa_runtime.text.tokenizer import load_tokenizer, token_id

GEOMETRY = Geometry(hidden_size=128, intermediate_size=192, heads=4, kv_heads=2)
IDS, PIXELS = torch.tensor([[5, 6, -200, 7, 8]]), torch.rand((1, 3, 28, 28), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("merge") / "checkpoint", GEOMETRY)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("task", ["MM", "G"])
def test_stock_transformers_compute_the_same_from_an_export(folder: Path, tmp_path: Path, task: str) -> None:
    from transformers import LlavaForConditionalGeneration

    chosen = [(random_adaptor(folder, task), 1.0), (random_adaptor(folder, task, seed=2), -0.5)]
    model = IAAModel.from_pretrained(folder, torch.float32)
    out = export(merged(model.checkpoint, chosen), task, tmp_path / "out")
    stock = LlavaForConditionalGeneration.from_pretrained(out).eval()
    image = token_id(load_tokenizer(folder), IMAGE_TOKEN)
    row = [t for i in IDS[0].tolist() for t in ([image] * model.num_image_tokens if i == -200 else [i])]
    with torch.no_grad():
        theirs = stock(input_ids=torch.tensor([row]), pixel_values=PIXELS).logits
    plain = model(IDS, PIXELS, task)
    with model.adaptors.using(*chosen):
        ours = model(IDS, PIXELS, task)
    assert relative(theirs, ours) < 1e-5 < relative(ours, plain)


def test_a_converted_checkpoint_has_it_and_is_another_base(folder: Path, tmp_path: Path) -> None:
    adaptor, source = random_adaptor(folder, "G"), Checkpoint(folder)
    made = convert(merged(source, [(adaptor, 1.0)]), "int8", tmp_path / "int8")
    model = IAAModel.from_pretrained(made, torch.float32)
    exact, reference = (
        IAAModel(source, torch.float32),
        IAAModel.from_pretrained(folder, torch.float32, precision="int8"),
    )
    with exact.adaptors.using(adaptor):
        expected = exact(IDS, PIXELS, "G")
    without = relative(reference(IDS, PIXELS, "G"), IAAModel(source, torch.float32)(IDS, PIXELS, "G"))
    assert relative(model(IDS, PIXELS, "G"), expected) < 2 * without
    for task in ("MM", "Text"):
        asked = (IDS, PIXELS, task) if task == "MM" else (IDS.clamp_min(1), None, task)
        assert torch.equal(model(*asked), reference(*asked)), "what it does not update is as without"
    assert base_fingerprint(model.checkpoint, Task.G) != adaptor.base
    assert json.loads((made / "config.json").read_text())["iaa_merged_adaptors"] == [[adaptor.digest, 1.0]]
    with pytest.raises(AdaptorError, match="another model"):
        model.adaptors.load(adaptor)


def test_it_works_beside_a_converted_checkpoint(folder: Path, tmp_path: Path) -> None:
    """An adaptor that was taught on the full weights fits the folder made of them, and is not merged into that."""
    adaptor = random_adaptor(folder, "G")
    made = convert(Checkpoint(folder), "int4", tmp_path / "int4", ["G"])
    ours = IAAModel.from_pretrained(made, torch.float32)
    direct = IAAModel.from_pretrained(folder, torch.float32, precision="int4")
    with ours.adaptors.using(adaptor), direct.adaptors.using(adaptor):
        assert torch.equal(ours(IDS, PIXELS, "G"), direct(IDS, PIXELS, "G"))
    with pytest.raises(ConfigError, match="converted to int4: nothing can be merged"):
        merged(Checkpoint(made), [(adaptor, 1.0)])


def test_nothing_chosen_changes_nothing(folder: Path) -> None:
    source = Checkpoint(folder)
    assert merged(source, []) is source and merged(source, [(random_adaptor(folder, "G"), 0.0)]) is source


def test_the_commands_merge_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_random(tmp_path / "it.safetensors", folder, "G")
    model = ["--model", str(folder), "--adaptor", f"{file}:0.5"]
    assert main(["export", *model, "--task", "G", "--to", "llava", "--out", str(tmp_path / "llava")]) == 0
    chosen = [(random_adaptor(folder, "G"), 0.5)]
    expected = read_weights(export(merged(Checkpoint(folder), chosen), "G", tmp_path / "expected"))
    noted = [json.loads((tmp_path / name / "config.json").read_text()).get(MERGED) for name in ("llava", "expected")]
    assert noted == [[[adaptor.digest, strength] for adaptor, strength in chosen]] * 2
    written, plain = read_weights(tmp_path / "llava"), read_weights(export(Checkpoint(folder), "G", tmp_path / "plain"))
    assert MERGED not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in written.items())
    assert sum(not torch.equal(tensor, plain[name]) for name, tensor in written.items()) == 7 * 3
    assert main(["convert", *model, "--precision", "int8", "--task", "G", "--out", str(tmp_path / "int8")]) == 0
    merged_in = load_file(tmp_path / "int8" / "g.safetensors")
    convert(merged(Checkpoint(folder), chosen), "int8", tmp_path / "again", ["G"])
    assert all(torch.equal(t, merged_in[n]) for n, t in load_file(tmp_path / "again" / "g.safetensors").items())
    capsys.readouterr()
    for command, problem in (
        (["export", *model, "--task", "MM", "--to", "llava"], "for task G, and what is asked here is MM"),
        (["convert", *model, "--precision", "int8", "--task", "Text"], "for task G, and what is asked here is Text"),
    ):
        assert main([*command, "--out", str(tmp_path / "refused")]) == 1
        assert problem in capsys.readouterr().err and not (tmp_path / "refused").exists()


def test_gguf_holds_it(folder: Path, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    from iaa_runtime.export.gguf import export_gguf

    source, adaptor = Checkpoint(folder), random_adaptor(folder, "G")
    read = {}
    for name, checkpoint in (("plain", source), ("merged", merged(source, [(adaptor, 1.0)]))):
        out = export_gguf(checkpoint, "G", tmp_path / name, "f32")
        reader = gguf.GGUFReader(out / "iaa-g-f32.gguf")
        read[name] = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    changed = [n for n, tensor in read["merged"].items() if not torch.equal(tensor, read["plain"][n])]
    assert len(changed) == 7 * 3
    pair, scale = adaptor.pairs["layers.0.mlp.down_proj"], adaptor.alpha / adaptor.rank
    difference = read["merged"]["blk.1.ffn_down.weight"] - read["plain"]["blk.1.ffn_down.weight"]
    torch.testing.assert_close(difference, scale * pair.b @ pair.a, atol=1e-6, rtol=1e-4)


def test_info_tells_what_is_merged(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a converted checkpoint as of one that an adaptor is put on as it is read."""
    file = write_random(tmp_path / "cat.safetensors", folder, "G")
    out = tmp_path / "int8"
    assert (
        main(["convert", "--model", str(folder), "--precision", "int8", "--adaptor", f"{file}:0.5", "--out", str(out)])
        == 0
    )
    digest = random_adaptor(folder, "G").digest
    capsys.readouterr()
    assert main(["info", "--model", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["merged_adaptors"] == [{"digest": digest, "strength": 0.5}]
    assert main(["info", "--model", str(out)]) == 0
    assert f"merged: adaptor {digest} at strength 0.5" in capsys.readouterr().out
    assert main(["info", "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["merged_adaptors"] == []


def test_what_is_merged_into_one_task_leaves_the_other_its_adaptors(folder: Path, tmp_path: Path) -> None:
    first, second = random_adaptor(folder, "G"), random_adaptor(folder, "MM")
    made = convert(merged(Checkpoint(folder), [(first, 1.0)]), "int8", tmp_path / "int8")
    model, plain = IAAModel.from_pretrained(made), IAAModel.from_pretrained(folder, precision="int8")
    with model.adaptors.using(second), plain.adaptors.using(second):
        assert torch.equal(model(IDS, PIXELS, "MM"), plain(IDS, PIXELS, "MM"))
    both = merged(merged(Checkpoint(folder), [(first, 1.0)]), [(second, 0.5)])
    assert both.config_raw[MERGED] == [[first.digest, 1.0], [second.digest, 0.5]]
    for adaptor in (first, second):
        with pytest.raises(AdaptorError, match="another model"):
            adaptor.check_fits(both)
    out = export(both, "MM", tmp_path / "mm")
    assert json.loads((out / "config.json").read_text())[MERGED] == [[second.digest, 0.5]], "the other is not in it"


def test_weights_cast_to_8_bit_floats_keep_what_is_merged_into_them(folder: Path, tmp_path: Path) -> None:
    """Rounded back to 8 bits, most of an update would be gone; and stock transformers opens the export."""
    from transformers import LlavaForConditionalGeneration

    cast = tmp_path / "cast"
    shutil.copytree(folder, cast)
    for file in cast.glob("*.safetensors"):
        save_file({n: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for n, t in load_file(file).items()}, file)
    adaptor = random_adaptor(cast, "G")
    out = export(merged(Checkpoint(cast), [(adaptor, 0.05)]), "G", tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    exported, plain = read_weights(out), read_weights(export(Checkpoint(cast), "G", tmp_path / "plain"))
    assert {tensor.dtype.itemsize for tensor in exported.values()} <= {2, 4}
    LlavaForConditionalGeneration.from_pretrained(out)
    changed = [name for name, tensor in exported.items() if not torch.equal(tensor, plain[name])]
    assert len(changed) == 7 * 3
    shares = [float((exported[name] != plain[name]).float().mean()) for name in changed]
    assert min(shares) > 0.7
