"""Choosing, checking, labelling and captions of boxes through servers, beside the demo checkpoint here, in one run.

    python benchmarks/served.py --server MM=http://127.0.0.1:8000 --server G=http://127.0.0.1:8001 [--scenes 40]

The servers have the demo checkpoint's exported tasks, in 32 bit; scenes are some that nobody trained on.
"""

from __future__ import annotations

import argparse

import torch

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.shapes.asking import evaluate_asking


def main() -> None:
    """Prints a row a measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True, help="[TASK=]URL, as for the command line")
    parser.add_argument("--scenes", type=int, default=40)
    options = parser.parse_args()
    local, remote = IAAPipeline.from_pretrained(dtype=torch.float32), RemotePipeline.connect(options.server)
    remote.score_threshold = local.score_threshold  # which no server tells
    here, served = (evaluate_asking(pipeline, options.scenes).report() for pipeline in (local, remote))
    print(f"| {options.scenes} scenes | here | served |\n|---|---:|---:|")
    for name, value in here.items():
        print(f"| {name} | {value:.3f} | {served[name]:.3f} |")


if __name__ == "__main__":
    main()
