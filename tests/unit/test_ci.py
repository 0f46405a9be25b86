"""What the small programs in .ci take from the README and count as a failure; what tests may do."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(project: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", project / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def readme(project: Path) -> ModuleType:
    return load(project, "readme")


@pytest.fixture(scope="module")
def count(project: Path) -> ModuleType:
    return load(project, "count")


@pytest.fixture(scope="module")
def audit(project: Path) -> ModuleType:
    return load(project, "audit")


def commands(readme: ModuleType, markdown: str) -> tuple[list[str], list[str]]:
    """(what is run, what is left out) of a Markdown text."""
    found = [(block.left_out, command) for block in readme.blocks(markdown) for command in readme.commands(block)]
    return [command for reason, command in found if not reason], [command for reason, command in found if reason]


def test_commands_are_found_in_order(readme: ModuleType) -> None:
    markdown = """
Text with `code`.
```bash
# a comment
first && second

third \\
    --long
```
<!-- not in CI: needs 33 GB -->
```bash
large
```
1. In a list:
   ~~~~bash
   echo '```'
   ~~~~
```json
{"shown": "only"}
```
<!-- not in CI: for Windows -->
```powershell
py -m venv .venv
```
"""
    left_out = ["large", "py -m venv .venv"]
    assert commands(readme, markdown) == (["first && second", "third     --long", "echo '```'"], left_out)


def test_a_python_block_is_one_command(readme: ModuleType) -> None:
    run, left_out = commands(readme, '```python\nif 1:\n    print("$HOME")\n```')
    assert run == ["python - <<'END_OF_BLOCK'\nif 1:\n    print(\"$HOME\")\nEND_OF_BLOCK"]
    assert left_out == []


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("```bash\nopen", "never closed"),
        ("<!-- not in CI: why -->\n\n```bash\nf\n```", "right above"),
        ("<!-- not in CI: why -->", "right above"),
        ("```\nf\n```", "write bash or python"),
        ("```console\n$ f\n```", "write bash or python"),
        ("```powershell\nf\n```", "write bash or python"),
    ],
)
def test_what_cannot_be_told_is_an_error(readme: ModuleType, markdown: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        commands(readme, markdown)


def test_the_readme_tells_how_to_test_and_little_is_left_out(readme: ModuleType, project: Path) -> None:
    run, left_out = commands(readme, (project / "README.md").read_text(encoding="utf-8"))
    first, second = run[:2]
    assert first.endswith(".venv/bin/iaa demo") and second == "./check", "for a fresh machine: the job, and the tests"
    assert len(run) > len(left_out)


def report(folder: Path, name: str, attributes: str) -> Path:
    file = folder / f"{name}.xml"
    file.write_text(f"<testsuites><testsuite {attributes}/></testsuites>", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("failed_commands", "attributes", "last_line", "status"),
    [
        (0, 'tests="9" failures="0" errors="0" skipped="2"', "14 passed, 0 failed", 0),
        (0, 'tests="9" failures="1" errors="2" skipped="0"', "13 passed, 3 failed", 1),
        (2, 'tests="9" failures="1" errors="0" skipped="0"', "15 passed, 2 failed", 1),
        (1, 'tests="9" failures="0" errors="0" skipped="0"', "16 passed, 1 failed", 1),
    ],
)
def test_reports_are_added_up(
    count: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failed_commands: int,
    attributes: str,
    last_line: str,
    status: int,
) -> None:
    fine = report(tmp_path, "fine", 'tests="7" failures="0" errors="0" skipped="0"')
    assert count.main(failed_commands, [fine, report(tmp_path, "other", attributes)]) == status
    assert capsys.readouterr().out.splitlines()[-1] == last_line


def test_what_was_not_tested_is_told_of_in_loud_lines(
    count: ModuleType, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a report as pytest writes it, with reasons as every conftest.py gives them, by a mark or while they run."""
    reasons = [
        reason
        for conftest in sorted((project / "tests").glob("*/conftest.py"))
        for reason in re.findall(r'"(NO COMFYUI[^"]*)"', conftest.read_text(encoding="utf-8"))
    ]
    assert len(reasons) == 3
    reasons += ["NOT TESTED: no disk", "NO LLAMA-SERVER WAS FOUND", "THE DEMO MODEL FALLS SHORT"]
    tests = [f"@pytest.mark.skip(reason={reason!r})\ndef test_{n}(): pass\n" for n, reason in enumerate(reasons)]
    tests += [f"def test_again_{n}(): pytest.skip({reason!r})\n" for n, reason in enumerate(reasons)]
    tests += [
        f"@pytest.mark.skip(reason={reason!r})\ndef test_quiet_{n}(): pass\n"
        for n, reason in enumerate(["no accelerator", "Linux alone says so", "POSIX signals"])
    ]
    (tmp_path / "test_it.py").write_text("import pytest\n" + "".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "--junitxml", "it.xml", "test_it.py"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert count.main(0, [tmp_path / "it.xml", report(tmp_path, "fine", 'tests="7"')]) == 0
    _, _, *loud, last = capsys.readouterr().out.splitlines()
    assert loud == [f"!!!!! UNTESTED, 2 skipped: {reason} !!!!!" for reason in reasons]
    assert last == "7 passed, 0 failed"


def test_a_missing_report_is_a_failure(count: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert count.main(0, [tmp_path / "never-written.xml"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed"


def test_tests_reach_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        assert here.getpeername() == server.getsockname()
    with pytest.raises(OSError, match=r"192\.0\.2\.1; tests run without a network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # TEST-NET-1, which nobody has


def test_every_folder_of_modules_is_a_package(project: Path) -> None:
    # What is no package is missing from an installation, though a checkout imports it all the same.
    folders = {path.parent for path in (project / "iaa_runtime").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_what_ships_is_audited_and_no_more(audit: ModuleType) -> None:
    shipped = audit.shipped()
    assert {"torch", "transformers", "pillow", "numpy", "safetensors", "tokenizers"} <= set(shipped)
    assert not {"pytest", "playwright", "mypy", "iaa-nodes"} & set(shipped)
    assert not any("+" in version for version in shipped.values()), "builds of torch have no advisories of their own"


@pytest.mark.parametrize(
    ("dependencies", "status", "said"),
    [
        ([{"name": "torch", "version": "2.5.0", "vulns": []}], 0, ""),
        (
            [{"name": "torch", "version": "2.5.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.6"]}]}],
            1,
            "torch 2.5.0: PYSEC-1, fixed in 2.6",
        ),
        ([{"name": "torch", "skip_reason": "not found"}], 0, "NOT CHECKED: known vulnerabilities of torch"),
        (None, 0, "NOT CHECKED: known vulnerabilities, since pip-audit failed: no network"),
    ],
    ids=["none", "one", "unknown", "unreachable"],
)
def test_what_the_audit_says(
    audit: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dependencies: object,
    status: int,
    said: str,
) -> None:
    """Its service cannot be asked here, so a program of its name answers as it does."""
    answer = "exit('no network')" if dependencies is None else f"print({json.dumps({'dependencies': dependencies})!r})"
    (tmp_path / "pip_audit.py").write_text(answer, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert audit.main() == status
    assert capsys.readouterr().out.startswith(said)


def test_the_security_page_names_tests_that_there_are(project: Path) -> None:
    page = (project / "docs" / "security.md").read_text(encoding="utf-8")
    quoted = re.findall(r"`([^`]+)`", page)
    places = [name for name in quoted if name.startswith(("tests/", "benchmarks/"))]
    sources = "".join(path.read_text(encoding="utf-8") for path in (project / "tests").rglob("test_*.py"))
    assert places and [place for place in places if not (project / place).exists()] == []
    names = [name for name in quoted if name.startswith("test_") and not name.endswith(".py")]
    assert names and [name for name in names if f"def {name}(" not in sources] == []


def copy_check(project: Path, folder: Path) -> Path:
    """Copies ./check, beside programs that do nothing but say how they are called; returns their folder."""
    shutil.copy(project / "check", folder)
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("python", "ruff", "mypy", "pytest", "npx", "comfy"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (tools / name).chmod(0o755)
    for name in ("pyproject.toml", ".venv/installed-for.toml"):
        (folder / name).touch()
    return tools


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_the_quick_check_runs_a_part_and_says_so(project: Path, tmp_path: Path) -> None:
    """Of ./check, with programs that note how they are called."""
    tools = copy_check(project, tmp_path)
    called = {}
    for words in ("--quick", ""):
        command = f"PATH={tools}:$PATH ./check {words} -k boxes"
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
        called[words] = done.stdout.splitlines()
    common = ["ruff check", "ruff format --check", "mypy ", "mypy --package iaa_nodes.nodes"]
    assert called["--quick"][:4] == called[""][:4] == common
    assert called[""][-1] == "pytest tests --numprocesses 2 --dist loadfile -k boxes"
    assert not any("QUICK" in line for line in called[""])
    quick, says, _ = called["--quick"][4:]
    folders = [word for word in quick.split() if word.startswith("tests/")]
    assert folders and all((project / folder).exists() for folder in folders) and quick.endswith("-k boxes")
    assert says.startswith("QUICK: NOT CHECKED")


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
@pytest.mark.parametrize(
    ("npx", "status", "told"),
    [
        ("exit 1", 0, True),  # as without a network
        ('case "$*" in *--version) ;; *) exit 2 ;; esac', 1, False),  # as tsc where it finds faults
        ("exit 0", 0, False),
    ],
    ids=["cannot be had", "finds faults", "finds nothing"],
)
def test_types_of_javascript_are_checked_where_typescript_can_be_had(
    npx: str, status: int, told: bool, project: Path, tmp_path: Path
) -> None:
    tools = copy_check(project, tmp_path)
    (tools / "npx").write_text(f"#!/bin/sh\n{npx}\n")
    done = subprocess.run(f"PATH={tools}:$PATH ./check", shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status
    assert ("NOT CHECKED: the types of web/js" in done.stdout) is told
