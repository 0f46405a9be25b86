"""Adds up pytest's JUnit reports: ``count.py FAILED_COMMANDS REPORT...`` prints ``N passed, N failed``.

A report that is missing, or a command that failed although all its tests passed (no installation, a type error), counts
as a failure. The exit status is 1 if there is any. Tests that found no ComfyUI are skipped and no failure, so a line
that cannot be overlooked says how many they were.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report, errors among the failed; (0, 1, 0) where there is none."""
    if not report.is_file():
        return 0, 1, 0
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    numbers = [[int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")] for suite in suites]
    tests, failures, errors, skipped = (sum(column) for column in zip(*numbers, strict=True))
    return tests - failures - errors - skipped, failures + errors, skipped


NO_COMFYUI = "NO COMFYUI"
"""How the reason begins for which tests are skipped where there is none."""


def without_comfyui(report: Path) -> int:
    """How many tests of a report were skipped since there was no ComfyUI."""
    if not report.is_file():
        return 0
    skipped = ElementTree.parse(report).getroot().iter("skipped")
    return sum(each.get("message", "").startswith(NO_COMFYUI) for each in skipped)


def main(failed_commands: int, reports: list[Path]) -> int:
    """Prints a line per report and the sum; returns the exit status."""
    counts = [count(report) for report in reports]
    for report, (passed, failed, skipped) in zip(reports, counts, strict=True):
        print(f"{report.stem}: {passed} passed, {failed} failed, {skipped} skipped")
    passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    failed = max(failed, failed_commands)
    if untested := sum(map(without_comfyui, reports)):
        print(f"!!!!! {NO_COMFYUI}: {untested} tests did not run, so THE NODES ARE UNTESTED. Set COMFYUI_PATH. !!!!!")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
