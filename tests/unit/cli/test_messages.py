"""What is said on stderr is logged by the package: more or less of it, and to Python's users as they like."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import FEW
from PIL import Image

from iaa_runtime.cli import main


def test_quiet_says_what_went_wrong_and_verbose_what_was_done(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    words = ["annotate", str(tmp_path / "a.png"), "--caption", "--model", model, "--out", str(tmp_path / "job"), *FEW]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(words) == 0
    assert "1 of 1 images" in capsys.readouterr().err
    assert main(["caption", str(tmp_path / "b.png"), str(tmp_path / "a.png"), "--model", model, "--quiet", *FEW]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "b.png" in line
    assert main(["caption", str(tmp_path / "a.png"), "--model", model, "--verbose", *FEW]) == 0
    err = capsys.readouterr().err
    assert f"opened {model} on cpu in torch.float32" in err
    assert all(f"loaded bank {bank}: " in err for bank in ("base", "mm", "vision"))
    assert "1 answers of MM: 4 tokens in " in err
    package = logging.getLogger("iaa_runtime")
    assert (package.level, package.handlers) == (logging.NOTSET, []), "as before"


def test_importing_adds_no_handler_and_python_decides_what_is_shown(model: str, project: Path) -> None:
    code = f"""
import logging
from iaa_runtime import IAAPipeline
assert all(not logging.getLogger(name).handlers for name in ("", "iaa_runtime"))
iaa = IAAPipeline.from_pretrained({model!r})
iaa.text("a", max_new_tokens=2)
print("silence until here")
iaa.model.unload()
logging.basicConfig(format="%(name)s %(message)s")
logging.getLogger("iaa_runtime").setLevel("DEBUG")
iaa.text("a", max_new_tokens=2)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.stdout == "silence until here\n"
    assert done.stderr.startswith("iaa_runtime.model.store loaded bank base: ")
