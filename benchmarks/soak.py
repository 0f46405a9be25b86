"""A real ComfyUI for hours: prompts over HTTP, interrupted, freed and deleted at random; what fails, leaks or changes.

    python benchmarks/soak.py [--prompts 2000] [--cache default none lru] [--seed 0] [--json FILE]

The demo model answers, so that the truth is known to stay the same: equal graphs must give equal answers, whatever
happened in between. Memory's slope is that of the second half of the prompts, by least squares; the first fills caches.
ComfyUI's history, which grows by design (10,000 prompts with what they showed), is cleared on the way.
Linux only (/proc). It needs what the tests of nodes need: a ComfyUI, and websocket-client.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK / "tests"))

from comfyui_server import Graph, Run, Server, find_comfyui, link_pack, node, running  # noqa: E402

CACHES = {"default": [], "none": ["--cache-none"], "lru": ["--cache-lru", "10"], "classic": ["--cache-classic"]}
PHRASES = ("the star", "the red circle\nthe blue square", "the largest shape")
QUESTIONS = ("What is the opposite of left?", "What is two plus three?")
SAMPLE_EVERY = 20
"""Prompts between two looks at the process."""


def graph_of(chance: random.Random) -> Graph:
    """One of some dozens of graphs: they come again, and share parts."""
    kind, seed = chance.choice(("ground", "caption", "text", "chat", "boxes")), chance.randrange(3)
    graph: Graph = {
        "loader": node("IAA_Loader", checkpoint="demo (coloured shapes)", keep_loaded=chance.random() < 0.5),
        "scene": node("IAA_DemoScene", seed=seed, width=240, height=200, count=1 + seed),
    }
    seeing = {"model": ["loader", 0], "image": ["scene", 0]}
    if kind == "text":
        graph = {"loader": graph["loader"]}
        graph["said"] = node("IAA_Text", model=["loader", 0], prompt=chance.choice(QUESTIONS), max_new_tokens=12)
    elif kind == "chat":
        graph["scene"]["inputs"]["count"] = 1  # a conversation is about one picture
        graph["said"] = node("IAA_Chat", **seeing, message="What shapes are there?", max_new_tokens=24)
    elif kind == "caption":
        graph["said"] = node("IAA_Caption", **seeing, max_new_tokens=32)
    else:
        graph["said"] = node("IAA_Ground", **seeing, phrases=chance.choice(PHRASES), max_new_tokens=64)
    if kind == "boxes":
        graph["mask"] = node("IAA_BoxesToMask", bboxes=["said", 0], image=["scene", 0])
        graph["crop"] = node("IAA_CropBoxes", image=["scene", 0], bboxes=["said", 0], size=128)
        graph["seen"] = node("PreviewImage", images=["crop", 0])
    return graph


def answer_of(run: Run) -> str:
    """What was said and found, without the names of preview files."""
    shown = run.outputs.get("said", {})
    return json.dumps({key: shown.get(key) for key in ("text", "iaa_boxes")}, sort_keys=True)


@dataclass
class Report:
    """What one cache came to.

    Attributes:
        ended: how prompts ended.
        wrong: errors that nobody asked for.
        repeated: answers that came before.
        changed: those among them that were others then.
        samples: (prompts, bytes, threads, open files) of the process.
        idle: seconds from an interrupt to an idle queue.
    """

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0
    changed: int = 0
    samples: list[tuple[int, int, int, int]] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)

    def slopes(self) -> tuple[float, float, float]:
        """Megabytes, threads and open files more for every 100 prompts, in the second half."""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 2:
            return (0.0, 0.0, 0.0)
        at = [prompt for prompt, *_ in late]
        memory, threads, files = (
            100 * statistics.linear_regression(at, [sample[column] for sample in late]).slope for column in (1, 2, 3)
        )
        return memory / 1e6, threads, files

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        memory, threads, files = self.slopes()
        return {
            "ended": dict(self.ended),
            "wrong": self.wrong,
            "repeated": self.repeated,
            "changed": self.changed,
            "megabytes_per_100": memory,
            "threads_per_100": threads,
            "files_per_100": files,
            "slowest_idle_seconds": max(self.idle, default=0.0),
        }


def soak(server: Server, prompts: int, seed: int) -> Report:
    """Runs prompts, of which some are interrupted, some deleted from the queue, and memory freed between some."""
    report, chance, known = Report(), random.Random(seed), dict[str, str]()
    for number in range(prompts):
        if number % SAMPLE_EVERY == 0:
            server.client.post("/history", {"clear": True})
            place = Path("/proc") / str(server.process.pid)
            counts = (len(os.listdir(place / part)) for part in ("task", "fd"))
            report.samples.append((number, server.memory(), *counts))  # type: ignore[arg-type]
            print(f"{number}: {report.samples[-1][1] / 1e6:.0f} MB", file=sys.stderr, flush=True)
        graph, act = graph_of(chance), chance.random()
        if act < 0.04:
            server.client.post("/free", {"unload_models": True, "free_memory": chance.random() < 0.5})
        elif act < 0.08:
            delete_from_queue(server, [graph_of(chance) for _ in range(3)])
        interrupted = act > 0.88
        press = threading.Timer(chance.uniform(0.0, 0.6), interrupt, (server, report))
        if interrupted:
            press.start()
        run = server.client.run(graph)
        if interrupted:
            press.join()  # it may come too late for this prompt, but must not meet the next
        report.ended[run.status] += 1
        if run.status == "error" or (run.status == "interrupted" and not interrupted):
            report.wrong.append(f"prompt {number}: {run.status} {run.error}")
        if run.status == "success":
            key, answer = json.dumps({k: v["inputs"] for k, v in graph.items() if k != "loader"}), answer_of(run)
            if key in known:
                report.repeated += 1
                report.changed += known[key] != answer
            known.setdefault(key, answer)
    return report


def interrupt(server: Server, report: Report) -> None:
    """Presses Cancel and waits until nothing runs."""
    begin = time.monotonic()
    server.client.interrupt()
    while server.client.get_json("/queue")["queue_running"] and time.monotonic() - begin < 60:
        time.sleep(0.02)
    report.idle.append(time.monotonic() - begin)


def delete_from_queue(server: Server, graphs: list[Graph]) -> None:
    """Queues graphs and deletes those that wait; waits for the one that runs."""
    for graph in graphs:
        server.client.post("/prompt", {"prompt": graph, "client_id": "soak"})
    server.client.post("/queue", {"clear": True})
    while server.client.get_json("/prompt")["exec_info"]["queue_remaining"]:
        time.sleep(0.02)


def main() -> int:
    """Soaks under each cache and prints a table; exit status 1 where something was wrong."""
    parser = argparse.ArgumentParser(description="A ComfyUI for hours: what fails, leaks or changes.")
    parser.add_argument("--prompts", type=int, default=2000, help="under each cache (default 2000)")
    parser.add_argument("--cache", choices=CACHES, nargs="+", default=["default", "none", "lru"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    comfyui = find_comfyui(PACK)
    if comfyui is None:
        parser.error("no ComfyUI was found: set COMFYUI_PATH to one that can run")
    rows: dict[str, dict[str, Any]] = {}
    for cache in options.cache:
        with tempfile.TemporaryDirectory() as base:
            link_pack(PACK, Path(base))
            with running(comfyui, Path(base), *CACHES[cache]) as server:
                rows[cache] = soak(server, options.prompts, options.seed).as_dict()
        print(f"{cache}: {json.dumps(rows[cache])}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"prompts": options.prompts, "caches": rows}, indent=1) + "\n")
    return int(any(row["wrong"] or row["changed"] or row["megabytes_per_100"] >= 1 for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
