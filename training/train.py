"""Trains the demo model: text first, then the tower, then MM, then G; one command, resumable at any point.

python training/train.py --out DIR [--device cuda]
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

# Large activations come and go at every step; without these glibc returns each to the system and faults it in again.
# glibc looks at them when a process starts, hence the re-exec below.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(2 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

import numpy as np  # noqa: E402
import parts  # noqa: E402
import published  # noqa: E402
import torch  # noqa: E402
from answers import AnswerStage  # noqa: E402
from data import Pictures, draw_pictures, training_scene  # noqa: E402
from dialogues import Script, turn_for  # noqa: E402
from opening import lay_numbers_on_a_curve, look_for_likeness, open_dictionary, speak_up  # noqa: E402
from progress import Progress  # noqa: E402
from tokenizer import build_tokenizer, save_tokenizer  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from tower import LOOKS, OUTPUTS, Batch, dense_loss, fit_label_head, flip, kept_loss, looks_loss  # noqa: E402

from iaa_runtime import IAAModel  # noqa: E402
from iaa_runtime.config import IAAConfig, Task  # noqa: E402
from iaa_runtime.model import ops  # noqa: E402
from iaa_runtime.model.banks import AdaptorBank, BaseBank, HeadBank  # noqa: E402
from iaa_runtime.shapes.scenes import COLORS, KINDS  # noqa: E402
from iaa_runtime.teaching.branching import cpu_attention  # noqa: E402
from iaa_runtime.teaching.loop import Files, LossOf, Schedule, Watch, train  # noqa: E402
from iaa_runtime.text.prompts import CAPTION_PROMPTS, DEFAULT_SYSTEM  # noqa: E402

STAGES = ("pictures", "tokenizer", "text", "tower", "features", "mm", "g", "export")
WORDS = 318
TOWER_BATCH = 64
LOOKS_WEIGHT = 5
"""Of the looks of unnamed things: squares of at most 1, beside a loss of labels of about 0.4 in the end."""
REMEMBERED = 24_000  # pictures whose features are kept for MM and G; they draw fewer scenes than that


@dataclass
class Run:
    """One training run: its folder and size. Its stages pass their results on in files."""

    out: Path
    device: torch.device
    pictures: int
    workers: int
    schedules: dict[str, Schedule]
    scenes: int
    questions: int
    refine: bool
    seed: int = 0
    taken: Path | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The trained tokenizer."""
        tokenizer: Tokenizer = Tokenizer.from_file(str(self.out / "checkpoint" / "tokenizer.json"))
        return tokenizer

    @cached_property
    def config(self) -> IAAConfig:
        """The language model's geometry."""
        return parts.language_config(self.tokenizer.get_vocab_size())

    def bank(self, name: str) -> nn.Module:
        """A bank as its stage left it, frozen."""
        bank = parts.make_bank(name, self.config, self.device)  # type: ignore[arg-type]
        stage = {"base": "text", "vision": "tower"}.get(name, name)
        state = torch.load(self.out / f"{stage}.pt", weights_only=True, map_location=self.device)["module"]
        if name in ("base", "text"):
            state = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
        elif name == "vision":
            state = {key.removeprefix("vision."): v for key, v in state.items() if key.startswith("vision.")}
        bank.load_state_dict(state)
        return bank.requires_grad_(False)

    def take(self, stages: Sequence[str], checkpoint: Path) -> None:
        """Starts stages from a checkpoint: ``text`` and ``tower`` count as done, ``mm`` and ``g`` learn on.

        To refine, the tower learns on, too.
        """
        self.taken = checkpoint
        (self.out / "checkpoint").mkdir(exist_ok=True)
        for file in checkpoint.glob("*token*.json"):
            shutil.copy(file, self.out / "checkpoint")
        model = IAAModel.from_pretrained(checkpoint, torch.float32, ops=ops)  # weights as they are, not packed to run
        for stage in stages:
            if (self.out / f"{stage}.pt").exists():
                continue
            module: nn.Module = nn.ModuleDict()
            if stage == "text":
                module = nn.ModuleDict({"base": model.bank("base"), "text": model.bank("text")})
            elif stage == "tower":
                module = self._tower(model.bank("vision"))
            else:
                module = model.bank(cast(Literal["mm", "g"], stage))
            done = stage == "text" or (stage == "tower" and not self.refine)
            step = self.schedules[stage].steps if done else 0
            state = {"module": module.state_dict(), "step": step, "optimizers": []}
            torch.save(state, self.out / f"{stage}.pt")

    def stage_pictures(self) -> None:
        """Draws the training scenes."""
        draw_pictures(self.out / "pictures", self.pictures, parts.VISION.image_size, self.workers)

    def stage_tokenizer(self) -> None:
        """Learns the tokenizer from samples of prompts and answers."""
        if (self.out / "checkpoint" / "tokenizer.json").exists():
            return
        rng = random.Random(0)
        texts = [DEFAULT_SYSTEM, "system", "user", "assistant", *CAPTION_PROMPTS.values()] * 2000
        for seed in range(4000):
            scene = training_scene(seed)
            for task in Task:
                turn = turn_for(task, scene, rng)
                texts += [turn.question, turn.answer]
        tokenizer = build_tokenizer(texts, WORDS)
        save_tokenizer(tokenizer, self.out / "checkpoint", parts.CONTEXT)

    def _answers(self, task: Task, base: BaseBank, head: HeadBank, questions: int) -> AnswerStage:
        features = np.load(self.out / "features.npy", mmap_mode="r") if task.sees else None
        stack = parts.make_stack(task, self.config, base, head, self.device)
        projector = cast(AdaptorBank, head).projector if task.sees else None
        first = self.tokenizer.token_to_id("000")
        steps = self.schedules[task.stack_bank].steps
        labels = np.load(self.out / "pictures" / "labels.npy") if task.sees else None
        script = Script(self.tokenizer)
        return AnswerStage(
            task, stack, script, first, projector, features, self.scenes, questions, steps, labels, self.refine
        )

    def stage_text(self) -> None:
        """Trains the small Llama, on text alone."""
        base = parts.make_bank("base", self.config, self.device)
        text = parts.make_bank("text", self.config, self.device)
        stage = self._answers(Task.TEXT, cast(BaseBank, base), cast(HeadBank, text), 8)
        self._train("text", nn.ModuleDict({"base": base, "text": text}), stage.loss)

    def _tower(self, vision: nn.Module) -> nn.ModuleDict:
        width = parts.VISION.hidden_size
        heads = {"head": nn.Linear(width, OUTPUTS), "looks_head": nn.Linear(width, 4 * LOOKS * LOOKS)}
        return nn.ModuleDict({"vision": vision} | heads).to(self.device)

    def stage_tower(self) -> None:
        """Trains the vision tower, on patch labels; one that is taken stays near to what it was."""
        if self._steps_done("tower") >= self.schedules["tower"].steps:
            return
        draw_pictures(self.out / "things", self.pictures // 2, parts.VISION.image_size, self.workers, things=True)
        tower = self._tower(parts.make_bank("vision", self.config, self.device))
        pictures, things = (Pictures.open(self.out / name) for name in ("pictures", "things"))
        before = self._taken_tower(pictures) if self.refine and self.taken else None

        def loss(step: int, rng: random.Random) -> tuple[Tensor, dict[str, float]]:
            (pixels, labels, _), (unnamed, unnamed_labels, looks) = (
                self._flipped(which, step, rng) for which in (pictures, things)
            )
            with torch.autocast(self.device.type, torch.bfloat16), cpu_attention(self.device):
                seen = tower["vision"](torch.cat((pixels, unnamed)).contiguous()).float()
            of_shapes, of_things = seen.split((len(pixels), len(unnamed)))
            told, report = dense_loss(of_shapes, tower["head"], labels)
            told_of_things, others = dense_loss(of_things, tower["head"], unnamed_labels)
            looked = looks_loss(of_things, tower["looks_head"], unnamed_labels, cast(Tensor, looks))
            report |= {"iou_with_things": others["iou"], "looks": looked.item()}
            total = (told + told_of_things) / 2 + LOOKS_WEIGHT * looked
            if before is not None:
                with torch.no_grad():
                    was = before(pixels.contiguous())
                kept = kept_loss(of_shapes, was)
                total, report["kept"] = total + kept, kept.item()
            return total, report

        self._train("tower", tower, loss)

    def _steps_done(self, stage: str) -> int:
        file = self.out / f"{stage}.pt"
        return int(torch.load(file, weights_only=True)["step"]) if file.exists() else 0

    def _flipped(self, pictures: Pictures, step: int, rng: random.Random) -> Batch:
        rows = np.array([rng.randrange(len(pictures.labels)) for _ in range(TOWER_BATCH // 2)])
        pixels, labels, looks = flip(pictures.batch(rows), torch.Generator().manual_seed(step))
        return pixels.to(self.device), labels.to(self.device), None if looks is None else looks.to(self.device)

    def _taken_tower(self, pictures: Pictures) -> nn.Module:
        """The tower as it was taken, frozen; before the first step, the head of the labels is fitted to it."""
        assert self.taken is not None
        vision = IAAModel.from_pretrained(self.taken, torch.float32, ops=ops).bank("vision").to(self.device)
        vision.requires_grad_(False)
        if self._steps_done("tower") == 0:
            file = self.out / "tower.pt"
            state = torch.load(file, weights_only=True)
            pixels, labels, _ = pictures.batch(np.arange(min(500, len(pictures.labels))))
            fitted = fit_label_head(vision(pixels.to(self.device)).cpu(), labels)
            state["module"] |= {f"head.{name}": value for name, value in fitted.state_dict().items()}
            torch.save(state, file)
        return vision

    def stage_features(self) -> None:
        """Computes the features of every picture; the tower is frozen from here on."""
        target = self.out / "features.npy"
        if target.exists():
            return
        pictures, vision = Pictures.open(self.out / "pictures"), self.bank("vision")
        shape = (min(len(pictures.labels), REMEMBERED), parts.VISION.num_patches, parts.VISION.hidden_size)
        features = np.lib.format.open_memmap(self.out / "features.part.npy", "w+", np.float16, shape)
        progress = Progress(shape[0], "pictures seen by the tower")
        with torch.no_grad():
            for start in range(0, shape[0], 100):
                pixels, _, _ = pictures.batch(np.arange(start, min(start + 100, shape[0])))
                features[start : start + 100] = vision(pixels.to(self.device)).cpu().numpy()
                progress(min(start + 100, shape[0]))
        features.flush()
        os.replace(self.out / "features.part.npy", target)

    def stage_mm(self) -> None:
        """Trains MM's adaptors, embedding, norm, head and projector, over the frozen base and tower."""
        bank = parts.make_bank("mm", self.config, self.device)
        bank.load_state_dict(self.bank("text").state_dict(), strict=False)
        self._open(cast(AdaptorBank, bank))
        self._train_adaptors(Task.MM, bank)

    def stage_g(self) -> None:
        """Trains G's own adaptors, embedding, norm, head and projector, over the same frozen base and tower.

        They start as MM's, which already find what words mean; from boxes alone, G learned to locate any shape long
        before it chose by the phrase.
        """
        bank = parts.make_bank("g", self.config, self.device)
        bank.load_state_dict(self.bank("mm").state_dict())
        lay_numbers_on_a_curve(cast(HeadBank, bank), self.tokenizer.token_to_id("000"))
        self._train_adaptors(Task.G, bank.requires_grad_(True))

    def _train_adaptors(self, task: Task, bank: nn.Module) -> None:
        stage = self._answers(task, cast(BaseBank, self.bank("base")), cast(HeadBank, bank), self.questions)
        self._train(task.stack_bank, bank, stage.loss)

    def _train(self, name: str, module: nn.Module, loss_of: LossOf) -> None:
        """Trains what a stage learns; its state and the run's curve are in the run's folder."""
        files = Files(self.out / f"{name}.pt", self.out / "curve.jsonl", name)
        told = Watch(on_report=lambda line: logging.getLogger("shapes").info("%s", line))
        train(module, loss_of, self.schedules[name], files, told, self.seed)

    def _open(self, bank: AdaptorBank) -> None:
        features = torch.from_numpy(np.load(self.out / "features.npy", mmap_mode="r")[:500].astype(np.float32))
        labels = torch.from_numpy(np.load(self.out / "pictures" / "labels.npy")[:500])
        head = fit_label_head(features, labels)
        words = {word: self.tokenizer.token_to_id(f"Ġ{word}") for word in (*KINDS, *COLORS)}
        bank.to("cpu")
        speak_up(bank)
        open_dictionary(bank, features.flatten(0, 1), head, words)
        look_for_likeness(bank)
        bank.to(self.device)

    def stage_export(self) -> None:
        """Writes the checkpoint in the published layout."""
        banks = {name: self.bank(name) for name in ("base", "text", "mm", "g", "vision")}
        published.export(self.out / "checkpoint", self.config, banks, self.tokenizer.get_vocab())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; run again to go on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--pictures", type=int, default=80_000, help="training scenes")
    parser.add_argument("--scenes", type=int, default=16, help="scenes a step of MM and G")
    parser.add_argument("--questions", type=int, default=6, help="questions a scene")
    parser.add_argument(
        "--refine",
        nargs="?",
        type=float,
        const=0.2,
        metavar="SHARE",
        help="of weights that are nearly right: a share of the rates (default 0.2)",
    )
    parser.add_argument("--start-from", type=Path, metavar="DIR", help="checkpoint whose weights the run starts from")
    parser.add_argument(
        "--take", nargs="+", choices=("text", "tower", "mm", "g"), default=["text", "tower"], help="what of it"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of what each step draws; another one to go on, for lessons that are new"
    )
    for name, steps in (("text", 1600), ("tower", 3500), ("mm", 6500), ("g", 6500)):
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
    return parser.parse_args()


def main() -> None:
    """Runs the stages that are asked for, in order."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    schedules = {name: Schedule(getattr(arguments, f"{name}_steps")) for name in ("text", "tower", "mm", "g")}
    if arguments.refine is not None:
        schedules = {name: schedule.at(arguments.refine) for name, schedule in schedules.items()}
    run = Run(
        arguments.out,
        torch.device(arguments.device),
        arguments.pictures,
        arguments.threads,
        schedules,
        arguments.scenes,
        arguments.questions,
        arguments.refine is not None,
        arguments.seed,
    )
    if arguments.start_from:
        run.take(arguments.take, arguments.start_from)
    for stage in STAGES:
        if stage in arguments.stages:
            logging.getLogger("shapes").info("stage %s", stage)
            getattr(run, f"stage_{stage}")()


if __name__ == "__main__":
    if not set(_ALLOCATOR) <= set(os.environ):
        import sys

        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _ALLOCATOR)
    main()
