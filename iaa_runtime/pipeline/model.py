"""The model: banks of weights, the stacks made of them, and the three workflows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.download import fetch
from ..config import BANK_NAMES, IMAGE_TOKEN_INDEX, BankName, GenerationConfig, IAAConfig, Task, VisionConfig
from ..errors import CheckpointError, ConfigError, InputError
from ..generation.beam import beam_search
from ..generation.loop import Answer, Constraint, OnToken, generate
from ..generation.memory import generation_bytes, vision_bytes, widening_bytes
from ..generation.prefill import Cancel, Prompt, embed
from ..model.banks import AdaptorBank, BaseBank, HeadBank, VisionBank, bank_shapes, build_bank
from ..model.layers import Block, Ops
from ..model.linear.onednn import can_multiply, fast_in_bf16
from ..model.stack import Stack, interleave
from ..model.store import read_bank

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Residency(Protocol):
    """A host's say in where weights are: called before banks are computed with."""

    def __call__(self, banks: Mapping[BankName, nn.Module], working_bytes: int) -> None:
        """Makes ``banks`` usable on the model's device and room there for ``working_bytes`` beside them."""


class IAAModel:
    """An IAA checkpoint, its banks read from disk when a task first needs them.

    Symbols: B rows, T tokens, N image patches, H hidden size, V vocabulary.

    Example:
        >>> model = IAAModel.from_pretrained("checkpoint", dtype=torch.bfloat16, device="cuda")
        >>> ids = model.generate(input_ids, pixel_values, task="G", eos_token_id=[128009])
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        *,
        precision: str | None = None,
        cuda_graphs: bool = False,
        storage: torch.device | str | None = None,
        residency: Residency | None = None,
        on_read: Callable[[], object] | None = None,
    ) -> None:
        """Opens a checkpoint for a host.

        Args:
            checkpoint: where the weights come from.
            dtype: of weights and activations.
            device: where activations are, and so where the model computes.
            ops: namespace of layer classes.
            precision: ``"fp8"``, ``"int8"`` or ``"int4"`` for the weights that :mod:`.model.precision` shrinks.
            cuda_graphs: on CUDA, capture decode steps (see :mod:`.decode`); not where a host moves weights.
            storage: where banks are read to, when a host moves them; ``device`` when None.
            residency: called with the banks at hand before each computation; None when weights stay where they are.
            on_read: called after each tensor that is read from disk; what it raises ends the reading of that bank.
        """
        self.checkpoint = checkpoint
        self.config: IAAConfig = checkpoint.config
        self.device = torch.device(device)
        self.dtype = dtype or default_dtype(self.device)
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype {self.dtype} is not supported. Choose one of {', '.join(map(str, DTYPES))}.")
        self.precision, self._ops = precision, ops
        self._cuda_graphs = cuda_graphs and residency is None  # a graph remembers where weights were
        self._storage = torch.device(storage) if storage is not None else self.device
        self._onednn = ops is None and residency is None and can_multiply(self.dtype, self._storage)
        self._residency = residency
        self._on_read = on_read
        self._banks: dict[BankName, nn.Module] = {}
        self._built: dict[BankName, nn.Module] = {}  # on no device, waiting for their weights
        for bank in BANK_NAMES:
            if checkpoint.has(bank):
                checkpoint.check(bank, bank_shapes(bank, self.config, checkpoint.vision))
                self._built[bank] = self._build(bank)  # what cannot be built is said now

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        ops: Ops | None = None,
        *,
        precision: str | None = None,
        cuda_graphs: bool = False,
        vision_tower: str | Path | None = None,
        download: bool = False,
        revision: str | None = None,
    ) -> IAAModel:
        """Opens a checkpoint; no weights are read yet.

        Args:
            folder: the checkpoint's folder, a single weight file in it, or (with ``download``) a hub repository.
            dtype: of weights and activations; when None, bfloat16 where the device computes in it, a CPU with
                instructions for it included, and else float32 on the CPU and float16 elsewhere.
            device: where the model runs.
            ops: namespace of layer classes (``Linear``, ``Embedding``, ``RMSNorm``, ``LayerNorm``, ``Conv2d``);
                ``torch.nn`` when None.
            precision: below 16 bits, of the largest weights: ``"fp8"``, ``"int8"``, ``"int4"``; None keeps ``dtype``.
            cuda_graphs: on CUDA, capture decode steps as a graph instead of launching their kernels one by one.
            vision_tower: folder of the CLIP tower, where it is neither in the shards nor where the config says.
            download: fetch a repository of the Hugging Face hub that is not on this machine.
            revision: of that repository.

        Raises:
            CheckpointError: files are missing or do not fit the config.
            ConfigError: the config describes something this runtime does not compute.
            DownloadError: the download failed, or there is no network.
        """
        path = Path(folder).expanduser()
        if download and not path.exists():
            path = fetch(str(folder), revision)
        return cls(Checkpoint(path, vision_tower), dtype, device, ops, precision=precision, cuda_graphs=cuda_graphs)

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
        return tuple(bank for bank in BANK_NAMES if bank in self._banks)

    def load(self, *banks: BankName) -> None:
        """Reads banks that are not loaded yet; all of the checkpoint's when none is named.

        Raises:
            CheckpointError: the checkpoint lacks a bank.
        """
        for bank in banks or tuple(b for b in BANK_NAMES if self.checkpoint.has(b)):
            self.bank(bank)

    def unload(self, *banks: BankName) -> None:
        """Frees banks; all when none is named. They are read again when next needed."""
        for bank in banks or BANK_NAMES:
            self._banks.pop(bank, None)

    def bank(self, name: BankName) -> nn.Module:
        """A bank's module, read from disk on first use."""
        if name not in self._banks:
            if name not in BANK_NAMES:
                raise ConfigError(f"There is no bank {name!r}. The banks are {', '.join(BANK_NAMES)}.")
            if name == "vision":
                self.checkpoint.require_vision()
            if not self.checkpoint.has(name):
                raise CheckpointError(
                    f"{self.checkpoint.folder} holds no bank {name!r}, which is needed here. Use a complete checkpoint."
                )
            module = self._built.pop(name) if name in self._built else self._build(name)
            weights = {}
            for key, tensor in read_bank(
                self.checkpoint, name, self.dtype, self._storage, self.precision, self._onednn
            ):
                weights[key] = tensor
                if self._on_read is not None:
                    self._on_read()
            module.load_state_dict(weights, assign=True)
            self._banks[name] = module.requires_grad_(False).eval()
        return self._banks[name]

    def _use(self, banks: Sequence[BankName], working_bytes: int) -> None:
        modules = {bank: self.bank(bank) for bank in banks}
        if self._residency is not None:
            self._residency(modules, working_bytes)

    def _build(self, bank: BankName) -> nn.Module:
        shape = (self.config, self.checkpoint.vision)
        return build_bank(bank, *shape, self._ops, self.dtype, precision=self.precision, onednn=self._onednn)

    def stack(self, task: Task | str) -> Stack:
        """The task's stack; reads the banks it needs."""
        task = Task.parse(task)
        base = cast("list[Block]", list(cast(BaseBank, self.bank("base")).layers))
        head = cast(HeadBank, self.bank(task.stack_bank))
        if isinstance(head, AdaptorBank):
            base = interleave(base, cast("list[Block]", list(head.layers)), self.config.iaa_insert_layers)
        layers = (head.embed_tokens, base, head.norm, head.lm_head)
        return Stack(self.config, *layers, self.dtype, self.device, self._cuda_graphs)

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
                "Make them with iaa_runtime.images.load.preprocess."
            )
        self._use(["vision"], vision_bytes(self.vision, len(pixel_values), self.dtype))
        tower = cast(VisionBank, self.bank("vision"))
        features: Tensor = tower(pixel_values.to(self.device, self.dtype))
        return features

    @torch.no_grad()
    def project(self, features: Tensor, task: Task | str) -> Tensor:
        """Projects tower features (B, N, mm_hidden_size) into the task's language space, (B, N, H)."""
        task = Task.parse(task)
        if not task.sees:
            raise InputError("The Text task takes no image. Use MM to talk about one, or G to ground in one.")
        self._use([task.stack_bank], 4 * features.numel() * self.dtype.itemsize)
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
        **options: Any,
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
        constraint: Constraint | None = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
    ) -> list[Answer]:
        """Answers prompts of any lengths and images as one batch; see :func:`iaa_runtime.generation.loop.generate`."""
        task = Task.parse(task)
        stack = self._ready_stack(task, [p for p in prompts for _ in range(config.num_beams)], config.max_new_tokens)
        if config.num_beams > 1:
            if constraint is not None:
                raise InputError("Beam search and box grammar do not go together: set num_beams to 1, or grammar off.")
            return beam_search(stack, prompts, config, eos, on_token=on_token, cancelled=cancelled)
        return generate(stack, prompts, config, eos, constraint=constraint, on_token=on_token, cancelled=cancelled)

    def _ready_stack(self, task: Task, prompts: Sequence[Prompt], new_tokens: int) -> Stack:
        longest = max(prompt.length for prompt in prompts)
        new_tokens = max(0, min(new_tokens, self.config.max_position_embeddings - longest))
        working = generation_bytes(self.config, task, len(prompts), longest, new_tokens, self.dtype)
        working += widening_bytes(self.precision, self.dtype)
        self._use(["base", task.stack_bank], working)
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
        bad = input_ids[(input_ids != IMAGE_TOKEN_INDEX) & ((input_ids < 0) | (input_ids >= vocabulary))]
        if len(bad):
            raise InputError(
                f"Token id {int(bad[0])} is outside the vocabulary of {vocabulary}. Does the tokenizer belong to the "
                "checkpoint?"
            )
        return [Prompt(tuple(ids), image) for ids, image in zip(input_ids.tolist(), images, strict=True)]


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, a CPU with instructions for it included; else float16, or float32."""
    if device.type == "cpu":
        return torch.bfloat16 if fast_in_bf16() else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.float16 if device.type == "mps" else torch.bfloat16
