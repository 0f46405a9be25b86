"""IAAModel: a checkpoint as one calls it with ids and tensors."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..adaptors.loaded import Adaptors, Given
from ..adaptors.low_rank import Updates, adapted_blocks
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.download import fetch
from ..config import (
    BANK_NAMES,
    IMAGE_TOKEN_INDEX,
    BankName,
    GenerationConfig,
    GenerationOptions,
    IAAConfig,
    PrecisionName,
    Task,
    VisionConfig,
)
from ..errors import Cancel, InputError
from ..generation.beam import beam_search
from ..generation.constraint import Grammar
from ..generation.decode import EagerSteps, Graphs, MakeSteps
from ..generation.likelihood import mean_logprobs
from ..generation.loop import generate
from ..generation.memory import generation_bytes, projection_bytes, vision_bytes
from ..generation.prefill import Prompt, embed
from ..generation.rows import Answer, OnToken
from ..model.banks import AdaptorBank, BaseBank, HeadBank, VisionBank
from ..model.devices import pick_device
from ..model.dtypes import Dtype, pick_dtype
from ..model.layers import Block, Ops
from ..model.linear.kinds import Kinds, kinds_for
from ..model.stack import Stack, interleave
from ..model.store import BankStore, Residency

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)


class IAAModel:
    """An IAA checkpoint whose banks are loaded when a task first needs them.

    Symbols: B rows, T tokens, N image patches, H hidden size, V vocabulary.

    Example:
        >>> from iaa_runtime import Conversation, IAAPipeline, preprocess
        >>> from iaa_runtime.shapes.scenes import draw_scene, make_scene
        >>> pipeline = IAAPipeline.from_pretrained(dtype="fp32")  # the demo model
        >>> model, question = pipeline.model, Conversation().user("How many shapes are there?")
        >>> input_ids = torch.tensor([question.encode(pipeline.tokenizer, "MM")])
        >>> pixel_values = preprocess([draw_scene(make_scene(7))], model.vision.image_size)
        >>> tokens = input_ids.shape[1] - 1 + model.num_image_tokens
        >>> model(input_ids, pixel_values, task="MM").shape == (1, tokens, model.config.vocab_size)
        True
        >>> ids = model.generate(input_ids, pixel_values, task="MM", eos_token_id=pipeline.eos)
        >>> pipeline.tokenizer.decode(ids[0], skip_special_tokens=True)
        '3'
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: Dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        *,
        precision: str | None = None,
        kinds: Kinds | None = None,
        cuda_graphs: bool = True,
        storage: torch.device | str | None = None,
        residency: Residency | None = None,
        on_load: Callable[[], object] | None = None,
    ) -> None:
        """Opens a checkpoint for a host.

        Args:
            checkpoint: where the weights come from.
            dtype: of weights and activations.
            device: where activations are, and so where the model computes.
            ops: namespace of layer classes.
            precision: ``"fp8"``, ``"int8"`` or ``"int4"`` for the largest weights; None keeps them in ``dtype``.
            kinds: a host's own kinds of linear layer; those that suit ``precision`` when None.
            cuda_graphs: on CUDA, capture decode steps (see :mod:`iaa_runtime.generation.decode`); not where a host
                moves weights.
            storage: where banks are loaded to, when a host moves them; ``device`` when None.
            residency: called with the banks at hand before each computation; None when weights stay where they are.
            on_load: called after each tensor that is loaded; what it raises ends the loading of that bank.
        """
        self.checkpoint = checkpoint
        self.config: IAAConfig = checkpoint.config
        self.device = torch.device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.precision = checkpoint.resolve_precision(precision)
        # A graph remembers where weights were.
        captured = cuda_graphs and residency is None and self.device.type == "cuda"
        self.steps: MakeSteps = Graphs() if captured else EagerSteps
        stored_on = torch.device(storage) if storage is not None else self.device
        hosted = ops is not None or residency is not None
        self._kinds = kinds or kinds_for(self.precision, self.dtype, stored_on, hosted=hosted)
        self._store = BankStore(checkpoint, self.dtype, stored_on, ops, self._kinds, residency, on_load)
        self._hosted = residency is not None
        self.adaptors = Adaptors(checkpoint)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: Dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        *,
        precision: PrecisionName | None = None,
        cuda_graphs: bool = True,
        vision_tower: str | Path | None = None,
        download: bool = False,
        revision: str | None = None,
    ) -> IAAModel:
        """Opens a checkpoint; no weights are loaded yet.

        Args:
            folder: the checkpoint's folder, a single weight file in it, or (with ``download``) a hub repository.
            dtype: of weights and activations: ``torch.float32``, or ``"fp32"``, ``"bf16"``, ``"fp16"``; when None or
                ``"auto"``, bfloat16 where the device computes in it, a CPU with instructions for it included, and else
                float32 on the CPU and float16 elsewhere.
            device: where the model runs; ``"auto"`` is an accelerator if there is one.
            ops: namespace of layer classes (``Linear``, ``Embedding``, ``RMSNorm``, ``LayerNorm``, ``Conv2d``);
                ``torch.nn`` when None.
            precision: below 16 bits, of the largest weights: ``"fp8"``, ``"int8"``, ``"int4"``; None keeps ``dtype``.
            cuda_graphs: on CUDA, capture decode steps as a graph instead of launching their kernels one by one. The
                newest capture of each task and its cache stay on the device until a bank is unloaded.
            vision_tower: folder of the CLIP tower, where it is neither in the shards nor where the config says.
            download: fetch a repository of the Hugging Face hub that is not on this machine.
            revision: of that repository.

        Raises:
            CheckpointError: files are missing or do not fit the config.
            ConfigError: the config describes something this runtime does not compute, or there is no such dtype.
            InputError: there is no such device.
            DownloadError: the download failed, or there is no network.
        """
        device = pick_device(device)  # before anything is fetched
        path = Path(os.path.expanduser(folder))
        if download and not os.path.exists(path):
            path = fetch(str(folder), revision)
        model = cls(Checkpoint(path, vision_tower), dtype, device, ops, precision=precision, cuda_graphs=cuda_graphs)
        log.debug("opened %s on %s in %s", path, model.device, model.precision or model.dtype)
        return model

    def __repr__(self) -> str:
        precision = "" if self.precision is None else f", precision={self.precision!r}"
        about = f"device={str(self.device)!r}, dtype={self.dtype}{precision}, loaded_banks={self.loaded_banks}"
        return f"{type(self).__name__}({str(self.checkpoint.folder)!r}, {about})"

    # Banks -----------------------------------------------------------------------------------------------------------

    @property
    def vision(self) -> VisionConfig:
        """The vision tower's geometry; raises :class:`CheckpointError` where the checkpoint has no tower."""
        return self.checkpoint.require_vision()

    @property
    def num_image_tokens(self) -> int:
        """N: what one image takes in a prompt."""
        return self.vision.num_patches + (self.config.mm_vision_select_feature == "cls_patch")

    @property
    def loaded_banks(self) -> tuple[BankName, ...]:
        """Banks whose weights are in memory."""
        return self._store.loaded

    def load(self, *banks: BankName) -> None:
        """Loads banks that are not in memory yet; all of the checkpoint's when none is named.

        Raises:
            CheckpointError: the checkpoint lacks a bank.
        """
        for bank in banks or self._store.present:
            self._store.load(bank)

    def unload(self, *banks: BankName) -> None:
        """Frees banks; all when none is named. They are loaded again when next needed."""
        self._store.unload(*(banks or BANK_NAMES))
        self.adaptors.release()
        if isinstance(self.steps, Graphs):
            self.steps.clear()

    def bank(self, name: BankName) -> nn.Module:
        """A bank's module; its weights are loaded on first use."""
        return self._store.load(name)

    def stack(self, task: Task | str, updates: Updates | None = None) -> Stack:
        """The task's stack; loads the banks it needs.

        Args:
            task: which workflow.
            updates: of the matrices of the task's adaptor blocks, on the model's device, such as those in training;
                those of :attr:`adaptors` when None.
        """
        task = Task.parse(task)
        base = cast("list[Block]", list(cast(BaseBank, self.bank("base")).layers))
        head = cast(HeadBank, self.bank(task.stack_bank))
        adapted_by: tuple[object, ...] = self.adaptors.on(task) if updates is None else (updates,)
        if isinstance(head, AdaptorBank):
            adaptors = cast("list[Block]", list(head.layers))
            if adapted_by:
                if updates is None:
                    updates = self.adaptors.updates(task, self.device, self.dtype, keep=not self._hosted)
                adaptors = adapted_blocks(adaptors, updates)
            base = interleave(base, adaptors, self.config.iaa_insert_layers)
        layers = (head.embed_tokens, base, head.norm, head.lm_head)
        return Stack(self.config, *layers, self.dtype, self.device, adapted_by)

    def adapted(self, *adaptors: Given) -> IAAModel:
        """The same model, with its weights shared, answering with these adaptors in place of its own.

        Raises:
            AdaptorError: a file is broken, or was taught on another model.
        """
        twin = copy.copy(self)
        twin.adaptors = Adaptors(self.checkpoint, self.adaptors.read(*adaptors))
        return twin

    # Images ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def vision_features(self, pixel_values: Tensor) -> Tensor:
        """Runs the tower alone: (B, 3, size, size), preprocessed -> (B, N, mm_hidden_size). The same for MM and G.

        Raises:
            InputError: images of another size than the tower's.
        """
        size = self.vision.image_size
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, size, size):
            raise InputError(
                f"pixel_values has shape {list(pixel_values.shape)}; this checkpoint takes (B, 3, {size}, {size}). "
                f"Make them with iaa_runtime.preprocess(pictures, size={size})."
            )
        self._store.use(["vision"], vision_bytes(self.vision, len(pixel_values), self.dtype))
        tower = cast(VisionBank, self.bank("vision"))
        features: Tensor = tower(pixel_values.to(self.device, self.dtype))
        return features

    @torch.no_grad()
    def project(self, features: Tensor, task: Task | str) -> Tensor:
        """Projects tower features (B, N, mm_hidden_size) into the task's language space, (B, N, H)."""
        task = Task.parse(task)
        if not task.sees:
            raise InputError("The Text task takes no image. Use MM to talk about one, or G to ground in one.")
        self._store.use([task.stack_bank], projection_bytes(self.config, features[..., 0].numel(), self.dtype))
        projected: Tensor = cast(AdaptorBank, self.bank(task.stack_bank)).projector(
            features.to(self.device, self.dtype)
        )
        return projected

    def encode_images(self, pixel_values: Tensor, task: Task | str = Task.MM) -> Tensor:
        """Preprocessed images (B, 3, size, size) -> what stands in the prompt for each, (B, N, H)."""
        return self.project(self.vision_features(pixel_values), task)

    # Workflows -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, pixel_values: Tensor | None = None, task: Task | str = Task.MM) -> Tensor:
        """Logits of a batch of equally long prompts.

        Args:
            input_ids: (B, T) int64; -200 marks where an image's N patch features go.
            pixel_values: (B, 3, size, size), one image a row; None where no row has a mark.
            task: which workflow.

        Returns:
            (B, T', V) float32, T' = T - 1 + N with an image and T without.

        Raises:
            InputError: marks and images do not go together.
        """
        task = Task.parse(task)
        prompts = self._prompts(input_ids, pixel_values, task)
        stack = self._ready_stack(task, prompts, 0)
        embedded = torch.stack([embed(stack, p.ids, p.image) for p in prompts])
        return stack.logits(stack.hidden(embedded))

    def generate(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        task: Task | str = Task.MM,
        *,
        eos_token_id: Sequence[int] | int = (),
        pad_token_id: int = 0,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Unpack[GenerationOptions],
    ) -> Tensor:
        """Answers a batch of equally long prompts.

        Args:
            input_ids: (B, T) int64; -200 marks where an image's patch features go.
            pixel_values: (B, 3, size, size), one image a row.
            task: which workflow.
            eos_token_id: ids that end an answer.
            pad_token_id: fills rows behind their end.
            on_token: called with (row, token id) for every new token; True ends the row.
            cancelled: checked at every token; True raises :class:`Cancelled`.
            **options: fields of :class:`GenerationConfig`, such as ``max_new_tokens``, ``do_sample``, ``num_beams``.

        Returns:
            New tokens (B, new) int64, without the prompt, the end token included.
        """
        task = Task.parse(task)
        config = GenerationConfig.for_task(task, **options)
        if config.format:
            raise InputError("A format is held over a tokenizer's tokens, and here are ids alone. Use IAAPipeline.")
        if config.stop:
            raise InputError("A text to stop at is looked for in text, and here are ids alone. Use IAAPipeline.")
        eos = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        prompts = self._prompts(input_ids, pixel_values, task)
        answers = self.answer(prompts, task, config, eos, on_token=on_token, cancelled=cancelled)
        longest = max(len(a.ids) for a in answers)
        return torch.tensor([a.ids + [pad_token_id] * (longest - len(a.ids)) for a in answers])

    @torch.no_grad()
    def answer(
        self,
        prompts: Sequence[Prompt],
        task: Task | str,
        config: GenerationConfig,
        eos: Sequence[int],
        *,
        constraint: Grammar | None = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
    ) -> list[Answer]:
        """Answers prompts of any lengths and images as one batch; see :func:`iaa_runtime.generation.loop.generate`."""
        task = Task.parse(task)
        stack = self._ready_stack(task, prompts, config.max_new_tokens, config.num_beams)
        if config.num_beams > 1:
            if constraint is not None:
                raise InputError("Beam search and box grammar do not go together: set num_beams to 1, or grammar off.")
            return beam_search(stack, prompts, config, eos, on_token=on_token, cancelled=cancelled)
        return generate(
            stack, prompts, config, eos, constraint=constraint, steps=self.steps, on_token=on_token, cancelled=cancelled
        )

    @torch.no_grad()
    def rate(
        self, prompts: Sequence[Prompt], task: Task | str, answers: Sequence[Sequence[int]], *, cancelled: Cancel = None
    ) -> list[list[float]]:
        """How likely answers are to each prompt; see :func:`iaa_runtime.generation.likelihood.mean_logprobs`."""
        task = Task.parse(task)
        stack = self._ready_stack(task, prompts, sum(map(len, answers)))
        return mean_logprobs(stack, prompts, answers, cancelled)

    def _ready_stack(self, task: Task, prompts: Sequence[Prompt], new_tokens: int, beams: int = 1) -> Stack:
        longest = max(prompt.length for prompt in prompts)
        new_tokens = max(0, min(new_tokens, self.config.max_position_embeddings - longest))
        working = generation_bytes(self.config, task, len(prompts), longest, new_tokens, self.dtype, beams)
        working += self._kinds.working_bytes(self.dtype) + self.adaptors.nbytes(task, self.dtype)
        self._store.use(["base", task.stack_bank], working)
        return self.stack(task)

    def _prompts(self, input_ids: Tensor, pixel_values: Tensor | None, task: Task) -> list[Prompt]:
        if input_ids.ndim != 2:
            raise InputError(f"input_ids has shape {list(input_ids.shape)}; it must be (B, T).")
        images: list[Tensor | None] = [None] * len(input_ids)
        if pixel_values is not None:
            if len(pixel_values) != len(input_ids):
                raise InputError(f"{len(input_ids)} prompts, but {len(pixel_values)} images. Give one image a prompt.")
            images = list(self.encode_images(pixel_values, task))
        vocabulary = self.config.vocab_size
        rows = input_ids.tolist()
        bad = [token for row in rows for token in row if token != IMAGE_TOKEN_INDEX and not 0 <= token < vocabulary]
        if bad:
            raise InputError(
                f"Token id {bad[0]} is outside the vocabulary of {vocabulary}. Does the tokenizer belong to the "
                "checkpoint?"
            )
        return [Prompt(tuple(ids), image) for ids, image in zip(rows, images, strict=True)]
