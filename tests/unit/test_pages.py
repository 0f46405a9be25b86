"""What README.md and docs/ tell people: links lead somewhere, lists lack nothing, commands do what is shown."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from iaa_runtime.cli import main

PROJECT = Path(__file__).parents[2]
FOLDERS = ("docs", "benchmarks", "training", "tests", "iaa_runtime", "web/docs")
PAGES = sorted([*PROJECT.glob("*.md"), *(page for name in FOLDERS for page in (PROJECT / name).rglob("*.md"))])


def without_blocks(page: Path) -> str:
    """The page's text but for its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What links to the page's headings end in, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links of the page to files that are not there, or to headings that these have not."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One: `two`\n[a](#one-two) [b](a.md#one-two) [c](https://x.org/y#z) [d](b.md) [e](#two)\n")
    assert broken_links(page) == ["b.md", "#two"]


def test_the_readme_names_every_page() -> None:
    _, _, listed = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## All pages")
    pages = {page.name for page in (PROJECT / "docs").glob("*.md")}
    assert set(re.findall(r"\]\(docs/([^)]+)\)", listed)) == pages


def test_the_list_of_nodes_has_each_with_its_help_page() -> None:
    page = (PROJECT / "docs" / "nodes.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| \[(.+?)\]\(\.\./web/docs/(\w+)/en\.md\) \|", page, re.MULTILINE)
    nodes = json.loads((PROJECT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert sorted(told) == sorted((node["display_name"], kind) for kind, node in nodes.items())
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\[All (\d+) nodes\]", readme) == [str(len(nodes))]
    subgraphs = {file.stem for file in (PROJECT / "subgraphs").glob("*.json")}
    assert set(re.findall(r"\*([^*\n]+ \(IAA\))\*", page)) == subgraphs


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But for seconds, and for numbers, of which the last digits are the processor's."""
    (shown,) = re.findall(r"```text\n(.*?)\n```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert main(["demo", "--dtype", "fp32", "--device", "cpu", "--out", str(tmp_path / "iaa_demo")]) == 0
    printed, _, files = capsys.readouterr().out.partition("\n\nPictures:")
    steps = re.sub(r"^\[[\d.]+ s\] ", "", printed, flags=re.MULTILINE)
    assert re.sub(r"=[\d.]+", "=", steps) == re.sub(r"=[\d.]+", "=", shown)
    assert "annotated.png" in files


def test_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that .ci/readme.py takes from docs/command_line.md, as it takes the README's, one after the other."""
    reader = [sys.executable, PROJECT / ".ci" / "readme.py", PROJECT / "docs" / "command_line.md"]
    found = subprocess.run(reader, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    commands = found.removesuffix("\0").split("\0")
    assert len(commands) == 8
    monkeypatch.chdir(tmp_path)
    for command in commands:
        program, *words = shlex.split(command.replace("tests/reference", (PROJECT / "tests" / "reference").as_posix()))
        assert program == "iaa" and main(words) == 0, f"{command}\n{capsys.readouterr().err}"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"scene18", "annotations", "coco.json", "look.html", "iaa-g", "iaa-g-int4"} <= made
