"""``iaa annotate``, asked to end in the middle: finished batches are kept, and the end is the same."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from model_server import Exchange, says, serving, stalls
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.pipeline.local import IAAPipeline

COUNT, BATCH = 17, 2


@pytest.fixture
def words(tmp_path: Path, tiny: Path) -> list[str]:
    """Captions of pictures, one of them broken, in shards of three batches and a half."""
    (tmp_path / "many").mkdir()
    for number in range(COUNT):
        Image.new("RGB", (20, 20 + number), (9 * number, 90, 90)).save(tmp_path / "many" / f"{number:02}.png")
    (tmp_path / "many" / "05.png").write_bytes(b"broken")
    sizes = ["--batch", str(BATCH), "--shard-size", "7", "--max-new-tokens", "4"]
    return ["annotate", str(tmp_path / "many"), "--model", str(tiny), "--caption", *sizes, "--out"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_signals_cost_at_most_a_batch_each(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real signals, at random questions; Ctrl-C is the one of a terminal, the other that of ``kill`` and of systems."""
    answer, asked, left = IAAPipeline.answer, [], [10**9]
    assert main([*words, str(tmp_path / "unbroken")]) == 0

    def interrupted(self: IAAPipeline, questions: Any, *more: Any) -> Any:
        asked.extend(questions := list(questions))
        left[0] -= 1
        if left[0] < 0:
            signal.raise_signal(draw.choice((signal.SIGINT, signal.SIGTERM)))
        return answer(self, questions, *more)

    monkeypatch.setattr(IAAPipeline, "answer", interrupted)
    draw, out, said = random.Random(5), tmp_path / "out", []
    for _ in range(3):
        left[0] = draw.randrange(1, 3)
        capsys.readouterr()
        assert main([*words, str(out)]) == 130
        err = capsys.readouterr().err
        (kept,) = re.findall(rf"(\d+) of 17 are kept in {re.escape(str(out))}; the same command goes on", err)
        assert err.rstrip().endswith("Interrupted.")
        said.append(int(kept))
    assert sorted(set(said)) == said and said[0] > 0
    left[0] = 10**9
    assert main([*words, str(out)]) == 0
    err = capsys.readouterr().err
    assert f"Going on with {out}: {said[-1]} of 17 images are there." in err and f"{said[-1]} of 17 images\n" in err
    assert COUNT - 1 <= len(asked) <= COUNT - 1 + 3 * BATCH  # nothing is asked of the broken one
    assert contents(out) == contents(tmp_path / "unbroken")


def test_with_a_server_too(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def interrupts(exchange: Exchange, body: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stalls("Fi")(exchange, body)

    fine = says("Fine", ".", "<|eot_id|>")
    with serving("iaa-mm") as server:
        here = [*words[:2], *words[4:], str(tmp_path / "out"), "--server", server.url]
        server.behaves(*[fine] * 9, interrupts, fine)
        assert main(here) == 130
        before = len(server.bodies)
        assert "kept in" in capsys.readouterr().err and before <= 9 + 1 + BATCH
        assert main(here) == 0
        assert len(server.bodies) <= COUNT - 1 + BATCH
    records = [json.loads(line) for path in sorted((tmp_path / "out").glob("shard-*")) for line in path.open()]
    assert [Path(record["image"]).stem for record in records] == [f"{number:02}" for number in range(COUNT)]
    assert [record.get("caption") for record in records] == ["Fine."] * 5 + [None] + ["Fine."] * 11
