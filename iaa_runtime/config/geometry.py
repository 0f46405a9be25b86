"""What a checkpoint is (:class:`IAAConfig`, :class:`VisionConfig`) and which workflow runs on it (:class:`Task`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from itertools import pairwise
from typing import Any, Literal

from ..errors import ConfigError, InputError

BankName = Literal["base", "text", "mm", "g", "vision"]
BANK_NAMES: tuple[BankName, ...] = ("base", "text", "mm", "g", "vision")

IMAGE_TOKEN_INDEX = -200
"""The id that stands for "the image's patch features go here" in a prompt."""

PUBLISHED_INSERT_LAYERS = (0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31)
"""Base layers behind which the published adaptor layers run (Inner-Adaptor Architecture, arXiv 2408.12902)."""


class Task(str, Enum):
    """The three workflows: multimodal chat, grounding, and the frozen language model alone."""

    MM = "MM"
    G = "G"
    TEXT = "Text"

    @property
    def banks(self) -> tuple[BankName, ...]:
        """The banks of weights that this task reads, the image's included."""
        return ("base", self.stack_bank, "vision") if self.sees else ("base", self.stack_bank)

    @property
    def stack_bank(self) -> Literal["text", "mm", "g"]:
        """The bank that holds this task's embedding, norm and head."""
        if self is Task.TEXT:
            return "text"
        return "mm" if self is Task.MM else "g"

    @property
    def sees(self) -> bool:
        """Whether the task can be given an image."""
        return self is not Task.TEXT

    @classmethod
    def parse(cls, value: str | Task) -> Task:
        """Returns the task of that name, whatever its case; raises :class:`ConfigError` for any other."""
        for task in cls:
            if str(value.value if isinstance(value, Task) else value).lower() == task.value.lower():
                return task
        raise ConfigError(f"There is no task {value!r}. Choose one of {', '.join(t.value for t in cls)}.")


def _require(raw: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]], where: str) -> None:
    """Raises for settings that would change the computation and that this runtime does not implement."""
    for key, values in supported.items():
        if key in raw and raw[key] not in values:
            raise ConfigError(
                f"{where} sets {key!r} to {raw[key]!r}, but only {' or '.join(map(repr, values))} is supported. "
                "Is this an IAA checkpoint in the published layout?"
            )


def _take(cls: type, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Picks the dataclass's fields out of ``raw``; names the ones that are needed but absent, or of another type."""
    required = [f.name for f in fields(cls) if f.name in cls.__annotations__ and not hasattr(cls, f.name)]
    missing = [name for name in required if raw.get(name) is None]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}. Is it the config.json of an IAA checkpoint?")
    chosen = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
    for f in fields(cls):
        if f.name in chosen and not _is(str(f.type), chosen[f.name]):
            raise ConfigError(f"{where} sets {f.name!r} to {chosen[f.name]!r}, which is no {f.type}. Fetch it again.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}


def _is(kind: str, value: Any) -> bool:
    """Whether a JSON value is of a field's annotated type; a whole number is a float, a list a tuple."""
    if kind.startswith("tuple["):
        element = kind.removeprefix("tuple[").split(",")[0]
        return isinstance(value, (list, tuple)) and all(_is(element, item) for item in value)
    if isinstance(value, bool):
        return False
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
    return isinstance(value, kinds[kind])


def _section(raw: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A mapping inside a config, empty where it is absent."""
    section = raw.get(name) or {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} sets {name!r} to {section!r}, which is no table of settings. Fetch it again.")
    return section


def _require_positive(config: Any, names: Iterable[str], where: str = "config.json") -> None:
    """Raises where a size is none."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{where} sets {name!r} to {getattr(config, name)!r}; it must be above 0.")


@dataclass(frozen=True)
class VisionConfig:
    """Geometry of a CLIP vision tower; the defaults are ``openai/clip-vit-large-patch14-336``.

    ``image_mean`` and ``image_std`` are per channel, of RGB in [0, 1].
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 336
    patch_size: int = 14
    layer_norm_eps: float = 1e-5
    hidden_act: str = "quick_gelu"
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def num_patches(self) -> int:
        """Patches of one image: the square of side ``image_size // patch_size``."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_dict(
        cls, raw: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None, where: str = "the CLIP config.json"
    ) -> VisionConfig:
        """Reads a CLIP ``config.json`` (of the tower alone or of a whole CLIP) and its ``preprocessor_config.json``.

        Raises:
            ConfigError: a setting that this runtime does not compute, or sizes that do not fit together.
        """
        raw = _section(raw, "vision_config", where) or raw
        # Hub configs leave out what equals CLIPVisionConfig's defaults, which are those of ViT-B/32, not of ViT-L/14.
        library_defaults = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 32,
        }
        chosen = library_defaults | _take(cls, raw, where)
        _require(raw, {"hidden_act": ("quick_gelu", "gelu"), "num_channels": (3,)}, where)
        for key in ("image_mean", "image_std"):
            if preprocessor and preprocessor.get(key):
                chosen[key] = tuple(preprocessor[key])
                if len(chosen[key]) != 3 or not _is("tuple[float, ...]", chosen[key]):
                    raise ConfigError(f"The preprocessor_config.json beside {where} has no three numbers as {key!r}.")
        config = cls(**chosen)
        _require_positive(config, (*library_defaults, "layer_norm_eps"), where)
        if config.hidden_size % config.num_attention_heads:
            raise ConfigError(
                f"{where}: hidden_size {config.hidden_size} is not a multiple of num_attention_heads "
                f"{config.num_attention_heads}."
            )
        return config


PUBLISHED_VISION_TOWER = "openai/clip-vit-large-patch14-336"


@dataclass(frozen=True)
class IAAConfig:
    """Geometry of an IAA checkpoint: a Llama, the adaptor layers inserted into it, and how images enter.

    Attributes:
        iaa_insert_layers: adaptor layer ``i`` runs right behind base layer ``iaa_insert_layers[i]``.
        mm_hidden_size: width of the vision features that the projectors take.
        mm_vision_select_layer: which hidden state of the tower is used, counted as ``hidden_states`` of CLIP
            (0 is the embedding; -2 the output of the last layer but one).
        mm_vision_select_feature: ``"patch"`` drops the class token, ``"cls_patch"`` keeps it.
        max_position_embeddings: context length in tokens, image patches included.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    mm_hidden_size: int
    num_key_value_heads: int = 0
    head_dim: int = 0
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 2048
    mm_projector_type: str = "linear"
    mm_vision_tower: str = PUBLISHED_VISION_TOWER
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: str = "patch"
    iaa_insert_layers: tuple[int, ...] = PUBLISHED_INSERT_LAYERS

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        _require_positive(self, (*sizes, "mm_hidden_size", "rms_norm_eps", "rope_theta", "max_position_embeddings"))
        if not self.num_key_value_heads:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            if self.hidden_size % self.num_attention_heads:
                raise ConfigError(
                    f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                    f"{self.num_attention_heads}, and there is no head_dim."
                )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        _require_positive(self, ("num_key_value_heads", "head_dim"))
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}."
            )
        if self.head_dim % 2:
            raise ConfigError(f"Rotary position embedding needs an even head_dim, not {self.head_dim}.")
        places = self.iaa_insert_layers
        if any(b <= a for a, b in pairwise(places)) or any(not 0 <= p < self.num_hidden_layers for p in places):
            raise ConfigError(
                f"iaa_insert_layers {list(places)} must rise strictly and lie in 0..{self.num_hidden_layers - 1}, the "
                "base layers that the checkpoint has. Set it in config.json to where the adaptors were trained."
            )

    @property
    def num_blocks(self) -> int:
        """Blocks of the MM and of the G stack: base and adaptor layers together."""
        return self.num_hidden_layers + len(self.iaa_insert_layers)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str = "config.json") -> IAAConfig:
        """Reads a published ``config.json``.

        Settings that do not change what is computed (training switches, generation defaults, library versions) are
        ignored; ones that do and are not implemented raise.

        Raises:
            ConfigError: the file is no IAA config, or describes something that this runtime does not compute.
        """
        if raw.get("model_type", "IAA") != "IAA":
            raise ConfigError(
                f"{where} describes a {raw['model_type']!r} model, not 'IAA'. Point to the folder of an IAA checkpoint."
            )
        _require(
            raw,
            {
                "hidden_act": ("silu",),
                "attention_bias": (False,),
                "mlp_bias": (False,),
                "tie_word_embeddings": (False,),
                "rope_scaling": (None,),
                "image_aspect_ratio": ("pad",),
                "mm_use_im_start_end": (False,),
                "mm_use_im_patch_token": (False,),
                "mm_vision_select_feature": ("patch", "cls_patch"),
            },
            where,
        )
        rope = _section(raw, "rope_parameters", where)
        _require(rope, {"rope_type": ("default",)}, f"{where}, rope_parameters")
        return cls(**_take(cls, {**raw, "rope_theta": rope.get("rope_theta", raw.get("rope_theta"))}, where))


@dataclass(frozen=True)
class GenerationConfig:
    """How answers are decoded; the defaults of the whole project stand here.

    Attributes:
        max_new_tokens: at most this many tokens are generated, the end token included.
        do_sample: draw tokens at random; otherwise the most likely one is taken and the next five are unused.
        temperature: divides the logits; above 0.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the smallest set of likeliest tokens whose probability reaches p, in (0, 1].
        min_p: drop tokens less likely than min_p times the likeliest, in [0, 1].
        seed: of the random draws; the same seed gives the same text on the same device and dtype.
        repetition_penalty: above 1 makes tokens of the prompt and the answer less likely (Keskar et al., 2019).
        num_beams: beams of a beam search; 1 is none.
        length_penalty: beam scores are divided by ``length ** length_penalty``.
        early_stopping: end a beam search as soon as ``num_beams`` answers are finished.
        stop: the answer ends before the first of these strings.
    """

    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (self.temperature > 0, "above 0 (for greedy decoding leave do_sample off)"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
            "min_p": (0 <= self.min_p <= 1, "in [0, 1]"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "num_beams": (self.num_beams >= 1, "at least 1"),
            "seed": (-(1 << 63) <= self.seed < 1 << 64, "a number of 64 bits"),
        }
        for name, (fine, limit) in checks.items():
            if not fine:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be {limit}.")
        if self.num_beams > 1 and self.do_sample:
            raise InputError("Beam search and sampling do not go together: set num_beams to 1 or do_sample to False.")

    @classmethod
    def for_task(cls, task: Task, **changes: Any) -> GenerationConfig:
        """The task's defaults (128 new tokens for G, 512 otherwise) with ``changes``; None means "the default"."""
        chosen: dict[str, Any] = {"max_new_tokens": 128} if task is Task.G else {}
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise InputError(f"There is no generation option {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        chosen |= {name: value for name, value in changes.items() if value is not None}
        if isinstance(chosen.get("stop"), str):  # a string is a sequence too, of stops a character long
            chosen["stop"] = (chosen["stop"],)
        return cls(**chosen)
