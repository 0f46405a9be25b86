"""The geometry of a checkpoint, from its config.json: :class:`IAAConfig`, and :class:`VisionConfig` for the tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from ..errors import ConfigError, spelled

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's training pixels, RGB, of values in 0..1 (Radford et al., arXiv 2103.00020)."""

PUBLISHED_VISION_TOWER = "openai/clip-vit-large-patch14-336"
PUBLISHED_INSERT_LAYERS = (0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31)
"""Base layers behind which the published adaptor layers run (Inner-Adaptor Architecture, arXiv 2408.12902)."""

LARGEST = 1 << 24
"""More than any size of a model; two of them multiplied still fit into a tensor."""
_FLOAT32 = 3.4e38
_SIZE = f"a whole number from 1 to {LARGEST}"

_Config = TypeVar("_Config", "VisionConfig", "IAAConfig")


def _require_supported(raw: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]], where: str) -> None:
    """Raises for a setting that would change the computation and is not implemented here."""
    for key, values in supported.items():
        if key in raw and raw[key] not in values:
            raise ConfigError(
                f"{where} sets {key!r} to {spelled(raw[key])}, but only {' or '.join(map(repr, values))} is supported. "
                "Is this an IAA checkpoint in the published layout?"
            )


def _section(raw: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A mapping inside a config, empty where it is absent."""
    section = raw.get(name) or {}
    if not isinstance(section, Mapping):
        raise ConfigError(
            f"{where} sets {name!r} to {spelled(section)}, which is no table of settings. Fetch it again."
        )
    return section


def _make(cls: type[_Config], raw: Mapping[str, Any], where: str) -> _Config:
    """Makes a config of the settings of ``raw`` that are its fields; the config itself checks their values."""
    missing = [f.name for f in fields(cls) if f.default is MISSING and raw.get(f.name) is None]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}. Is it the config.json of an IAA checkpoint?")
    given = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
    chosen: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return cls(**chosen)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _is(value: Any, *kinds: type) -> bool:
    """Whether a JSON value is of one of the kinds; true and false are no numbers."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_colour(value: Any, lowest: float) -> bool:
    return _is(value, tuple, list) and [_is(x, int, float) and lowest <= x <= _FLOAT32 for x in value] == [True] * 3


_KINDS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: _is(value, str),
    "a whole number": lambda value: _is(value, int),
    _SIZE: lambda value: _is(value, int) and 0 < value <= LARGEST,
    "a number above 0": lambda value: _is(value, int, float) and 0 < value <= _FLOAT32,
    "a number from 0 to 1": lambda value: _is(value, int, float) and 0 <= value <= 1,
    "a list of whole numbers": lambda value: _is(value, tuple) and all(_is(item, int) for item in value),
    "three numbers": lambda value: _is_colour(value, -_FLOAT32),
    "three numbers above 0": lambda value: _is_colour(value, 0) and 0 not in value,
}


def _check(config: object, kind: str, *names: str) -> None:
    """Raises for a setting that is not of a kind of ``_KINDS``."""
    for name in names:
        value = getattr(config, name)
        if not _KINDS[kind](value):
            raise ConfigError(f"The config sets {name!r} to {spelled(value)}, which is not {kind}. Fetch it again.")


MODEL_TYPE = "IAA"
"""What configs of these checkpoints call themselves."""


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
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        _check(self, _SIZE, *sizes, "image_size", "patch_size")
        _check(self, "a number above 0", "layer_norm_eps")
        _check(self, "three numbers", "image_mean")
        _check(self, "three numbers above 0", "image_std")
        if self.image_size < self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is less than patch_size {self.patch_size}.")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}."
            )

    @property
    def num_patches(self) -> int:
        """Patches of one image: the square of side ``image_size // patch_size``."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_dict(
        cls, raw: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None, where: str = "the CLIP config.json"
    ) -> VisionConfig:
        """Parses a CLIP ``config.json`` (of the tower alone or of a whole CLIP) and its ``preprocessor_config.json``.

        Raises:
            ConfigError: a setting that this runtime does not compute, or sizes that do not fit together.
        """
        raw = _section(raw, "vision_config", where) or raw
        _require_supported(raw, {"hidden_act": ("quick_gelu", "gelu"), "num_channels": (3,)}, where)
        # Hub configs leave out what equals CLIPVisionConfig's defaults, which are those of ViT-B/32, not of ViT-L/14.
        chosen: dict[str, Any] = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 32,
        }
        chosen |= {key: value for key, value in raw.items() if value is not None}
        for key in ("image_mean", "image_std"):
            if preprocessor and preprocessor.get(key):
                chosen[key] = preprocessor[key]
                kind = "three numbers" if key == "image_mean" else "three numbers above 0"
                if not _KINDS[kind](chosen[key]):
                    raise ConfigError(f"The preprocessor_config.json beside {where} has no {kind} as {key!r}.")
        return _make(cls, chosen, where)


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
        score_threshold: boxes that score less are mostly of what is not there, by whoever measured the checkpoint; a
            setting of ours, which published checkpoints lack.
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
    score_threshold: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        _check(self, _SIZE, *sizes, "mm_hidden_size", "max_position_embeddings")
        _check(self, "a number above 0", "rms_norm_eps", "rope_theta")
        _check(self, "a number from 0 to 1", "score_threshold")
        _check(self, "a whole number", "num_key_value_heads", "head_dim", "mm_vision_select_layer")
        _check(self, "text", "mm_projector_type", "mm_vision_tower", "mm_vision_select_feature")
        _check(self, "a list of whole numbers", "iaa_insert_layers")
        if not self.num_key_value_heads:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            if self.hidden_size % self.num_attention_heads:
                raise ConfigError(
                    f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                    f"{self.num_attention_heads}, and there is no head_dim."
                )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        _check(self, _SIZE, "num_key_value_heads", "head_dim")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}."
            )
        if self.head_dim % 2:
            raise ConfigError(f"Rotary position embedding needs an even head_dim, not {self.head_dim}.")
        layers = self.iaa_insert_layers
        if any(b <= a for a, b in pairwise(layers)) or any(not 0 <= n < self.num_hidden_layers for n in layers):
            raise ConfigError(
                f"iaa_insert_layers {spelled(list(layers))} must rise strictly and lie in "
                f"0..{self.num_hidden_layers - 1}, the base layers that the checkpoint has. "
                "Set it in config.json to where the adaptors were trained."
            )

    @property
    def num_blocks(self) -> int:
        """Blocks of the MM and of the G stack: base and adaptor layers together."""
        return self.num_hidden_layers + len(self.iaa_insert_layers)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str = "config.json") -> IAAConfig:
        """Parses a published ``config.json``.

        Settings that do not change what is computed (training switches, generation defaults, library versions) are
        ignored; ones that do and are not implemented raise.

        Raises:
            ConfigError: the file is no IAA config, or describes something that this runtime does not compute.
        """
        if raw.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            raise ConfigError(
                f"{where} describes a {spelled(raw['model_type'])} model, not '{MODEL_TYPE}'. Point to the folder of "
                "an IAA checkpoint."
            )
        _require_supported(
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
        _require_supported(rope, {"rope_type": ("default",)}, f"{where}, rope_parameters")
        return _make(cls, {**raw, "rope_theta": rope.get("rope_theta", raw.get("rope_theta"))}, where)
