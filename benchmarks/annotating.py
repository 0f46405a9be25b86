"""Peak memory of ``iaa annotate`` over a short and a long list of pictures: it must not grow with the list.

    python benchmarks/annotating.py [--images 200 2000] [--listed 500000]

Captions seeded scenes of the demo generator with two tokens a picture, each list in a process of its own. The second
part only lists so many pictures, without a model. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

DRAWN = 50
"""How many pictures differ; the others are links to them."""

PROGRAM = """
import sys
from iaa_runtime.cli import main
status = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(status)
"""


def draw(folder: Path, count: int) -> None:
    """Writes pictures named by number."""
    from iaa_runtime.shapes.scenes import draw_scene, make_scene

    for number in range(count):
        if number < DRAWN:
            draw_scene(make_scene(number)).save(folder / f"{number}.png")
        else:
            (folder / f"{number}.png").hardlink_to(folder / f"{number % DRAWN}.png")


def write_list(file: Path, count: int) -> Path:
    """Writes a list of ``count`` lines."""
    with file.open("w") as lines:
        for number in range(count):
            lines.write(json.dumps({"image": f"{number}.png", "id": number}) + "\n")
    return file


def peak(listed: Path, out: Path) -> int:
    """Peak resident bytes of annotating a list."""
    command = ["annotate", str(listed), "--caption", "--max-new-tokens", "2", "--out", str(out), "--json"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *command], check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1]) * 1024


def peak_of_listing(listed: Path, count: int) -> int:
    """Peak resident bytes of listing a file's pictures."""
    program = (
        "import sys\n"
        "from iaa_runtime.annotate.sources import list_images\n"
        f"assert sum(1 for _ in list_images([{str(listed)!r}], None, 'image')) == {count}\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) * 1024


def main() -> int:
    """Prints the peaks; exit code 1 when the longer list took over 5 % more."""
    parser = argparse.ArgumentParser(description="Memory of iaa annotate.")
    parser.add_argument("--images", type=int, nargs=2, default=(200, 2000), metavar=("FEW", "MANY"))
    parser.add_argument("--listed", type=int, default=500_000, metavar="N", help="lines that are listed only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iaa-annotating-") as temporary:
        folder = Path(temporary)
        draw(folder, max(options.images))
        peaks = [
            peak(write_list(folder / f"{count}.jsonl", count), folder / f"out-{count}") for count in options.images
        ]
        for count, bytes_ in zip(options.images, peaks, strict=True):
            print(f"{count:>9,} pictures annotated: peak {bytes_ / 1e6:.0f} MB")
        listing = peak_of_listing(write_list(folder / "long.jsonl", options.listed), options.listed)
        print(f"{options.listed:>9,} pictures listed:    peak {listing / 1e6:.0f} MB")
    print(f"many / few: {peaks[1] / peaks[0]:.3f}")
    return int(peaks[1] > 1.05 * peaks[0])


if __name__ == "__main__":
    sys.exit(main())
