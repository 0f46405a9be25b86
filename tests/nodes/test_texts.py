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
OUTLINES = "python -m tools.new_node {} outlines it."
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
    file = project / "web" / "docs" / name / f"{language}.md"
    if not file.exists():
        pytest.fail(f"web/docs/{name}/{language}.md is missing: {OUTLINES.format(name[4:])}", pytrace=False)
    return file.read_text(encoding="utf-8")


def sentences(text: str) -> int:
    """How many a line of a page ends, in either language; examples and the numbers of steps end none."""
    return len(re.findall(r"[.?!](?= |$)|[。？！]", re.sub(r"`.*?`|^\d\. ", "", text)))


def lacking(words: dict[str, Any], nodes: dict[str, Any]) -> list[str]:
    """What has to be done to the words of a language before every node has its own, in sentences."""
    todo = [f"{name} has no words: {OUTLINES.format(name[4:])}" for name in nodes if name not in words]
    todo += [f"{name} is no node: take its words out." for name in words if name not in nodes]
    for name in set(words) & set(nodes):
        own = words[name]
        todo += [f"{name} has no {kind}: write it." for kind in ("display_name", "description") if not own.get(kind)]
        there = {"inputs": names(nodes[name]), "outputs": list(map(str, range(len(nodes[name]["outputs"]))))}
        for kind, expected in there.items():
            if list(own[kind]) != expected:
                todo.append(
                    f"{name} has {kind} {expected}, its words are of {list(own[kind])}: {OUTLINES.format(name[4:])}"
                )
            for key, part in own[kind].items():
                empty = [word for word in ("name", "tooltip") if not part.get(word)]
                todo += [f"{name}, {kind[:-1]} {key} has no {word}: write it." for word in empty]
                unknown = set(part) - {"name", "tooltip", "options", "placeholder"}
                todo += [f"{name}, {kind[:-1]} {key} has {word}, which nobody reads." for word in unknown]
    return todo


def unsaid(text: str) -> list[str]:
    """Places of a help page at which nothing stands."""
    items = re.findall(r"^- (.*?)[:：]\s*$(?!\n  - )|^(\d+\.)\s*$", text, re.M)
    return ["the line under the title"] * ("\n\n\n" in text) + [name or number for name, number in items]


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
    todo = lacking(locale(project, language), pack["nodes"])
    assert not todo, "\n".join([f"locales/{language}/nodeDefs.json:", *todo])


def test_what_is_lacking_is_told_in_words() -> None:
    node = {"inputs": [{"id": "image", "nested": []}, {"id": "x", "nested": [["y", ""]]}], "outputs": [["mask", ""]]}
    said = {"name": "x", "tooltip": "What."}
    whole = {"display_name": "A", "description": "B", "inputs": dict.fromkeys(["image", "x", "x_y"], said)}
    whole["outputs"] = {"0": said}
    assert lacking({"IAA_A": whole}, {"IAA_A": node}) == []
    assert lacking({"IAA_B": whole}, {"IAA_Shift": node}) == [
        "IAA_Shift has no words: python -m tools.new_node Shift outlines it.",
        "IAA_B is no node: take its words out.",
    ]
    broken = whole | {"description": "", "inputs": {"image": {"name": "a", "tooltip": ""}}}
    assert lacking({"IAA_A": broken}, {"IAA_A": node}) == [
        "IAA_A has no description: write it.",
        "IAA_A has inputs ['image', 'x', 'x_y'], its words are of ['image']: python -m tools.new_node A outlines it.",
        "IAA_A, input image has no tooltip: write it.",
    ]
    page = "# A\n\n\n\n## How\n\n1. \n2. Do.\n\n## Inputs\n\n- **a**: \n- **b**: so\n- **c**:\n  - `d`: one\n"
    assert unsaid(page) == ["the line under the title", "1.", "**a**"]


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
    gone = {folder.name for folder in (project / "web" / "docs").iterdir()} - set(pack["nodes"])
    assert not gone, f"web/docs has pages of {gone}, which are no nodes: take them out."
    for name, node in pack["nodes"].items():
        text, place = page(project, name, language), f"web/docs/{name}/{language}.md"
        assert text.startswith(f"# {words[name]['display_name']}\n"), f"{place} has another title than the node."
        assert "|" not in text and "<" not in text, f"{place} has a table or HTML."
        assert not unsaid(text), f"{place} says nothing at: {', '.join(unsaid(text))}."
        taken, given = (listed(text, heading) for heading in HEADINGS[language])
        shown = {key: part["name"] for key, part in words[name]["inputs"].items()}
        assert sorted(taken) == sorted(shown[i["id"]] for i in node["inputs"]), f"{place} lists other inputs."
        assert given == [part["name"] for part in words[name]["outputs"].values()], f"{place} lists other outputs."
        nested = [shown[f"{i['id']}_{n}"] for i in node["inputs"] for n, _ in i["nested"]]
        assert [label for label in nested if f"**{label}**" not in text] == [], name


def test_help_pages_say_the_same_in_both_languages(project: Path, pack: dict[str, Any]) -> None:
    """As far as can be counted: inputs in one order, as many sentences a line, and the same examples and commands."""
    for name in pack["nodes"]:
        english, chinese = (page(project, name, language) for language in HEADINGS)
        shown = [[part["name"] for part in locale(project, language)[name]["inputs"].values()] for language in HEADINGS]
        of = dict(zip(*shown, strict=True))
        assert [of[label] for label in listed(english, HEADINGS["en"][0])] == listed(chinese, HEADINGS["zh"][0]), name
        assert all(english.count(sign) == chinese.count(sign) for sign in ("\n#", "\n- ", "\n  - ")), name
        for line in zip(english.splitlines(), chinese.splitlines(), strict=True):
            assert len({sentences(text) for text in line}) == 1, f"{name} says more in one language: {line}"
            assert len({text.count("**") for text in line}) == 1, f"{name} names more in one language: {line}"
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
