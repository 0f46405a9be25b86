"""Reads the commands that a Markdown file tells its reader to run, so that CI can run exactly those.

A fenced block of shell (``bash``) holds one command a line, a backslash at the end of a line carrying it on; a block of
``python`` is one command for the interpreter on the path. A block is left out when the line above it says
``<!-- not in CI: the reason -->``, as above each of ``powershell``. Usage: ``readme.py README.md`` writes the commands
to stdout, each ended by a NUL byte, and what is left out to stderr.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<language>[^`\s]*).*$")
NOT_IN_CI = re.compile(r"^<!-- not in CI: (?P<reason>\S.*?) -->$")
SILENT_LANGUAGES = frozenset({"json", "text", "yaml"})  # shown, not run


@dataclass(frozen=True)
class Block:
    """A fenced block: its text, the line it starts on (from 1), and why it is left out (empty when it is run)."""

    language: str
    text: str
    line: int
    left_out: str = ""


def blocks(markdown: str) -> list[Block]:
    """Every fenced block of a Markdown text, in order.

    Raises:
        ValueError: a block is never closed, or a mark "not in CI" has no block right below it.
    """
    lines = markdown.splitlines()
    found, reason, i = [], "", 0
    while i < len(lines):
        mark, fence = NOT_IN_CI.match(lines[i].strip()), FENCE.match(lines[i])
        if reason and not fence:
            raise ValueError(f"line {i}: 'not in CI: {reason}' must stand right above a fenced block.")
        if fence:
            closing = re.compile(rf" *{fence['ticks'][0]}{{{len(fence['ticks'])},}} *")
            end = next((j for j in range(i + 1, len(lines)) if closing.fullmatch(lines[j])), 0)
            if not end:
                raise ValueError(f"line {i + 1}: this fenced block is never closed.")
            text = "\n".join(line.removeprefix(fence["indent"]) for line in lines[i + 1 : end])
            found.append(Block(fence["language"], text, i + 1, reason))
            i = end
        reason = mark["reason"] if mark else ""
        i += 1
    if reason:
        raise ValueError(f"line {i}: 'not in CI: {reason}' must stand right above a fenced block.")
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block, ready for a shell's ``eval``.

    Raises:
        ValueError: nobody can tell whether the block's language is to be run.
    """
    if block.language == "python":
        return [f"python - <<'END_OF_BLOCK'\n{block.text}\nEND_OF_BLOCK"]
    if block.language == "bash" or (block.language == "powershell" and block.left_out):
        lines = re.sub(r"\\\n", "", block.text).splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if block.language in SILENT_LANGUAGES:
        return []
    raise ValueError(
        f"line {block.line}: a block marked {block.language!r}; write bash or python for what the reader runs, "
        f"{', '.join(sorted(SILENT_LANGUAGES))} for what they only look at."
    )


def main(path: str) -> None:
    """Writes the file's commands to stdout and those left out to stderr."""
    for block in blocks(Path(path).read_text(encoding="utf-8")):
        for command in commands(block):
            if block.left_out:
                print(f"not run ({block.left_out}): {command}", file=sys.stderr)
            else:
                sys.stdout.write(command + "\0")


if __name__ == "__main__":
    main(sys.argv[1])
