"""``--download``: every command whose message advises it has it, and fetches only when all else is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import records
from hub_server import HubServer, ask_it, forget_sessions, serving_hub
from huggingface_hub import constants

from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.cli import main, make_parser
from iaa_runtime.cli.opening import open_to_teach

MODEL = ["--model", "someone/something"]
CONVERT = ["convert", "--precision", "int8", "--task", "Text", "--out", "new"]
EXPORT = ["export", "--task", "Text", "--to", "llama", "--out", "new"]
COMMANDS = pytest.mark.parametrize("words", [["info"], CONVERT, EXPORT], ids=lambda words: words[0])


@pytest.fixture
def hub(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with a checkpoint, which is asked in a folder with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # it has no Xet storage
    paths = [path for path in Path(model).rglob("*") if path.is_file()]
    files = {path.relative_to(model).as_posix(): path.read_bytes() for path in paths}
    with serving_hub(files) as server:
        ask_it(server, tmp_path / "hub", monkeypatch)
        yield server
        forget_sessions()


@COMMANDS
def test_what_is_not_here_is_fetched_when_asked_for(
    words: list[str], hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *MODEL]) == 1
    assert "or --download" in capsys.readouterr().err and not hub.asked
    assert main([*words, *MODEL, "--download", "--json"]) == 0
    (told,) = records(capsys)
    if words == ["info"]:
        assert tmp_path / "hub" in Path(told["folder"]).parents and not told["missing"]
    else:
        assert list((tmp_path / "new").glob("*.safetensors"))
    if words == CONVERT:
        assert Checkpoint(tmp_path / "new").precision == "int8"


@pytest.mark.parametrize("words", [CONVERT, EXPORT], ids=lambda words: words[0])
def test_nothing_is_fetched_for_a_folder_that_cannot_be_written(
    words: list[str], hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    assert main([*words, *MODEL, "--download"]) == 1
    assert "holds something already" in capsys.readouterr().err and not hub.asked


@pytest.mark.parametrize("words", [CONVERT, ["eval", "shapes", "--scenes", "3"]], ids=lambda words: words[0])
def test_a_dry_run_fetches_nothing_and_says_so(
    words: list[str], hub: HubServer, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *MODEL, "--download", "--dry-run"]) == 1
    said = capsys.readouterr().err
    assert "--dry-run fetches none" in said and "iaa info --download" in said and not hub.asked
    assert main([*words, "--model", model, "--download", "--dry-run"]) == 0, "what is here is not fetched"


def test_a_model_to_teach_is_fetched_too(hub: HubServer, tmp_path: Path) -> None:
    options = make_parser().parse_args(["teach", "data", "--task", "G", "--out", "a.safetensors", *MODEL, "--download"])
    assert tmp_path / "hub" in open_to_teach(options).model.checkpoint.folder.parents
