"""Everything that is ComfyUI's business: folders, memory, interrupt. No other module touches these, but for
:mod:`.adaptor_files`, :mod:`.room` and :mod:`.quantized`.

A checkpoint's banks are owned by model patchers, so ComfyUI can move, stream and evict them like any other model. The
patcher class is looked up when it is needed: ComfyUI replaces it when dynamic VRAM management is on.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import torch

from ..iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, PRECISION, Checkpoint
from ..iaa_runtime.checkpoint.download import (
    PUBLISHED_BYTES,
    PUBLISHED_REPOSITORY,
    PUBLISHED_TERMS,
    fetch,
    free_bytes,
    part_fetched,
)
from ..iaa_runtime.config import BankName
from ..iaa_runtime.config.geometry import MODEL_TYPE
from ..iaa_runtime.config.small_files import load_json
from ..iaa_runtime.errors import CheckpointError, spelled
from ..iaa_runtime.model.dtypes import default_dtype, dtype_name
from ..iaa_runtime.model.layers import Block
from ..iaa_runtime.model.linear.kinds import PRECISIONS
from ..iaa_runtime.model.vision import VisionBlock
from ..iaa_runtime.pipeline.background import begin
from ..iaa_runtime.pipeline.local import IAAPipeline
from ..iaa_runtime.pipeline.model import IAAModel
from ..iaa_runtime.text.tokenizer import load_tokenizer
from .quantized import hosted_kinds

log = logging.getLogger(__name__)

FOLDER = "iaa"
"""The key of our model folders: ``models/iaa`` and whatever ``extra_model_paths.yaml`` adds under that name."""

DEMO_NAME = "demo (coloured shapes)"
DTYPES = {"auto": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""In what the Loader lets a model compute."""
AS_STORED = "as stored"
WEIGHTS = {AS_STORED: None} | {name: name for name in PRECISIONS}
"""In what it lets the large matrices be kept."""


def temporary_folder() -> Path:
    """Where files lie that ComfyUI shows and clears away when it starts."""
    return Path(folder_paths.get_temp_directory())


# Checkpoints ----------------------------------------------------------------------------------------------------------


def own_folder() -> Path:
    """``models/iaa``, where what is new goes: of other roots, some may be read-only or of another program."""
    return Path(folder_paths.models_dir, FOLDER)


def register_folder() -> None:
    """Tells ComfyUI about it."""
    folder_paths.add_model_folder_path(FOLDER, str(own_folder()))


def find_checkpoints() -> dict[str, Path]:
    """Every checkpoint in every root of ours: its path below the root -> its folder; the demo one first."""
    found = {DEMO_NAME: DEMO_CHECKPOINT} if DEMO_CHECKPOINT.is_dir() else {}
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)):
        for folder in _checkpoint_folders(root):
            name = folder.relative_to(root).as_posix() if folder != root else root.name
            found.setdefault(name + _converted_to(folder), folder)
    return found


def _converted_to(folder: Path) -> str:
    """What the name of a converted checkpoint says of it; a config that cannot be read is told of when it is opened."""
    try:
        precision = load_json(folder / "config.json").get(PRECISION)
    except CheckpointError:
        return ""
    return f" ({precision})" if precision in PRECISIONS else ""


def _checkpoint_folders(root: Path) -> Iterator[Path]:
    """Folders with a config and a tokenizer, behind links too: 33 GB are often linked to from several places."""
    seen, found = set[str](), set[Path]()
    for name, folders, files in os.walk(root, followlinks=True):
        path = Path(name)
        is_inside = not found.isdisjoint(path.parents)  # of another one, where a tower may be, too
        if {"config.json", "tokenizer.json"} <= set(files) and (not is_inside or _is_ours(path)):
            found.add(path)
            yield path
        real = os.path.realpath(name)
        if real in seen:
            folders.clear()  # links may form a loop
        folders.sort()
        seen.add(real)


def _is_ours(folder: Path) -> bool:
    try:
        return bool(load_json(folder / "config.json").get("model_type") == MODEL_TYPE)
    except CheckpointError:
        return False


def checkpoint_options() -> list[str]:
    """What the Loader offers: what is here, and the published checkpoint, which can be fetched."""
    return [*find_checkpoints(), *([PUBLISHED_REPOSITORY] if PUBLISHED_REPOSITORY not in find_checkpoints() else [])]


def missing_checkpoint_message(name: str) -> str:
    """What to do about a checkpoint that is not here."""
    roots = " or ".join(folder_paths.get_folder_paths(FOLDER))
    if name != PUBLISHED_REPOSITORY:
        needed = "its folder (config.json, tokenizer.json, weights)"
        return f"There is no checkpoint {spelled(name)}. Put {needed} into {roots}."
    target = own_folder() / name
    return (
        f"{name} is not here yet. It takes {PUBLISHED_BYTES / 1e9:.0f} GB, and would go to {target}, where "
        f"{free_bytes(target) / 1e9:.0f} GB are free. {PUBLISHED_TERMS} To fetch it, switch on 'download' in IAA "
        "Loader and run again; the bar shows how far it is, and if you cancel, files that are complete are kept. Or "
        f"put a copy of its folder into {roots}."
    )


def checkpoint_folder(name: str, download: bool) -> Path:
    """The folder of a checkpoint that the Loader offers; fetches the published one if asked to.

    Raises:
        CheckpointError: it is not here; says where it belongs.
        DownloadError: it could not be fetched.
    """
    folder = find_checkpoints().get(name)
    if folder is not None:
        return folder
    if not (download and name == PUBLISHED_REPOSITORY):
        raise CheckpointError(missing_checkpoint_message(name))
    return _download(own_folder() / PUBLISHED_REPOSITORY)


def _download(target: Path) -> Path:
    """Fetches in a thread of its own: this one moves the bar, and leaves at Cancel, whatever the network waits for."""
    cancelled, part = threading.Event(), 0.0
    bar = comfy.utils.ProgressBar(1000)
    fetching = begin(partial(fetch, PUBLISHED_REPOSITORY, folder=target, cancelled=cancelled.is_set), "download")
    try:
        while not wait([fetching], timeout=0.2).done:
            check_interrupt()
            part = max(part, part_fetched(target))  # of a file that broke off, some versions keep nothing
            bar.update_absolute(int(part * 1000))
    finally:
        cancelled.set()
    return fetching.result()


def fingerprint(name: str) -> tuple[Any, ...]:
    """Changes when a checkpoint's files do."""
    folder = find_checkpoints().get(name)
    if folder is None:
        return (name,)
    suffixes = (".json", ".safetensors", ".bin")
    files = sorted(p for p in folder.rglob("*") if p.suffix in suffixes and os.path.exists(p))  # opening tells of links
    return (name, str(folder), *((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in files))


# Models ---------------------------------------------------------------------------------------------------------------


class BankPatchers:
    """Owns the banks through model patchers and loads the ones in use: the host's side of ``Residency``."""

    def __init__(self, load_device: torch.device, offload_device: torch.device) -> None:
        self._load_device, self._offload_device = load_device, offload_device
        self._patchers: dict[BankName, Any] = {}

    def __call__(self, banks: Mapping[BankName, torch.nn.Module], working_bytes: int) -> None:
        """Loads ``banks`` before each use, since anything may have evicted them since the last."""
        check_interrupt()
        for name, module in banks.items():
            known = self._patchers.get(name)
            if known is None or known.model is not module:
                memory.archive_model_dtypes(module)
                _make_interruptible(module)
                patcher = comfy.model_patcher.CoreModelPatcher
                self._patchers[name] = patcher(module, self._load_device, self._offload_device)
        memory.load_models_gpu([self._patchers[name] for name in banks], memory_required=working_bytes)

    @property
    def all(self) -> list[Any]:
        """Every patcher so far."""
        return list(self._patchers.values())

    def forget(self) -> None:
        """Owns no bank any more, so that nothing of them stays in memory once a model has unloaded them."""
        self._patchers.clear()


def _make_interruptible(module: torch.nn.Module) -> None:
    """Looks for Cancel before every layer: on a CPU, reading a long prompt or seeing a batch takes many seconds."""

    def check(layer: torch.nn.Module, inputs: Any) -> None:
        check_interrupt()

    for layer in module.modules():
        if isinstance(layer, (Block, VisionBlock)):
            layer.register_forward_pre_hook(check)


@dataclass(eq=False)
class ModelHandle:
    """What an ``IAA_MODEL`` socket carries.

    Attributes:
        pipeline: answers.
        patchers: owns the weights.
        device: where it computes.
        opened: the handle that the Loader gave, where this is the same model with adaptors: while one of them is used,
            the checkpoint is not opened a second time.
    """

    pipeline: IAAPipeline
    patchers: BankPatchers
    device: torch.device
    opened: ModelHandle | None = None

    @property
    def patcher(self) -> Any:
        """One of the patchers, for ComfyUI's caches, which ask outputs whether a patcher is in them."""
        return next(iter(self.patchers.all), None)

    def get_models(self) -> list[Any]:
        """Every patcher, for ComfyUI's tracker of what the current prompt uses."""
        return self.patchers.all

    def is_dynamic(self) -> bool:
        """Whether dynamic VRAM management has the weights."""
        return any(patcher.is_dynamic() for patcher in self.patchers.all)

    def adapted(self, file: Path, strength: float) -> ModelHandle:
        """The same model, its weights shared, answering with an adaptor besides those it has."""
        pipeline = self.pipeline.adapted(*self.pipeline.adaptors.active, (file, strength))
        return ModelHandle(pipeline, self.patchers, self.device, self)

    @contextmanager
    def in_use(self) -> Iterator[IAAPipeline]:
        """The pipeline, with its device made current."""
        with memory.cuda_device_context(self.device):
            yield self.pipeline


_alive: weakref.WeakValueDictionary[Any, ModelHandle] = weakref.WeakValueDictionary()
_kept: dict[str, ModelHandle] = {}
"""By checkpoint: one of each, since whoever tries int8 and then int4 does not mean to hold both."""


def open_model(
    name: str, dtype_option: str, weights: str, device_option: str, keep_loaded: bool, download: bool
) -> ModelHandle:
    """Opens a checkpoint, or hands out the one that is open already.

    Args:
        name: one of :func:`checkpoint_options`.
        dtype_option: one of ``DTYPES``.
        weights: one of ``WEIGHTS``.
        device_option: one of :func:`device_options`.
        keep_loaded: remember the model when no workflow in memory uses it any more, in place of the one of the same
            checkpoint that was remembered before; otherwise remember none of it.
        download: fetch the published checkpoint if it is not here.
    """
    folder = checkpoint_folder(name, download)
    device = memory.resolve_gpu_device_option(device_option) or memory.get_torch_device()
    dtype = DTYPES[dtype_option] or _auto_dtype(device)
    asked = (fingerprint(name), dtype, weights, device)
    handle = _alive.get(asked)
    if handle is None:
        checkpoint = Checkpoint(folder)
        precision = checkpoint.resolve_precision(WEIGHTS[weights])
        own = (asked[0], dtype, precision, device)  # the same whether a converted folder's precision is named or not
        handle = _alive.get(own) or _open(checkpoint, dtype, precision, device)
        _alive[asked] = _alive[own] = handle
    if keep_loaded:
        _kept[name] = handle
    else:
        _kept.pop(name, None)
    return handle


def _open(checkpoint: Checkpoint, dtype: torch.dtype, precision: str | None, device: torch.device) -> ModelHandle:
    offload = torch.device("cpu") if memory.is_device_cpu(device) else memory.text_encoder_offload_device()
    patchers = BankPatchers(device, offload)
    model = IAAModel(
        checkpoint,
        dtype,
        device,
        comfy.ops.manual_cast,
        precision=precision,
        kinds=hosted_kinds(precision, dtype, device),
        storage=offload,
        residency=patchers,
        on_load=check_interrupt,
    )
    kept = f", weights in {precision}" if precision else ""
    log.info("IAA: opened %s (%s on %s%s)", checkpoint.folder, dtype_name(dtype), device, kept)
    return ModelHandle(IAAPipeline(model, load_tokenizer(checkpoint.folder)), patchers, device)


def device_options() -> list[str]:
    """What the Loader lets a model compute on, of which :func:`open_model` takes one."""
    return memory.get_gpu_device_options()


def intermediate(tensor: torch.Tensor) -> torch.Tensor:
    """An IMAGE or MASK where ComfyUI wants what passes between nodes, in its dtype."""
    return tensor.to(memory.intermediate_device(), memory.intermediate_dtype())


def _auto_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return default_dtype(device)  # ComfyUI knows no CPU that computes in 16 bit
    if memory.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if memory.should_use_fp16(device) else torch.float32


# Interrupt ------------------------------------------------------------------------------------------------------------


def check_interrupt() -> bool:
    """Raises ComfyUI's interrupt if the user pressed Cancel; otherwise False, as a ``cancelled`` callback."""
    memory.throw_exception_if_processing_interrupted()
    return False
