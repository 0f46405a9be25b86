"""What a precision costs: scores of the demo checkpoint on its own scenes, and logit error on the reference one.

    python benchmarks/precision.py [--scenes 100] [--out benchmarks/results/precision.md]

Every precision answers the same scenes, through ``iaa eval shapes``; logits are compared with float32's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

from iaa_runtime import IAAModel

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / "tests" / "reference" / "checkpoint"
FORMS = {
    "fp32": ("fp32", "full"),
    "bf16": ("bf16", "full"),
    "fp16": ("fp16", "full"),
    "fp8": ("bf16", "fp8"),
    "int8": ("bf16", "int8"),
    "int4": ("bf16", "int4"),
}
"""Name -> ``--dtype`` and ``--precision``."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def scores(form: str, scenes: int) -> dict[str, float]:
    """The demo checkpoint's figures at a precision."""
    dtype, precision = FORMS[form]
    command = [sys.executable, "-m", "iaa_runtime", "eval", "shapes", "--json", "--device", "cpu"]
    command += ["--scenes", str(scenes), "--dtype", dtype, "--precision", precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["measures"]
    return {name: value for name, value in measured.items() if "/" not in name}


def logit_error(form: str) -> float:
    """Relative error of the reference checkpoint's MM logits, ``|ours - fp32| / |fp32|``."""
    random = torch.Generator().manual_seed(0)
    ids, pixels = torch.tensor([[5, 6, -200, *range(10, 30)]]), torch.randn((1, 3, 56, 56), generator=random)
    exact = IAAModel.from_pretrained(REFERENCE, torch.float32)(ids, pixels, "MM")
    dtype, precision = FORMS[form]
    model = IAAModel.from_pretrained(REFERENCE, DTYPES[dtype], precision=None if precision == "full" else precision)
    return float((model(ids, pixels, "MM") - exact).norm() / exact.norm())


def table(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table: figures down, precisions across."""
    lines = ["| | " + " | ".join(rows) + " |", "|---|" + "---:|" * len(rows)]
    for name in next(iter(rows.values())):
        lines.append(f"| {name} | " + " | ".join(f"{row[name]:.4g}" for row in rows.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures every precision and prints the table."""
    parser = argparse.ArgumentParser(description="What a precision costs in quality.")
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="of the demo's evaluation (default 100)")
    parser.add_argument("--form", choices=FORMS, action="append", help="repeatable (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    options = parser.parse_args()
    rows = {}
    for form in options.form or FORMS:
        print(f"{form} …", file=sys.stderr, flush=True)
        rows[form] = {"logit error": logit_error(form)} | scores(form, options.scenes)
    text = f"Demo checkpoint on {options.scenes} scenes; logit error on the reference checkpoint.\n\n{table(rows)}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
