"""The benchmark, one run of ``iaa bench``: what is timed, and against what."""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..config import IMAGE_TOKEN_INDEX, BankName, GenerationConfig, PrecisionName, Task
from ..export import export
from ..generation.memory import Format
from ..generation.prefill import Prompt, prefill
from ..images.preprocess import preprocess
from ..model.dtypes import dtype_name
from ..model.linear.kinds import kinds_for
from ..pipeline.model import IAAModel
from . import precisions, roofline
from .checkpoints import kept_checkpoint
from .choices import PARTS, PEERS, SIZES
from .peak import peak_bytes
from .peers import ANSWERING, Answer, Workload, answers, missing
from .report import describe_machine
from .timing import Clock, interleaved, median_ratio, spread

BANKS_OF_A_CAPTION: tuple[BankName, ...] = ("base", "mm", "vision")

WORDS = tuple(range(10, 50))
"""Token ids that stand for a question of forty words."""
QUESTION = (1, 5, IMAGE_TOKEN_INDEX, *WORDS)
"""That question about an image, whose patches take the place of one of these."""


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes:
        size: of :data:`.choices.SIZES`.
        precision: of the model that all parts but the last one time.
        precisions: those that the last one compares.
        clock: ``"wall"`` or ``"cpu"``.
        peers: of :data:`.choices.PEERS`.
        parts: of :data:`.choices.PARTS`.
        folder: keeps the checkpoint, which otherwise is temporary.
    """

    size: str = "small"
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    precision: PrecisionName | None = None
    precisions: tuple[PrecisionName, ...] = ()
    cuda_graphs: bool = True
    batches: tuple[int, ...] = (1, 4, 8, 16)
    new_tokens: int = 64
    repeats: int = 5
    seed: int = 0
    clock: str = "wall"
    peers: tuple[str, ...] = tuple(PEERS)
    parts: tuple[str, ...] = tuple(PARTS)
    folder: Path | None = None


def room(size: str) -> int:
    """How many tokens the context of a size leaves for a caption; beyond them, engines would do unequal work."""
    made = SIZES[size]
    return made.config.max_position_embeddings - (len(QUESTION) - 1 + made.vision.num_patches)


class Bench:
    """A model of the stated size, its peers, and the workloads."""

    def __init__(self, settings: Settings, folder: Path, log: Callable[[str], None]) -> None:
        self.settings, self.log = settings, log
        self.device = torch.device(settings.device)
        self.clock = Clock(settings.clock, self.device)
        self.machine = roofline.measure_machine(settings.dtype, self.device, self.clock)
        size = SIZES[settings.size]
        self.folder = kept_checkpoint(settings.folder or folder, settings.size, settings.seed, log)
        self.model = self._open(settings.dtype, settings.precision)
        random = torch.Generator().manual_seed(settings.seed)
        side = size.vision.image_size
        self.pixels = torch.randn((max(settings.batches), 3, side, side), generator=random)
        self.memory: dict[str, int | None] = {}
        self.rows: list[dict[str, Any]] = []

    def _open(self, dtype: torch.dtype, precision: Any) -> IAAModel:
        device, graphs = self.settings.device, self.settings.cuda_graphs
        return IAAModel.from_pretrained(self.folder, dtype, device, precision=precision, cuda_graphs=graphs)

    def _format(self, dtype: torch.dtype, precision: str | None) -> Format:
        return Format(dtype, kinds_for(precision, dtype, self.device))

    def add(self, name: str, seconds: list[float], **more: Any) -> dict[str, Any]:
        """Adds a result."""
        row = {"name": name, "seconds": statistics.median(seconds), "spread": spread(seconds)} | more
        self.rows.append(row)
        self.log(f"{name}: {row['seconds']:.4g} s")
        return row

    # Workloads -------------------------------------------------------------------------------------------------------

    def ids(self, rows: int = 1) -> Tensor:
        """A question about an image, (rows, T)."""
        return torch.tensor([QUESTION] * rows)

    def caption(self, rows: int, new_tokens: int) -> Tensor:
        """Vision, prefill and decode; no token ends it early."""
        return self.model.generate(self.ids(rows), self.pixels[:rows], "MM", max_new_tokens=new_tokens)

    def ground(self, phrases: int, image: Tensor) -> None:
        """Grounds so many phrases in one image, given as the tower's features."""
        projected = self.model.project(image, "G")[0]
        prompts = [Prompt((*QUESTION, 60 + n), projected) for n in range(phrases)]
        self.model.answer(prompts, Task.G, GenerationConfig(max_new_tokens=24), ())

    def text(self) -> Tensor:
        """The language model alone."""
        return self.model.generate(torch.tensor([WORDS]), task="Text", max_new_tokens=self.settings.new_tokens)

    # Measurements ----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Peak bytes of the first caption, loading included; then loads each bank and touches all of it.

        Against reading as many bytes of the files from the page cache.
        """
        self.log("captioning once, for its memory …")
        peak = peak_bytes(partial(self.caption, 1, self.settings.new_tokens), self.device)
        banks = [self.model.bank(name) for name in self.model.loaded_banks]
        weights = sum(tensor.nbytes for bank in banks for tensor in bank.state_dict().values())
        self.memory = {"caption": peak, "weights": weights}
        files = sorted(self.folder.rglob("*.safetensors"))
        for bank in BANKS_OF_A_CAPTION:
            stored = self.model.checkpoint.nbytes(bank)
            best = roofline.warm_load_seconds(files, stored)
            self.model.unload(bank)
            took = Clock("wall", self.device).time(partial(self._touch, bank))
            self.add(f"load {bank}", [took], bytes=stored, floor_seconds=best)

    def _touch(self, bank: BankName) -> None:
        for tensor in self.model.bank(bank).state_dict().values():
            if not tensor.is_mkldnn:  # packing has written all of it
                tensor.flatten()[:: max(1, 4096 // tensor.itemsize)].float().sum()

    def steps(self) -> None:
        """Vision, prefill and one decode step, against the machine's roofline."""
        machine, config, model = self.machine, self.model.config, self.model
        form = self._format(self.settings.dtype, self.settings.precision)
        parameters = roofline.block_parameters(config, Task.MM)
        best_step = roofline.decode_bytes(config, Task.MM, form) / machine.memory
        stack = model.stack("MM")
        for batch in self.settings.batches:
            projected = model.encode_images(self.pixels[:batch], "MM")
            prompts = [Prompt(tuple(self.ids()[0].tolist()), image) for image in projected]
            cache, logits = prefill(stack, prompts, 64 * (self.settings.repeats + 1))
            state = model.steps(stack, cache), logits

            def step(state: Any = state) -> None:
                steps, logits = state
                for _ in range(8):
                    logits = steps(logits.argmax(-1))

            runs: dict[str, Callable[[], object]] = {
                "vision": partial(model.vision_features, self.pixels[:batch]),
                "prefill": partial(prefill, stack, prompts, 1),
                "decode": step,
            }
            with torch.no_grad():
                seconds = interleaved(runs, self.settings.repeats, self.clock)
            tokens = batch * prompts[0].length
            self.add(f"vision x{batch}", seconds["vision"])
            self.add(f"prefill x{batch}", seconds["prefill"], floor_seconds=2 * parameters * tokens / machine.matrix)
            self.add(f"decode step x{batch}", [s / 8 for s in seconds["decode"]], floor_seconds=best_step)

    def answers(self) -> None:
        """Captions in batches against single ones, eight phrases against one on a known image, and text."""
        seen = self.model.vision_features(self.pixels[:1])
        new = self.settings.new_tokens
        runs: dict[str, Callable[[], object]] = {
            f"caption x{batch}": partial(self.caption, batch, new) for batch in self.settings.batches
        }
        runs |= {
            "ground 1": partial(self.ground, 1, seen),
            "ground 8": partial(self.ground, 8, seen),
            "text": self.text,
        }
        seconds = interleaved(runs, self.settings.repeats, self.clock)
        for name, values in seconds.items():
            against = {}
            if name.startswith("caption x") and "caption x1" in seconds:
                singles = [int(name.partition("x")[2]) * one for one in seconds["caption x1"]]
                against = {"ratio_to_singles": median_ratio(values, singles)}
            if name == "ground 8":
                against = {"ratio_to_one": median_ratio(values, seconds["ground 1"])}
            self.add(name, values, **against)

    def against_peers(self, folder: Path) -> None:
        """A caption at batch 1, and the language model alone."""
        if not any(peer in ANSWERING and missing(peer) is None for peer in self.settings.peers):
            return
        new, side = self.settings.new_tokens, self.pixels.shape[-1]
        picture = random_picture(side, self.settings.seed)
        pixels = preprocess([picture], side)
        caption = Workload(self.ids()[0].tolist(), new, picture, pixels, self.model.num_image_tokens)
        ours = partial(self.model.generate, self.ids(), pixels, "MM", max_new_tokens=new)
        self._compare(Task.MM, "x1", caption, ours, folder)
        self._compare(Task.TEXT, "text", Workload(list(WORDS), new), self.text, folder)

    def _compare(self, task: Task, name: str, work: Workload, ours: Answer, folder: Path) -> None:
        """Times ours and theirs in turn; the tokens should be the same. The exported task is deleted at the end."""
        self.log(f"exporting {task.value} for the peers …")
        with folder_of_mapped_files(self.log, folder) as exported:
            export(self.model.checkpoint, task.value, exported)
            theirs = answers(self.settings.peers, exported, self.settings.dtype, self.device, work)
            expected = ours()
            seconds = interleaved({"ours": ours} | theirs, self.settings.repeats, self.clock)
            for peer, answer in theirs.items():
                same = torch.equal(answer(), expected)
                ratio = median_ratio(seconds["ours"], seconds[peer])
                self.add(f"{PEERS[peer]} {name}", seconds[peer], ours_to_theirs=ratio, identical_tokens=same)
            del theirs, answer

    def compare_precisions(self, folder: Path) -> None:
        """A prompt and decode steps at each precision, beside plain dtypes and llama.cpp."""
        self.model.unload()
        settings, runs, floors = self.settings, dict[str, precisions.Runs](), dict[str, float]()
        for name, (dtype, precision) in precisions.forms(settings.dtype, self.device, settings.precisions).items():
            self.log(f"opening it in {name} …")
            model = self._open(dtype, precision)
            runs[name] = precisions.runs_of(model, settings.repeats)
            read = roofline.decode_bytes(model.config, Task.MM, self._format(dtype, precision))
            floors[name] = read / self.machine.memory
        if "llama.cpp" in settings.peers and missing("llama.cpp") is None:
            self.log("writing it for llama.cpp …")
            runs |= precisions.runs_of_llama_cpp(self.model.checkpoint, folder, self.device)
        for what, count in precisions.DIVIDED.items():
            with torch.no_grad():
                able = {name: known[what] for name, known in runs.items() if what in known}
                seconds = interleaved(able, settings.repeats, self.clock)
            baselines = [name for name in seconds if precisions.is_baseline(name)]
            for name, values in seconds.items():
                ratios = {other: median_ratio(values, seconds[other]) for other in baselines if other != name}
                floor = {"floor_seconds": floors[name]} if name in floors and what != precisions.PREFILL else {}
                self.add(f"{what}, {name}", [value / count for value in values], ratios=ratios, **floor)


def random_picture(side: int, seed: int) -> Image.Image:
    """A square of random colours."""
    colours = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(colours.numpy())


@contextmanager
def folder_of_mapped_files(log: Callable[[str], None], within: Path | None = None) -> Iterator[Path]:
    """A temporary folder. Windows does not delete files that are mapped, so what maps them is to be dropped inside.

    What still cannot be deleted is told of rather than raised: there are figures to report.
    """
    folder = tempfile.TemporaryDirectory(prefix="iaa-bench-", dir=within, ignore_cleanup_errors=True)
    try:
        yield Path(folder.name)
    finally:
        gc.collect()
        folder.cleanup()
        if Path(folder.name).exists():
            log(f"{folder.name} could not be deleted; do so by hand.")


def run(settings: Settings, log: Callable[[str], None]) -> dict[str, Any]:
    """Runs everything and returns what ``iaa bench --json`` prints."""
    with folder_of_mapped_files(log) as folder:
        return _run(settings, folder, log)


def _run(settings: Settings, folder: Path, log: Callable[[str], None]) -> dict[str, Any]:
    bench = Bench(settings, folder, log)
    parts: dict[str, Callable[[], None]] = {
        "load": bench.load,
        "steps": bench.steps,
        "answers": bench.answers,
        "peers": partial(bench.against_peers, folder),
        "precisions": partial(bench.compare_precisions, folder),
    }
    for part in settings.parts:
        parts[part]()
    return {
        "settings": {**asdict(settings), "dtype": dtype_name(settings.dtype), "folder": None},
        "machine": describe_machine(settings.device) | asdict(bench.machine),
        "memory": bench.memory,
        "rows": bench.rows,
        "notes": [why for peer in settings.peers if _needed(peer, settings) and (why := missing(peer))],
    }


def _needed(peer: str, settings: Settings) -> bool:
    """Whether a part of the run times a peer."""
    return ("peers" if peer in ANSWERING else "precisions") in settings.parts
