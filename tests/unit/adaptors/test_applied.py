"""Adaptors at work: on every kind of matrix, next to merged weights; off, and for Text, nothing is different at all."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from make_adaptor import random_adaptor, write_random
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

from iaa_runtime import IAAModel, IAAPipeline
from iaa_runtime.adaptors.file import Adaptor
from iaa_runtime.adaptors.low_rank import LowRankLinear, Update, adapted_blocks
from iaa_runtime.adaptors.merge import merged
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.config import GenerationConfig, Task
from iaa_runtime.errors import InputError
from iaa_runtime.generation import loop
from iaa_runtime.generation.decode import FixedStep, Graphs
from iaa_runtime.generation.drafting import generate_drafted
from iaa_runtime.generation.grammar import BoxGrammar
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.model.linear.base import SpecialLinear
from iaa_runtime.model.linear.fp8 import Fp8Linear
from iaa_runtime.model.linear.fp8_widened import WidenedFp8Linear
from iaa_runtime.model.linear.int4 import Int4Linear
from iaa_runtime.model.linear.int4_packed import PackedInt4Linear
from iaa_runtime.model.linear.int8 import Int8Linear
from iaa_runtime.model.linear.int8_onednn import OneDNNInt8Linear
from iaa_runtime.model.linear.kinds import PLAIN, Kinds, kinds_for
from iaa_runtime.model.linear.onednn import OneDNNLinear
from iaa_runtime.shapes.evaluate import make_exam
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

GEOMETRY = Geometry(hidden_size=128, intermediate_size=192, heads=4, kv_heads=2)
IDS = torch.tensor([[5, 6, -200, 7, 8], [9, 3, -200, 4, 1]])
PIXELS = torch.rand((2, 3, 28, 28), generator=torch.Generator().manual_seed(0))
FORMS: list[tuple[str | None, torch.dtype]] = [
    (None, torch.float32),
    (None, torch.bfloat16),
    ("fp8", torch.float32),
    ("int8", torch.float32),
    ("int8", torch.bfloat16),
    ("int4", torch.float32),
    ("int4", torch.bfloat16),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("applied") / "checkpoint", GEOMETRY)


@pytest.fixture(scope="module")
def adaptor(folder: Path) -> Adaptor:
    return random_adaptor(folder, "G")


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def asked(model: IAAModel, task: str) -> Tensor:
    return model(IDS, PIXELS, task) if task != "Text" else model(IDS.clamp_min(2), None, task)


# On and off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), FORMS, ids=str)
def test_off_is_bit_identical_and_text_always(
    folder: Path, adaptor: Adaptor, precision: Any, dtype: torch.dtype
) -> None:
    model = IAAModel.from_pretrained(folder, dtype, precision=precision)
    before = {task: asked(model, task) for task in ("MM", "G", "Text")}
    mm = random_adaptor(folder, "MM")
    with model.adaptors.using(adaptor, (mm, 0.5)):
        assert not torch.equal(asked(model, "G"), before["G"]) and not torch.equal(asked(model, "MM"), before["MM"])
        assert torch.equal(asked(model, "Text"), before["Text"])
        with model.adaptors.using(adaptor):
            assert torch.equal(asked(model, "MM"), before["MM"]), "G's adaptor is G's alone"
        with model.adaptors.using((adaptor, 0.0)):
            assert torch.equal(asked(model, "G"), before["G"]), "strength 0 is off"
    for task, expected in before.items():
        assert torch.equal(asked(model, task), expected)
    model.adaptors.load(adaptor)
    assert not torch.equal(asked(model, "G"), before["G"])
    model.adaptors.clear()
    assert torch.equal(asked(model, "G"), before["G"])


@pytest.mark.parametrize(("precision", "dtype"), FORMS, ids=str)
def test_every_precision_is_as_near_to_the_merged_weights_as_without(
    folder: Path, adaptor: Adaptor, precision: Any, dtype: torch.dtype
) -> None:
    exact = IAAModel.from_pretrained(folder, torch.float32)
    reference = IAAModel(merged(Checkpoint(folder), [(adaptor, 1.0)]), torch.float32)
    model = IAAModel.from_pretrained(folder, dtype, precision=precision)
    without = relative(asked(model, "G"), asked(exact, "G"))
    with model.adaptors.using(adaptor):
        error = relative(asked(model, "G"), asked(reference, "G"))
    assert error < max(2 * without, 1e-5), (error, without)
    assert relative(asked(reference, "G"), asked(exact, "G")) > 2 * error, "the adaptor is no rounding error"


KINDS: list[type[SpecialLinear]] = [
    Fp8Linear,
    WidenedFp8Linear,
    Int8Linear,
    OneDNNInt8Linear,
    Int4Linear,
    PackedInt4Linear,
    OneDNNLinear,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_is_added_to_every_kind_of_matrix(folder: Path, adaptor: Adaptor, kind: type[SpecialLinear]) -> None:
    """What the kind itself makes of a batch, and of one row, and the update's own product."""
    available = {
        *kinds_for(None, torch.float32, torch.device("cpu")),
        *kinds_for(None, torch.bfloat16, torch.device("cpu")),
        *(k for name in ("fp8", "int8", "int4") for k in kinds_for(name, torch.float32, torch.device("cpu"))),
        Fp8Linear,
        Int8Linear,
        Int4Linear,
    }
    if kind not in available:
        pytest.skip(f"this processor is without what {kind.__name__} needs")
    precision = next((name for name in ("fp8", "int8", "int4") if name in kind.__name__.lower()), None)
    model = IAAModel(Checkpoint(folder), torch.float32, precision=precision, kinds=Kinds.of(kind))
    plain, updates = model.stack("G").blocks[1], adaptor.updates(0.7)
    with model.adaptors.using((adaptor, 0.7)):
        adapted = model.stack("G").blocks[1]
    for rows in (1, 3, 70):
        x = torch.randn((1, rows, 128), generator=torch.Generator().manual_seed(rows))
        for part, name in (("self_attn", "v_proj"), ("mlp", "up_proj")):
            ours, inner = getattr(getattr(adapted, part), name), getattr(getattr(plain, part), name)
            assert isinstance(inner, kind) and ours.inner is inner
            u = updates[f"layers.0.{part}.{name}"]
            expected = inner(x) + u.scale * F.linear(F.linear(x, u.a), u.b)
            torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


def test_what_layers_prepare_together_is_still_prepared_once(folder: Path, adaptor: Adaptor) -> None:
    class Counted(Int8Linear):
        calls = 0

        @classmethod
        def products(cls, layers: Any, x: Tensor) -> list[Tensor]:
            cls.calls += 1
            return super().products(layers, x)

    model = IAAModel(Checkpoint(folder), torch.float32, precision="int8", kinds=Kinds.of(Counted))
    asked(model, "G")
    plain, Counted.calls = Counted.calls, 0
    with model.adaptors.using(adaptor):
        asked(model, "G")
    assert Counted.calls == plain > 0


def test_strengths_add_and_scale(folder: Path, adaptor: Adaptor) -> None:
    model = IAAModel.from_pretrained(folder, torch.float32)
    other = random_adaptor(folder, "G", rank=7, seed=5)
    for chosen in ([(adaptor, 0.4), (other, -1.5)], [(adaptor, 1.0), (adaptor, 0.5)], [(other, 2.0)]):
        reference = IAAModel(merged(Checkpoint(folder), chosen), torch.float32)
        with model.adaptors.using(*chosen):
            assert relative(asked(model, "G"), asked(reference, "G")) < 1e-5
    with model.adaptors.using((adaptor, 1.0), (other, 1.0), (adaptor, -1.0), (other, -1.0)):
        assert relative(asked(model, "G"), asked(IAAModel.from_pretrained(folder), "G")) < 1e-4
    for strength in (float("nan"), float("inf"), "1", None, True):
        with pytest.raises(InputError, match="no strength"):
            model.adaptors.load(adaptor, strength)  # type: ignore[arg-type]
    assert model.adaptors.active == ()


def test_branches_share_one_model(folder: Path, adaptor: Adaptor) -> None:
    plain = IAAModel.from_pretrained(folder, torch.float32)
    expected = asked(plain, "G")
    one, two = plain.adapted(adaptor), plain.adapted((adaptor, -1.0))
    first, second = asked(one, "G"), asked(two, "G")
    assert one.bank("g") is two.bank("g") is plain.bank("g")
    assert not torch.equal(first, second) and torch.equal(asked(plain, "G"), expected)
    assert torch.equal(asked(one, "G"), first) and torch.equal(asked(two, "G"), second)
    plain.unload()
    assert one.loaded_banks == () and torch.equal(asked(one, "G"), first)


def test_a_host_makes_room_and_nothing_stays_on_the_device(folder: Path, adaptor: Adaptor) -> None:
    """Where a host moves weights, updates are on the device while something is computed, and no longer."""
    asked_for: list[int] = []

    def residency(banks: Any, working_bytes: int) -> None:
        asked_for.append(working_bytes)

    model = IAAModel(Checkpoint(folder), torch.bfloat16, residency=residency)
    config, prompts = GenerationConfig.for_task("G", max_new_tokens=2), [Prompt((5, 6))]
    model.answer(prompts, "G", config, [])
    with model.adaptors.using(adaptor):
        model.answer(prompts, "G", config, [])
        gc.collect()
        assert not [left for left in gc.get_objects() if isinstance(left, (Update, LowRankLinear))]
    assert asked_for[-1] - asked_for[0] == adaptor.nbytes // 2


# Generation -----------------------------------------------------------------------------------------------------------


def test_a_captured_step_serves_those_of_the_same_adaptors_alone(folder: Path, adaptor: Adaptor) -> None:
    """Captured steps remember their weights: another adaptor, or none, is another step."""
    eager, captured = (IAAModel.from_pretrained(folder, torch.float32) for _ in range(2))
    captured.steps = Graphs(FixedStep)
    config, prompts = GenerationConfig.for_task("G", max_new_tokens=12), [Prompt((5, 6, 7, 8)), Prompt((9, 3))]
    other = random_adaptor(folder, "G", seed=3)
    answers = []
    for chosen in ([], [adaptor], [(adaptor, 0.5)], [adaptor, other], [other], [other], []):
        said = []
        for model in (eager, captured):
            with model.adaptors.using(*chosen):
                said.append([answer.ids for answer in model.answer(prompts, "G", config, [])])
        assert said[0] == said[1]
        answers.append(said[0])
    assert answers[0] == answers[-1] and answers[4] == answers[5]
    assert len({str(answer) for answer in answers}) == 5


def test_drafting_goes_on_and_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes with a grammar that drafts, and without any: greedy answers are the same."""
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32)
    pictures = [draw_scene(make_scene(seed)) for seed in range(6)]
    calls = []

    def counting(*given: Any) -> None:
        calls.append(given)
        generate_drafted(*given)

    monkeypatch.setattr(loop, "generate_drafted", counting)
    with pipeline.adaptors.using((random_adaptor(DEMO_CHECKPOINT, "G"), 0.5)):
        stack = pipeline.model.stack("G")
        assert any(isinstance(m, LowRankLinear) for b in stack.blocks for m in b.modules())
        drafted = pipeline.ground(pictures, ["the leftmost shape"], threshold=0.0)
        assert calls
        monkeypatch.setattr(BoxGrammar, "draft", lambda *_: [])
        one_by_one = pipeline.ground(pictures, ["the leftmost shape"], threshold=0.0)
    assert [[d.xyxy for d in found] for found in one_by_one] == [[d.xyxy for d in found] for found in drafted]


def test_pictures_seen_are_shared_and_answers_are_not(folder: Path) -> None:
    """The tower is not adapted: features serve with and without adaptors. Nothing that is remembered is mixed."""
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32)
    picture = draw_scene(make_scene(7))
    plain = pipeline.ground(picture, ["the leftmost shape"], threshold=0.0)
    adapted = pipeline.adapted((random_adaptor(DEMO_CHECKPOINT, "G"), 1.0))
    assert adapted.vision_cache is pipeline.vision_cache
    changed = adapted.ground(picture, ["the leftmost shape"], threshold=0.0)
    fresh = IAAPipeline.from_pretrained(dtype=torch.float32).adapted((random_adaptor(DEMO_CHECKPOINT, "G"), 1.0))
    assert changed == fresh.ground(picture, ["the leftmost shape"], threshold=0.0) != plain
    assert pipeline.ground(picture, ["the leftmost shape"], threshold=0.0) == plain
    assert pipeline.identity().keys() == {"model", "dtype", "precision"}
    assert adapted.identity()["adaptors"].endswith(":1") and "adaptors" not in pipeline.identity()


def boxes(pipeline: IAAPipeline, scenes: int) -> list[Sequence[float]]:
    """The box of one phrase in each of some scenes that the demo model never saw."""
    exams = [make_exam(EVALUATION_SEED + number) for number in range(scenes)]
    pictures, phrases = [draw_scene(exam.scene) for exam in exams], [[exam.phrases[0].phrase] for exam in exams]
    found = pipeline.ground(pictures, phrases, several=False, threshold=0.0)
    return [each[0].xyxy for each in found]


@pytest.mark.parametrize(("precision", "dtype"), FORMS[1:], ids=str)
def test_the_demo_finds_the_same_boxes_at_every_precision(precision: Any, dtype: torch.dtype) -> None:
    chosen = (random_adaptor(DEMO_CHECKPOINT, "G"), 0.5)
    expected = boxes(IAAPipeline.from_pretrained(dtype=torch.float32).adapted(chosen), 16)
    found = boxes(IAAPipeline.from_pretrained(dtype=dtype, precision=precision).adapted(chosen), 16)
    overlaps = sorted(iou(one, other) for one, other in zip(found, expected, strict=True))
    assert sum(overlaps) / len(overlaps) >= 0.9, overlaps


# Training -------------------------------------------------------------------------------------------------------------


def test_updates_are_learned_and_nothing_else(folder: Path, adaptor: Adaptor) -> None:
    """Gradients reach A and B through plain and quantized frozen weights, as if the matrix itself were W + s B A."""
    for precision in (None, "int8"):
        kinds = PLAIN if precision is None else Kinds.of(Int8Linear, head=Int8Linear)
        model = IAAModel(Checkpoint(folder), torch.float32, precision=precision, kinds=kinds)
        updates = {
            name: Update(u.a.clone().requires_grad_(), u.b.clone().requires_grad_(), u.scale)
            for name, u in adaptor.updates().items()
        }
        stack = model.stack("G", updates)
        embedded = stack.embed(torch.tensor([[5, 6, 7, 8]]))
        loss = stack.logits(stack.hidden(embedded)).square().mean()
        loss.backward()
        for update in updates.values():
            for learned in (update.a, update.b):
                assert learned.grad is not None and learned.grad.abs().sum() > 0
        frozen = [p for bank in ("base", "g") for p in model.bank(bank).parameters()]
        assert frozen and all(p.grad is None and not p.requires_grad for p in frozen)
        # A step of finite size along a gradient changes the loss as the gradient says.
        name, step = "layers.1.mlp.down_proj", 1e-2
        gradient = updates[name].b.grad
        assert gradient is not None
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                moved = updates[name].b + sign * step * gradient / gradient.norm()
                changed = model.stack("G", updates | {name: Update(updates[name].a, moved, updates[name].scale)})
                losses.append(float(changed.logits(changed.hidden(embedded)).square().mean()))
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.05)


def test_blocks_without_an_update_are_the_models_own(folder: Path) -> None:
    model = IAAModel.from_pretrained(folder, torch.float32)
    blocks: Any = list(model.bank("g").layers)  # type: ignore[union-attr, arg-type]
    made = adapted_blocks(blocks, {"layers.1.self_attn.q_proj": Update(torch.zeros(2, 128), torch.zeros(128, 2))})
    assert made[0] is blocks[0] and made[2] is blocks[2] and made[1] is not blocks[1]
    assert made[1].mlp is blocks[1].mlp and made[1].self_attn.k_proj is blocks[1].self_attn.k_proj
    assert isinstance(made[1].self_attn.q_proj, LowRankLinear) and isinstance(blocks[1].self_attn.q_proj, nn.Module)
    assert not isinstance(blocks[1].self_attn.q_proj, LowRankLinear)


def test_files_are_read_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_random(tmp_path / "it.safetensors", folder, "G")
    model = IAAModel.from_pretrained(folder, torch.float32)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (file, str(file), "~/it.safetensors", (file, 0.5)):
        with model.adaptors.using(given) as chosen:
            assert chosen[0][0].task is Task.G
    with pytest.raises(InputError), model.adaptors.using((file, float("nan"))):
        pass
    for wrong in ([file], (file, 0.5, 1), None, 3):
        with pytest.raises(InputError, match="names no adaptor"), model.adaptors.using(wrong):  # type: ignore[arg-type]
            pass
    assert model.adaptors.active == ()
