"""What a picture costs on its way to the vision tower: time, and peak memory beside what was given.

The plain way, which was the project's own once, converts a whole picture in float64, copies it where Pillow does, and
resizes the padded square 1,024 rows at a time; ours does everything a strip at a time. Pictures are seeded noise. Each
figure is of a process of its own (medians of several), the ways take turns, and both have to give the same bytes. Linux
only: the peak is VmHWM of /proc/self/status.

    python benchmarks/pictures.py [--rounds 3] [--case NAME …] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT)]

SIZE = 336
PADDING = (122, 116, 104)
CASES = {
    "IMAGE 4096 x 4096, fp32": ("tensor", 4096, 4096, "float32"),
    "IMAGE 8192 x 8192, fp32": ("tensor", 8192, 8192, "float32"),
    "IMAGE 8192 x 8192, bf16": ("tensor", 8192, 8192, "bfloat16"),
    "IMAGE 4096 x 4096, RGBA": ("tensor", 4096, 4096, "alpha"),
    "PNG 8192 x 8192": ("file", 8192, 8192, "RGB"),
    "PNG 8192 x 8192, RGBA": ("file", 8192, 8192, "RGBA"),
    "PNG 13000 x 13000, 16 bits": ("file", 13000, 13000, "I;16"),
    "TIFF 8192 x 8192, floats": ("file", 8192, 8192, "F"),
    "PNG 1080 x 20000": ("file", 1080, 20000, "RGB"),
    "PNG 1 x 20000": ("file", 1, 20000, "RGB"),
}
WAYS = ("plain", "ours")


def make(case: str, folder: Path) -> Any:
    """The tensor of a case, or the path of its file, which is written once."""
    import numpy as np
    import torch
    from PIL import Image

    kind, width, height, form = CASES[case]
    if kind == "tensor":
        generator = torch.Generator().manual_seed(0)
        levels = torch.randint(
            0, 256, (height, width, 4 if form == "alpha" else 3), dtype=torch.uint8, generator=generator
        )
        return levels.to(torch.float32 if form == "alpha" else getattr(torch, form)).div_(255)
    path = folder / f"{case}.{'tif' if form == 'F' else 'png'}"
    if not path.exists():
        random = np.random.default_rng(0)
        # A block of noise over and over: a file is written and read in seconds, and no strip is like the next.
        block = random.integers(0, 65536, (min(height, 509), min(width, 509)), dtype=np.uint16)
        tiled = np.tile(block, (-(-height // len(block)), -(-width // block.shape[1])))[:height, :width]
        if form == "I;16":
            image = Image.fromarray(tiled)
        elif form == "F":
            image = Image.fromarray(tiled.astype(np.float32) / np.float32(65535))
        else:
            image = Image.merge(
                form, [Image.fromarray((tiled >> shift).astype(np.uint8)) for shift in range(len(form))]
            )
        image.save(path, **({} if form == "F" else {"compress_level": 1}))
    return path


def plain(source: Any) -> Any:
    """Whole pictures, in float64 where they are no bytes."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    def to_bytes(values: Any, white: float) -> Any:
        scaled = np.nan_to_num(values.astype(np.float64) * (255 / white), nan=0.0, posinf=255.0, neginf=0.0)
        return np.rint(scaled.clip(0, 255)).astype(np.uint8)

    if isinstance(source, torch.Tensor):
        array = source.float().numpy()
        finite = np.where(np.isfinite(array), array, 0)
        assert finite.mean(dtype=np.float64) < 2
        image = Image.fromarray(to_bytes(array, 1.0))
    else:
        with Image.open(source) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16") or image.mode == "F":
            white = 65535.0 if image.mode != "F" else 1.0
            image = Image.fromarray(to_bytes(np.asarray(image), white)).convert("RGB")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    side = max(image.size)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    narrowed = Image.new("RGB", (SIZE, side), PADDING)
    for y in range(0, image.height, 1024):
        rows = min(1024, image.height - y)
        strip = Image.new("RGB", (side, rows), PADDING)
        strip.paste(image.crop((0, y, image.width, y + rows)), (left, 0))
        narrowed.paste(strip.resize((SIZE, rows), Image.Resampling.BICUBIC), (0, top + y))
    return narrowed.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def ours(source: Any) -> Any:
    """A strip at a time."""
    from iaa_runtime.images.load import to_picture
    from iaa_runtime.images.preprocess import resized_square

    return resized_square(to_picture(source), SIZE)


def measure(case: str, way: str, folder: Path) -> dict[str, Any]:
    """Converts a picture in this process; returns seconds, the peak over what was given, and a sum over the bytes."""
    import torch

    from iaa_runtime.bench.peak import peak_bytes

    small = torch.rand(64, 64, 3)
    run = plain if way == "plain" else ours
    run(small)  # what is loaded at the first use is not the picture's
    source = make(case, folder)
    result: list[Any] = []
    begin = time.perf_counter()
    peak = peak_bytes(lambda: result.append(run(source)), torch.device("cpu"))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak": peak, "sum": hashlib.sha256(result[0].tobytes()).hexdigest()}


def compare(case: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Medians of both ways, and of ours over the plain one."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-W", "ignore", __file__, "--measure", case, way, str(folder)]
            runs[way].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    if len({run["sum"] for way in WAYS for run in runs[way]}) != 1:
        raise SystemExit(f"{case}: the two ways give different bytes")
    pixels = CASES[case][1] * CASES[case][2]
    figures: dict[str, Any] = {"case": case, "pixels": pixels, "rounds": rounds}
    for key in ("seconds", "peak"):
        figures |= {f"{key}_{way}": statistics.median(run[key] for run in runs[way]) for way in WAYS}
        pairs = zip(runs["ours"], runs["plain"], strict=True)
        figures[f"{key}_ratio"] = statistics.median(a[key] / b[key] for a, b in pairs)
    return figures


def line(result: dict[str, Any]) -> str:
    """A result as a row of the table."""
    seconds, peaks = (
        " → ".join(f"{result[f'{key}_{way}'] / unit:,.2f}" for way in WAYS)
        for key, unit in (("seconds", 1), ("peak", 1e6))
    )
    each = result["peak_ours"] / result["pixels"]
    return (
        f"| {result['case']} | {seconds} | {result['seconds_ratio']:.2f} | {peaks} | {result['peak_ratio']:.3f} "
        f"| {each:.1f} |"
    )


def main() -> None:
    """Measures the cases and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        case, way, folder = options.measure
        print(json.dumps(measure(case, way, Path(folder))))
        return
    print("| picture | s, plain → ours | ratio | MB beside it, plain → ours | ratio | bytes a pixel |")
    print("|---|---:|---:|---:|---:|---:|")
    results = []
    with tempfile.TemporaryDirectory(prefix="iaa-pictures-") as folder:
        for case in options.case:
            make(case, Path(folder)) if CASES[case][0] == "file" else None
            results.append(compare(case, options.rounds, Path(folder)))
            print(line(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
