"""Dropped into ComfyUI, the pack starts, at once, and its nodes are what their code says."""

from __future__ import annotations

from typing import Any

from comfyui_server import Client, Server

NODES = {"IAA_Loader", "IAA_Caption", "IAA_Ground", "IAA_Text", "IAA_Chat", "IAA_DemoScene"}  # at least


def test_every_node_is_offered(client: Client, pack: dict[str, Any]) -> None:
    offered = client.get_json("/object_info")
    ours = {name for name, node in offered.items() if node["python_module"] == "custom_nodes.iaa-nodes"}
    assert ours - set(pack["inner"]) == set(pack["nodes"]) >= NODES
    assert all(offered[name]["dev_only"] for name in pack["inner"]), "no menu has them"
    assert all(name.startswith("IAA_") for name in ours), "core and other packs have names of their own"


def test_the_log_shows_no_trouble(server: Server) -> None:
    start, up, _ = server.log.partition("To see the GUI go to")
    assert up and "custom_nodes/iaa-nodes" in start, "the pack is not among the import times"
    for trouble in ("IMPORT FAILED", "Traceback", "Error while calling comfy_entrypoint"):
        assert trouble not in start


def test_importing_is_quick_and_light(pack: dict[str, Any]) -> None:
    assert pack["seconds"] < 0.5
    assert pack["foreign modules"] == [], "ComfyUI itself has not loaded these"


def test_schemas_are_what_execute_takes(pack: dict[str, Any]) -> None:
    for name, node in pack["nodes"].items():
        inputs, parameters = [i["id"] for i in node["inputs"]], [p["name"] for p in node["parameters"]]
        assert inputs == parameters, f"{name}: its execute takes other parameters than its schema has inputs."
        for given, taken in zip(node["inputs"], node["parameters"], strict=True):
            assert given["optional"] != taken["required"], f"{name}.{given['id']}"
            if (name, given["id"]) in {("IAA_Ground", "threshold"), ("IAA_LabelImage", "threshold")}:
                assert taken["default"] is None, "left out of a graph, it is what the checkpoint says"
            elif given["optional"] and given["id"] not in ("sampling", "image", "history"):
                assert given["default"] == taken["default"], f"{name}.{given['id']}"


def test_everything_explains_itself(pack: dict[str, Any]) -> None:
    for name, node in pack["nodes"].items():
        assert node["description"], f"{name} has no description: write one into locales."
        assert node["aliases"], f"{name} has no search_aliases: add to its schema what else people call it."
        assert node["category"].split("/")[0] == "IAA", f"{name} is not in the category IAA."
        nested = [tip for i in node["inputs"] for tip in i["nested"]]
        for part, tooltip in [*((i["id"], i["tooltip"]) for i in node["inputs"]), *nested, *node["outputs"]]:
            assert tooltip, f"{name}.{part}"


def test_execute_is_thin(pack: dict[str, Any]) -> None:
    long = {name: node["execute_lines"] for name, node in pack["nodes"].items() if node["execute_lines"] > 20}
    assert not long, f"more than 20 lines: {long}; put what they do into functions of iaa_runtime."
