"""Several processes share the steps of one run: they learn what one learns, and write once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launched import TWO_PROCESSES, workers
from PIL import Image
from safetensors.torch import load_file

from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.cli import main
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.errors import InputError
from iaa_runtime.jobs.process_group import ProcessGroup
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.lessons import Row
from iaa_runtime.teaching.losses import Memory
from iaa_runtime.teaching.objective import shares_of
from iaa_runtime.teaching.teach import teach

LEARNING = """
import pathlib, random, sys, torch
from iaa_runtime.jobs.process_group import join_process_group
from iaa_runtime.teaching.loop import Files, HeldOut, Schedule, Watch, train

group, here = join_process_group("cpu"), pathlib.Path(sys.argv[1])
torch.manual_seed(0)
module = torch.nn.Linear(4, 3)

def loss_of(step, rng):
    # Seven rows of two processes are four and three; of one row, one process has none.
    rows = [[rng.random() for _ in range(4)] for _ in range(1 if step == 2 else 7)]
    own = group.share(rows)
    if not own:
        return torch.zeros(()), {}
    return module(torch.tensor(own)).square().mean() * (len(own) / len(rows)), {}

files = Files(here / f"state of {group.world_size}.pt", here / f"curve of {group.world_size}.jsonl", "it")
watch = Watch(report_every=2, save_every=3, held_out=lambda: HeldOut([1.0], {}))
train(module, loss_of, Schedule(6, None, 0.1, warmup=1), files, watch, group=group)
torch.save(module.state_dict(), here / f"{group.rank} of {group.world_size}.pt")
group.leave()
"""


@pytest.fixture(autouse=True)
def with_accelerate() -> None:
    pytest.importorskip("accelerate")


def launch(words: list[str], project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], env=environment(project), capture_output=True, text=True, timeout=300, cwd=project
    )


def environment(project: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}


def test_two_processes_take_the_steps_that_one_takes(tmp_path: Path, project: Path) -> None:
    (tmp_path / "learning.py").write_text(LEARNING)
    for words in ([], TWO_PROCESSES):
        done = launch([*words, str(tmp_path / "learning.py"), str(tmp_path)], project)
        assert done.returncode == 0, done.stderr
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("0 of 1", "0 of 2", "1 of 2"))
    for name in alone:
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone[name], rtol=1e-4, atol=1e-5)
    curves = [
        [json.loads(line) for line in (tmp_path / f"curve of {count}.jsonl").read_text().splitlines()]
        for count in (1, 2)
    ]
    assert [line["step"] for line in curves[1]] == [2, 4, 6]
    for own, shared in zip(*curves, strict=True):
        assert shared["loss"] == pytest.approx(own["loss"], abs=2e-5)


def data(folder: Path) -> Path:
    """Six pictures of one shape, which is called the mascot."""
    rows = []
    for number in range(6):
        scene = make_scene(5_000 + number, shapes=1, long_side=120)
        picture = draw_scene(scene)
        picture.save(folder / f"{number}.png")
        rows.append({"sent_id": number, "expression": "the mascot", "img_path": f"{number}.png"})
        rows[-1] |= {"bbox": list(scene.shapes[0].box), "width": picture.width, "height": picture.height}
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def command(folder: Path, steps: int) -> list[str]:
    words = ["teach", str(data(folder)), "--task", "G", "--steps", str(steps), "--batch", "2", "--rank", "2", "--json"]
    return [*words, "--device", "cpu", "--dtype", "fp32", "--quiet", "--out"]


def test_two_processes_learn_what_one_learns(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, (alone, shared) = command(tmp_path, 12), (tmp_path / f"{name}.safetensors" for name in ("alone", "shared"))
    done = launch([*TWO_PROCESSES, "-m", "iaa_runtime", *words, str(shared)], project)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # one process talks
    assert told["adaptor"] == str(shared) and not (tmp_path / "shared.safetensors.parts").exists()
    assert read_adaptor(shared).task is Task.G

    assert main([*words, str(alone)]) == 0
    assert json.loads(capsys.readouterr().out)["before"] == told["before"]
    files = [load_file(file) for file in (alone, shared)]
    learned = [name for name in sorted(files[0]) if "lora_B" in name]  # the others start as drawn, and hardly move
    ours, theirs = (torch.cat([file[name].float().flatten() for name in learned]) for file in files)
    # 0.986, as means over tokens are taken by each alone; 0.70 where gradients were not summed.
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.95


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a launcher's processes are found in /proc")
def test_two_processes_one_of_them_killed_go_on_to_the_same_file(tmp_path: Path, project: Path) -> None:
    words = [*TWO_PROCESSES, "-m", "iaa_runtime", *command(tmp_path, 60)]
    whole, broken = (tmp_path / f"{name}.safetensors" for name in ("whole", "broken"))
    assert launch([*words, str(whole)], project).returncode == 0
    state = tmp_path / "broken.safetensors.parts" / "state.pt"
    with subprocess.Popen(
        [sys.executable, *words, str(broken)], env=environment(project), stderr=subprocess.DEVNULL, cwd=project
    ) as launcher:
        while not state.exists():
            assert launcher.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        os.kill(workers(launcher.pid)[1], signal.SIGKILL)
        assert launcher.wait(60) != 0
    assert state.exists() and not broken.exists()
    assert launch([*words, str(broken)], project).returncode == 0
    assert broken.read_bytes() == whole.read_bytes()


def test_more_processes_than_pictures_are_refused(tmp_path: Path) -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    picture = Example(Image.new("RGB", (60, 40)), "the mascot", ((1, 1, 20, 20),))
    with pytest.raises(InputError, match=r"3 processes cannot share 2 pictures a step.*--batch 3"):
        teach(
            pipeline, [picture] * 2, TeachSettings(batch=2), tmp_path / "a.safetensors", group=ProcessGroup(1, 3, "cpu")
        )


def test_what_is_new_and_what_is_known_weigh_as_much_however_they_are_shared_out() -> None:
    """Half of a batch's views have nothing known: whole losses by rows would have weighed that less."""
    memory = Memory(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1))
    rows = [Row(view, (1,), (2,), memory=memory if known else None) for view in range(8) for known in (False, view > 3)]
    for processes in (1, 2, 3, 8):
        shares = []
        for rank in range(processes):
            views = ProcessGroup(rank, processes).share(range(8))
            shares.append(shares_of([row for row in rows if row.view in views], rows))
        taught, known = (sum(parts) for parts in zip(*shares, strict=True))
        assert taught == pytest.approx(1) and known == pytest.approx(1)
