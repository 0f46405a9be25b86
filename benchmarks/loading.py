"""What loading a bank costs: its peak memory, over the bank's bytes, and its time, over that of copying the bytes.

Writes a seeded checkpoint of random weights (wide: 1.4 GB in bf16; small: 0.5) into a temporary folder and loads each
bank in a process of its own, as stored and converted; figures are medians of several. The least that any loader has to
do is to read the bank's bytes as stored, from the page cache into memory of their own. Reading them into one buffer
again and again, which keeps nothing, is given beside it. Linux only: the peak is VmHWM of /proc/self/status.

    python benchmarks/loading.py [--size wide|small] [--bin] [--json FILE]

A tensor that is wanted as it is stored, and not packed, is a view of the file, whose pages count only once they are
used. So a second peak is taken after a word of every page has been summed up: by then everything is resident.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

BANKS = ("base", "text", "mm", "g", "vision")
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
ROUTES = (("bf16", "bf16"), ("fp32", "fp32"), ("bf16", "fp32"), ("fp32", "bf16"))
BOUND = 1.15
ROUNDS = 3
CHUNK_BYTES = 16 << 20

TOWER = {"image_size": 336, "vision_layers": 6}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "small": {  # as iaa bench has it
        "hidden_size": 512,
        "intermediate_size": 1792,
        "layers": 32,
        "heads": 8,
        "kv_heads": 2,
        "vocab_size": 8192,
        "insert_layers": (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26),
        "vision_size": 256,
        "vision_mlp": 1024,
        "vision_heads": 4,
    }
    | TOWER,
    "wide": {
        "hidden_size": 1024,
        "intermediate_size": 3584,
        "layers": 12,
        "heads": 8,
        "kv_heads": 2,
        "vocab_size": 64000,
        "insert_layers": (0, 5, 11),
        "vision_size": 1024,
        "vision_mlp": 4096,
        "vision_heads": 16,
    }
    | TOWER,
}


def measure(folder: str, banks: list[str], dtype: str) -> dict[str, float]:
    """Loads banks in this process; returns bytes and seconds."""
    import torch

    from iaa_runtime import IAAModel
    from iaa_runtime.bench.peak import resident

    torch.zeros(1 << 16).bfloat16().float().sum()  # what torch itself allocates to convert is not the loader's
    model = IAAModel.from_pretrained(folder, dtype=getattr(torch, DTYPES[dtype]))
    baseline = resident("VmRSS")
    begin = time.perf_counter()
    model.load(*banks)
    loaded, loaded_peak = time.perf_counter(), resident("VmHWM")
    tensors = [tensor for bank in banks for tensor in model.bank(bank).state_dict().values()]
    for tensor in tensors:
        if not tensor.is_mkldnn:  # packing has written all of it
            tensor.view(torch.int16 if tensor.itemsize == 2 else torch.int32).flatten()[::512].sum()  # a word a page
    touched, touched_peak = time.perf_counter(), resident("VmHWM")
    stored = sum(model.checkpoint.nbytes(bank) for bank in banks)
    return {
        "bank_bytes": sum(tensor.nbytes for tensor in tensors),
        "stored_bytes": stored,
        "peak_after_load": loaded_peak - baseline,
        "peak_after_use": touched_peak - baseline,
        "load_seconds": loaded - begin,
        "load_and_touch_seconds": touched - begin,
        "read_seconds": read_seconds(Path(folder), stored),
        "pass_seconds": pass_seconds(Path(folder), stored),
    }


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians of each figure, and of each run's ratios of times: (load and touch) / read, and / pass."""
    figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    for to in ("read", "pass"):
        ratios = [run["load_and_touch_seconds"] / run[f"{to}_seconds"] for run in runs]
        figures[f"load_to_{to}"] = statistics.median(ratios)
    return figures


def read_seconds(folder: Path, count: int) -> float:
    """Seconds that it takes to read ``count`` bytes of the checkpoint's files into memory of their own."""
    begin, kept = time.perf_counter(), []
    for file in files(folder):
        with file.open("rb", buffering=0) as opened:
            while count > 0 and (got := opened.read(min(count, CHUNK_BYTES))):
                kept.append(got)
                count -= len(got)
    return time.perf_counter() - begin


def pass_seconds(folder: Path, count: int) -> float:
    """Seconds that it takes to read them into one buffer, again and again."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    begin = time.perf_counter()
    for file in files(folder):
        with file.open("rb", buffering=0) as opened:
            while count > 0 and (got := opened.readinto(buffer[: min(count, CHUNK_BYTES)])):
                count -= got
    return time.perf_counter() - begin


def files(folder: Path) -> list[Path]:
    """The checkpoint's weight files."""
    return sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.bin")])


def run(size: str, packing: str) -> list[dict[str, Any]]:
    """Measures every bank, and all together, on every route from a stored dtype to a wanted one."""
    import torch
    from make_checkpoint import Geometry, make_checkpoint

    geometry = Geometry(**GEOMETRIES[size])
    results = []
    with tempfile.TemporaryDirectory(prefix="iaa-loading-") as temporary:
        for stored, full in DTYPES.items():
            log(f"writing a checkpoint in {stored} …")
            folder = make_checkpoint(Path(temporary) / stored, geometry, dtype=getattr(torch, full), packing=packing)
            read_seconds(folder, 1 << 60)  # fills the page cache
            for wanted in (wanted for source, wanted in ROUTES if source == stored):
                for banks in [*([bank] for bank in BANKS), list(BANKS)]:
                    command = [sys.executable, __file__, "--measure", str(folder), ",".join(banks), wanted]
                    runs = [
                        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
                        for _ in range(ROUNDS)
                    ]
                    name = banks[0] if len(banks) == 1 else "all"
                    results.append({"stored": stored, "wanted": wanted, "bank": name} | medians(runs))
                    log(line(results[-1]))
    return results


def line(result: dict[str, Any]) -> str:
    """A result as a row of the table."""
    size = result["bank_bytes"]
    return (
        f"{result['stored']} -> {result['wanted']}  {result['bank']:<7}{size / 1e6:>8.0f} MB"
        f"{result['peak_after_load'] / size:>12.3f}{result['peak_after_use'] / size:>12.3f}"
        f"{result['load_seconds']:>10.2f}{result['load_and_touch_seconds']:>10.2f}"
        f"{result['load_to_read']:>10.2f}{result['load_to_pass']:>10.2f}"
    )


def log(message: str) -> None:
    """Prints progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def main() -> int:
    """Runs the benchmark; exit code 1 when a peak is over the bound."""
    parser = argparse.ArgumentParser(description="Memory and time of loading a bank.")
    parser.add_argument("--size", choices=GEOMETRIES, default="wide", help="the checkpoint's geometry")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    parser.add_argument("--bin", action="store_true", help="shards as torch saves them instead of safetensors")
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "BANKS", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, banks, dtype = options.measure
        print(json.dumps(measure(folder, banks.split(","), dtype)))
        return 0
    results = run(options.size, "bin shards" if options.bin else "shards")
    print("stored -> wanted  bank      size   peak: load     and use   load s  +touch s    x read    x pass")
    print("\n".join(map(line, results)))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(result["peak_after_use"] > BOUND * result["bank_bytes"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
