"""Every node and input has its words: in both languages, and on a help page."""

from __future__ import annotations

import ast
import json
import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client

HEADINGS = {"en": ("Inputs", "Outputs?"), "zh": ("输入", "输出")}
"""Of help pages, in the languages that there are."""
FOREIGN = {"FaceDetailer", "BBOX Detector (SEGS)", "Image Batch to Image List", "Cancel"}
"""Names of the Impact Pack's nodes, and of ComfyUI's button."""
LANGUAGELESS = {"cpu", "xyxy", "xywh", "KJNodes, xyxy", "KJNodes, xywh", "MM", "G", "Text"}
"""Choices that are the same in every language, beside those with digits or slashes in them."""


def names(node: dict[str, Any]) -> list[str]:
    """A node's inputs as locales name them: those of a group with the group's name in front."""
    return [name for i in node["inputs"] for name in [i["id"], *(f"{i['id']}_{n}" for n, _ in i["nested"])]]


def locale(project: Path, language: str) -> dict[str, Any]:
    """All words of a language."""
    return dict(json.loads((project / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8")))


def page(project: Path, name: str, language: str) -> str:
    """A node's help page."""
    return (project / "web" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")


def listed(text: str, heading: str) -> list[str]:
    """The names that items of a help page's list begin with."""
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    items = re.findall(r"^- (.*?)[:：]", part, re.M)
    assert len(items) == len(re.findall(r"^(?!  - ).", part, re.M)), f"{heading}: something is no item"
    return [name for item in items for name in re.findall(r"\*\*(.+?)\*\*", item)]


def examples(text: str) -> set[str]:
    """What stands in a help page as code, of several words."""
    return {code for code in text.split("`")[1::2] if " " in code}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_locales_cover_every_node_input_and_output(project: Path, pack: dict[str, Any], language: str) -> None:
    words = locale(project, language)
    assert set(words) == set(pack["nodes"])
    for name, node in pack["nodes"].items():
        assert words[name]["display_name"] and words[name]["description"]
        assert list(words[name]["inputs"]) == names(node), name
        assert list(words[name]["outputs"]) == [str(number) for number in range(len(node["outputs"]))], name
        for part in [*words[name]["inputs"].values(), *words[name]["outputs"].values()]:
            assert set(part) - {"options", "placeholder"} == {"name", "tooltip"} and all(part.values()), (
                f"{name}: {part}"
            )


def test_english_is_what_comfyui_shows(project: Path, pack: dict[str, Any]) -> None:
    words = locale(project, "en")
    for name, node in pack["nodes"].items():
        shown = [tip for i in node["inputs"] for tip in [i["tooltip"], *(tooltip for _, tooltip in i["nested"])]]
        assert [part["tooltip"] for part in words[name]["inputs"].values()] == shown, name
        outputs = [[part["name"], part["tooltip"]] for part in words[name]["outputs"].values()]
        assert outputs == node["outputs"], name
        assert (words[name]["display_name"], words[name]["description"]) == (node["display_name"], node["description"])


def test_chinese_is_chinese(project: Path) -> None:
    english = locale(project, "en")
    for name, node in locale(project, "zh").items():
        parts = [*node["inputs"].values(), *node["outputs"].values()]
        for text in [node["description"], *(part["tooltip"] for part in parts)]:
            assert re.search("[\u4e00-\u9fff]", text), f"{name}: {text}"
        assert node["description"] != english[name]["description"]


def test_choices_are_chinese_too(project: Path, pack: dict[str, Any]) -> None:
    words = locale(project, "zh")
    for name, node in pack["nodes"].items():
        for declared in node["inputs"]:
            labels = words[name]["inputs"][declared["id"]].get("options", {})
            assert all(re.search("[\u4e00-\u9fff]", label) for label in labels.values() if label != "Lanczos"), name
            assert set(labels) <= set(declared["options"]), f"{name}.{declared['id']}"
            rest = [
                option for option in declared["options"] if option not in labels and not re.search(r"[\d/]", option)
            ]
            assert set(rest) <= LANGUAGELESS, f"{name}: {rest}"


def test_errors_with_a_translation_are_those_of_the_code(project: Path) -> None:
    """The table's English is no second copy that may be forgotten: where the code says it otherwise, this fails."""
    said = set()
    for source in [*(project / "nodes").rglob("*.py"), *(project / "iaa_runtime").rglob("*.py")]:
        for part in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            pieces = (
                part.values if isinstance(part, ast.JoinedStr) else [part] if isinstance(part, ast.Constant) else []
            )
            said.add("".join(str(piece.value) if isinstance(piece, ast.Constant) else "{}" for piece in pieces))
    words = json.loads((project / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))
    for english, chinese in words["iaa"]["errors"].items():
        assert english in said
        assert re.search("[\u4e00-\u9fff]", chinese)
        assert {int(number) for number in re.findall(r"\{(\d)\}", chinese)} <= set(range(english.count("{}"))), english


@pytest.mark.parametrize("language", HEADINGS)
def test_help_pages_are_lists_of_all_that_a_node_has(project: Path, pack: dict[str, Any], language: str) -> None:
    """Under the names that ComfyUI shows. A table would be crushed by the panel, 305 pixels wide."""
    words = locale(project, language)
    assert {folder.name for folder in (project / "web" / "docs").iterdir()} == set(pack["nodes"])
    for name, node in pack["nodes"].items():
        text = page(project, name, language)
        assert text.startswith(f"# {words[name]['display_name']}\n") and "|" not in text and "<" not in text, name
        taken, given = (listed(text, heading) for heading in HEADINGS[language])
        shown = {key: part["name"] for key, part in words[name]["inputs"].items()}
        assert sorted(taken) == sorted(shown[i["id"]] for i in node["inputs"]), name
        assert given == [part["name"] for part in words[name]["outputs"].values()], name
        nested = [shown[f"{i['id']}_{n}"] for i in node["inputs"] for n, _ in i["nested"]]
        assert [label for label in nested if f"**{label}**" not in text] == [], name


def test_help_pages_say_the_same_in_both_languages(project: Path, pack: dict[str, Any]) -> None:
    """As far as can be counted: inputs in one order, as many remarks, and the same examples and commands."""
    for name in pack["nodes"]:
        english, chinese = (page(project, name, language) for language in HEADINGS)
        shown = [[part["name"] for part in locale(project, language)[name]["inputs"].values()] for language in HEADINGS]
        of = dict(zip(*shown, strict=True))
        assert [of[label] for label in listed(english, HEADINGS["en"][0])] == listed(chinese, HEADINGS["zh"][0]), name
        assert all(english.count(sign) == chinese.count(sign) for sign in ("\n#", "\n- ", "\n  - ")), name
        choices = {option for i in pack["nodes"][name]["inputs"] for option in i["options"]}
        assert examples(english) - choices == examples(chinese), name


@pytest.mark.parametrize("language", HEADINGS)
def test_what_a_placeholder_shows_by_example_is_on_the_help_page(
    project: Path, pack: dict[str, Any], language: str
) -> None:
    """Nodes 2.0 shows no placeholder."""
    for name, node in pack["nodes"].items():
        text = page(project, name, language)
        for placeholder in (i["placeholder"] for i in node["inputs"] if i["placeholder"]):
            said, *shown = placeholder.split("\n")
            for example in shown or ([] if re.search("[a-z]", said) else [said]):
                assert f"`{example}`" in text, f"{name}: {example}"


def test_placeholders_are_chinese_too(project: Path, pack: dict[str, Any]) -> None:
    """Those with words in them; their examples are the same, since the models understand English."""
    for name, words in locale(project, "zh").items():
        for declared in pack["nodes"][name]["inputs"]:
            chinese = words["inputs"][declared["id"]].get("placeholder", "")
            assert bool(chinese) == bool(re.search("[a-z]", declared["placeholder"])), f"{name}.{declared['id']}"
            assert chinese.split("\n")[1:] == declared["placeholder"].split("\n")[1:]


def test_help_calls_nodes_by_the_names_that_they_show(client: Client, project: Path, pack: dict[str, Any]) -> None:
    shown = {node["display_name"] for node in client.get_json("/object_info").values()} | FOREIGN
    for name in pack["nodes"]:
        text = re.sub(r"`.*?`|\*\*.*?\*\*", "", page(project, name, "en"))
        assert set(re.findall(r"\*(.+?)\*", text)) <= shown, name


def test_comfyui_serves_them(client: Client) -> None:
    served = client.get_json("/i18n")
    assert served["zh"]["nodeDefs"]["IAA_Ground"]["display_name"] == "IAA 定位"
    assert served["zh"]["nodeDefs"]["IAA_Ground"]["inputs"]["masks"]["options"]["one per box"] == "每个框一张"


@pytest.mark.parametrize(
    ("language", "title"), [("en", "IAA Ground"), ("zh", "IAA 定位"), ("fr", "IAA Ground"), ("zh-TW", "IAA Ground")]
)
def test_there_is_help_in_every_language(client: Client, language: str, title: str) -> None:
    """English where we have no other."""
    served = client.get(f"/extensions/iaa-nodes/docs/IAA_Ground/{language}.md")
    assert served.decode().startswith(f"# {title}\n")


@pytest.mark.parametrize("asked", ["IAA_None/en.md", "..%2F..%2Fdocs/security.md", "IAA_Ground%2F../en.md"])
def test_nothing_but_help_is_served_as_help(client: Client, asked: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        client.get(f"/extensions/iaa-nodes/docs/{asked}")
