"""What ComfyUI's users have: answers on a GPU of which little is free, beside one of which all is.

    python benchmarks/small_card.py FOLDER [--size full] [--weights int4 …] [--free 8 12] [--classic] [--json FILE]

ComfyUI is the one that the tests find (COMFYUI_PATH), started anew for each row with its dynamic VRAM management, or
without it (``--classic``). A process beside it takes the card's memory but for so many GB. The checkpoint, random
weights in FOLDER/SIZE, is written once and converted for G once. Each of three pictures is asked for a phrase, so that
the tower runs each time; seconds are the least of the last two. A larger card than its users' moves weights faster than
theirs: what is shown is that it works, and how little memory it takes.
ComfyUI has one thread of the processor, as in tests, so the first answer is slower than on a machine of one's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from comfyui_server import Client, find_comfyui, link_pack, node, running

from iaa_runtime.bench.checkpoints import kept_checkpoint
from iaa_runtime.shapes.scenes import draw_scene, make_scene

PROJECT = Path(__file__).resolve().parents[1]
GIGABYTE = 10**9
BALLAST = """
import sys, torch
room = int(sys.argv[1])
held = [torch.zeros(max(0, torch.cuda.mem_get_info()[0] - room), dtype=torch.uint8, device="cuda")]
torch.cuda.synchronize()
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.read()
"""


@contextmanager
def ballast(free: float | None) -> Iterator[None]:
    """Leaves so many GB of the card; None leaves all."""
    if free is None:
        yield
        return
    command = [sys.executable, "-c", BALLAST, str(int(free * GIGABYTE))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        left = process.stdout.readline().strip()
        if not left:
            raise RuntimeError("The card's memory could not be taken; the reason is above.")
        log(f"{int(left) / GIGABYTE:.2f} GB of the card are free")
        try:
            yield
        finally:
            process.stdin.close()


def converted(source: Path, weights: str) -> Path:
    """The checkpoint in few bits for G, beside it."""
    if weights == "as stored":
        return source
    out = source.with_name(f"{source.name}-G-{weights}")
    if not out.exists():
        log(f"converting to {out.name} …")
        command = [sys.executable, "-m", "iaa_runtime", "convert", "--model", str(source), "--precision", weights]
        subprocess.run([*command, "--task", "G", "--out", str(out)], check=True, stdout=sys.stderr, cwd=PROJECT)
    return out


def graph(checkpoint: str, picture: str) -> dict[str, Any]:
    """A phrase that is asked for in a picture."""
    asked = {"model": ["loader", 0], "image": ["picture", 0], "phrases": "the red circle", "threshold": 0.0}
    return {
        "picture": node("LoadImage", image=picture),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "ground": node("IAA_Ground", **asked, max_new_tokens=40),
        "said": node("PreviewAny", source=["ground", 3]),
    }


def checkpoints(client: Client) -> list[str]:
    """What the Loader lists."""
    kind, *more = client.get_json("/object_info/IAA_Loader")["IAA_Loader"]["input"]["required"]["checkpoint"]
    return list(kind if isinstance(kind, list) else more[0]["options"])


def vram_free(client: Client) -> int:
    """Bytes of the card that nobody has."""
    return int(client.get_json("/system_stats")["devices"][0]["vram_free"])


def measure(comfyui: Path, folder: Path, free: float | None, classic: bool) -> dict[str, Any]:
    """One row: a ComfyUI with so much of the card."""
    with tempfile.TemporaryDirectory() as made, ballast(free):
        base = Path(made)
        link_pack(PROJECT, base)
        paths = base / "extra_model_paths.yaml"
        paths.write_text(f"shared:\n  base_path: {folder.parent.resolve()}\n  iaa: .\n")
        arguments = ["--extra-model-paths-config", str(paths), *(["--disable-dynamic-vram"] if classic else [])]
        with running(comfyui, base, *arguments) as server:
            client = server.client
            listed = checkpoints(client)
            name = next((each for each in listed if each.split(" ")[0] == folder.name), None)
            if name is None:
                raise RuntimeError(f"The Loader lists {', '.join(listed)}, and not {folder.name}.")
            before, runs = vram_free(client), []
            for number in range(3):
                picture = client.upload(f"scene{number}.png", draw_scene(make_scene(5 + number)))
                runs.append(client.run(graph(name, picture)))
                if runs[-1].error:
                    return {"error": runs[-1].error, "log": server.log[-1500:]}
            taken = before - vram_free(client)
            client.free()
            return {
                "first_seconds": runs[0].seconds,
                "seconds": min(run.seconds for run in runs[1:]),
                "answer": runs[-1].outputs["said"],
                "taken_bytes": taken,
                "left_bytes": before - vram_free(client),
            }


def log(message: str) -> None:
    """Prints progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Builds, converts, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where checkpoints are kept (full: 33 to 60 GB)")
    parser.add_argument("--size", choices=("wide", "full"), default="full", help="of the geometry")
    parser.add_argument("--weights", nargs="+", choices=("as stored", "fp8", "int8", "int4"), default=["int4"])
    parser.add_argument("--free", nargs="+", type=float, default=[8, 12, 16], metavar="GB", help="of the card")
    parser.add_argument("--classic", action="store_true", help="without dynamic VRAM management")
    parser.add_argument("--prepare", action="store_true", help="only write and convert")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    os.environ["COMFYUI_GPU"] = "1"
    source = kept_checkpoint(options.folder, options.size, 0, log)
    folders, rows = {weights: converted(source, weights) for weights in options.weights}, []
    if options.prepare:
        return
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        parser.error("There is no ComfyUI. Name its folder in COMFYUI_PATH.")
    print("| weights | GB free | first | again (to all free) | taken GB | left GB | same answer |\n|---|" + "---:|" * 6)
    for weights, folder in folders.items():
        whole = None
        for free in (None, *options.free):
            row = {"weights": weights, "free": free} | measure(comfyui, folder, free, options.classic)
            rows.append(row)
            if options.json:
                options.json.write_text(json.dumps({"classic": options.classic, "rows": rows}, indent=1) + "\n")
            if "error" in row:
                print(f"| {weights} | {free or 'all'} | {row['error']} | | | | |", flush=True)
                continue
            whole = whole or row
            ratio, same = row["seconds"] / whole["seconds"], row["answer"] == whole["answer"]
            sizes = [f"{row[name] / GIGABYTE:.2f}" for name in ("taken_bytes", "left_bytes")]
            times = f"{row['first_seconds']:.1f} | {row['seconds']:.2f} ({ratio:.2f})"
            print(f"| {weights} | {free or 'all'} | {times} | {' | '.join(sizes)} | {same} |", flush=True)


if __name__ == "__main__":
    main()
