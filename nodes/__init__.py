"""The pack's nodes, and how ComfyUI gets them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from .adaptor_files import register_adaptors
from .boxes_convert import ConvertBoxes
from .boxes_crop import CropBoxes
from .boxes_detector import DetectorProvider
from .boxes_mask import BoxesToMask
from .boxes_merge import MergeBoxes
from .boxes_paste import PasteCrops, PasteTakenCrops
from .boxes_select import SelectBoxes
from .boxes_track import TrackBoxes
from .caption import Caption
from .caption_boxes import CaptionBoxes
from .chat import ChatTurn
from .choose import Choose
from .demo_new_shape import DemoNewShape
from .demo_scene import DemoScene
from .ground import Ground
from .help import serve_help
from .host import register_folder
from .label_image import LabelImage
from .load_adaptor import LoadAdaptor
from .loader import Loader
from .remote_loader import RemoteLoader
from .teach import Teach
from .text import Text

BOX_TOOLS: list[type[io.ComfyNode]] = [
    SelectBoxes,
    MergeBoxes,
    TrackBoxes,
    BoxesToMask,
    CropBoxes,
    PasteCrops,
    ConvertBoxes,
    DetectorProvider,
]
ASKING: list[type[io.ComfyNode]] = [Caption, Ground, Text, ChatTurn, Choose, LabelImage, CaptionBoxes]
NODES: list[type[io.ComfyNode]] = [
    Loader,
    RemoteLoader,
    LoadAdaptor,
    Teach,
    *ASKING,
    DemoScene,
    DemoNewShape,
    *BOX_TOOLS,
]
INNER: list[type[io.ComfyNode]] = [PasteTakenCrops]
"""What nodes put in their own place; menus have none of it."""

log = logging.getLogger(__name__)


class IAAExtension(ComfyExtension):
    """Everything that this pack adds to ComfyUI."""

    async def on_load(self) -> None:
        """Tells ComfyUI where our checkpoints and adaptors are kept, and what help there is."""
        register_folder()
        register_adaptors()
        name = Path(__file__).parents[1].name
        if re.fullmatch(r"[\w-]+", name, re.ASCII):  # ComfyUI serves web/ under it, and cuts it at a point
            serve_help(name)
        else:
            log.warning(
                "IAA: browsers may not reach a pack in a folder named %r: boxes, texts and help pages are missing "
                "then. Rename it, with letters, digits, - and _ (such as iaa-nodes), and restart.",
                name,
            )

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in the order of the menu."""
        return [*NODES, *INNER]
