"""``--style`` and what goes with it, for single pictures and for collections."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import records

from iaa_runtime.cli import main, make_parser
from iaa_runtime.cli.stdin import asked
from iaa_runtime.errors import UsageError
from iaa_runtime.text.prompts import CAPTION_PROMPTS
from iaa_runtime.text.styles import CHINESE, caption_prompt, styled

STYLE = ["--length", "short", "--extra", "lighting", "--extra", "no mood", "--forbid", "a photo of", "--call", "ohwx"]
WANTED = {"length": "short", "extras": ["lighting", "no mood"], "forbid": ["a photo of"], "call": "ohwx"}


@pytest.mark.parametrize("command", [["caption", "a.png"], ["annotate", ".", "--out", "job", "--caption"]])
def test_what_is_asked(command: list[str]) -> None:
    def question(*words: str) -> str:
        return asked(make_parser().parse_args([*command, *words]))

    assert question() == CAPTION_PROMPTS["caption"]
    assert question("--style", "tags") == question("--preset", "tags") == CAPTION_PROMPTS["tags"]
    assert question("--style", "training", *STYLE) == caption_prompt("training", **WANTED)
    assert question("--language", "Chinese") == caption_prompt(language=CHINESE)
    assert question("--prompt", "Who?", *STYLE) == styled("Who?", **WANTED)


@pytest.mark.parametrize("words", [["caption", "a.png"], ["annotate", ".", "--out", "job"]])
def test_a_list_has_no_length(words: list[str]) -> None:
    with pytest.raises(UsageError, match="--length has no effect beside --style tags, which is a list"):
        make_parser().parse_args([*words, "--style", "tags", "--length", "long"])


@pytest.mark.parametrize("more", [["--length", "long"], ["--extra", "lighting"], ["--forbid", "x"], ["--call", "x"]])
def test_annotate_styles_captions_alone(more: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{more[0]} has no effect without --caption"):
        make_parser().parse_args(["annotate", ".", "--out", "job", "--phrase", "a", *more])


def test_another_style_is_another_caption(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for style in ([], ["--style", "alt"]):
        assert main(["caption", photo, "--model", model, "--json", "--max-new-tokens", "12", *style]) == 0
        said.append(records(capsys)[0]["caption"])
    assert said[0] != said[1]


def test_annotate_goes_on_with_the_style_alone(model: str, photo: str, tmp_path: Path) -> None:
    words = ["annotate", photo, "--out", str(tmp_path / "job"), "--model", model, "--max-new-tokens", "4"]
    assert main([*words, "--style", "alt", "--length", "short"]) == 0
    assert main([*words, "--style", "alt", "--length", "short"]) == 0
    assert main([*words, "--style", "alt", "--length", "long"]) == 1
