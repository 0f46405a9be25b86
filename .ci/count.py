"""Adds up pytest's JUnit reports: ``count.py FAILED_COMMANDS REPORT...`` prints ``N passed, N failed``.

A report that is missing, or a command that failed although all its tests passed (no installation, a type error), counts
as a failure. The exit status is 1 if there is any. Tests that are skipped are no failure, so lines that cannot be
overlooked say how many lacked what is to be tested, as a ComfyUI: their reasons begin with words in capitals.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report, errors among the failed; (0, 1, 0) where there is none."""
    if not report.is_file():
        return 0, 1, 0
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    numbers = [[int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")] for suite in suites]
    tests, failures, errors, skipped = (sum(column) for column in zip(*numbers, strict=True))
    return tests - failures - errors - skipped, failures + errors, skipped


LOUD = re.compile("[A-Z-]+ [A-Z]{2}")
"""How a reason begins that must not be overlooked: NO COMFYUI, NOT TESTED."""


def untested(report: Path) -> Counter[str]:
    """How many tests of a report were skipped for each reason that must not be overlooked."""
    if not report.is_file():
        return Counter()
    skipped = ElementTree.parse(report).getroot().iter("skipped")
    return Counter(reason for each in skipped if LOUD.match(reason := each.get("message", "")))


def main(failed_commands: int, reports: list[Path]) -> int:
    """Prints a line per report and the sum; returns the exit status."""
    counts = [count(report) for report in reports]
    for report, (passed, failed, skipped) in zip(reports, counts, strict=True):
        print(f"{report.stem}: {passed} passed, {failed} failed, {skipped} skipped")
    passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    failed = max(failed, failed_commands)
    for reason, number in sum(map(untested, reports), Counter[str]()).items():
        print(f"!!!!! UNTESTED, {number} skipped: {reason} !!!!!")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
