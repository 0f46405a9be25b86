"""The workflow templates: each under the plain words that ComfyUI's dialog shows, and the API graph that it is."""

from __future__ import annotations

from pathlib import Path

from comfyui_server import Client, Graph

from iaa_runtime.shapes.scenes import EVALUATION_SEED, Scene, draw_scene, make_scene

WORKFLOWS = Path(__file__).parents[1] / "workflows"
API_NAMES = {
    "Find things in a picture": "ground",
    "Describe a picture": "caption",
    "Chat about a picture": "chat_across_tasks",
    "Branch on yes or no": "branch_on_choice",
    "Cut things out of a picture": "ground_mask_crop",
    "Edit each thing that is found": "crop_each_paste_back",
    "Inpaint what you name": "ground_inpaint",
    "Make a prompt of an idea": "prompt_expansion",
    "Caption a folder of pictures": "caption_folder_to_dataset",
    "Teach it a new shape": "teach_new_shape",
    "Outline things with SAM 3": "ground_sam3_mask",
    "Redraw things with Impact Pack": "ground_impact_detailer",
}
PICTURES_FOLDER = "my_pictures"
"""In ComfyUI's input folder: what the data set's template reads."""
FOLDER_SEEDS = (3, 17, 32, 34)

BRIEFLY = """() => app.graph._nodes.filter(node => node.type === 'IAA_Teach').forEach(node => {
    node.widgets.find(widget => widget.name === 'steps').value = 2;
    node.widgets.find(widget => widget.name === 'overwrite').value = true;
})"""
"""Has what learns in the open workflow learn hardly anything; whole, it takes minutes."""


def template(api_name: str) -> Path:
    """The template of an API graph."""
    (name,) = [name for name, graph in API_NAMES.items() if graph == api_name]
    return WORKFLOWS / f"{name}.json"


def briefly(graph: Graph) -> Graph:
    """The graph, in which what learns learns hardly anything."""
    for node in graph.values():
        if node["class_type"] == "IAA_Teach":
            node["inputs"] |= {"steps": 2, "overwrite": True}
    return graph


def fill_pictures_folder(client: Client) -> list[Scene]:
    """Puts pictures into the folder that the data set's template reads; returns what is on them."""
    scenes = [make_scene(EVALUATION_SEED + seed, long_side=640, aspect=4 / 3) for seed in FOLDER_SEEDS]
    for number, scene in enumerate(scenes):
        client.upload(f"{number}.png", draw_scene(scene), PICTURES_FOLDER)
    return scenes
