"""The CLIP vision tower (Radford et al., 2021): a plain pre-norm vision transformer, up to the layer that IAA uses.

Symbols: B images, N patches, W tower width. Parameter names are those of the hub's CLIP checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import IAAConfig, VisionConfig
from ..errors import ConfigError
from .layers import Factory


class PatchEmbeddings(nn.Module):
    """Cuts an image into patches, puts a class token first, adds learned positions."""

    def __init__(self, config: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(config.hidden_size, dtype=make.dtype, device=make.device))
        self.patch_embedding = make.ops.Conv2d(
            3,
            config.hidden_size,
            kernel_size=config.patch_size,
            stride=config.patch_size,
            bias=False,
            dtype=make.dtype,
            device=make.device,
        )
        self.position_embedding = make.embedding(config.num_patches + 1, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, 1 + N, W), class token first."""
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches).expand(patches.shape[0], 1, -1)
        tokens = torch.cat((first, patches), dim=1)
        positions: Tensor = self.position_embedding(torch.arange(tokens.shape[1], device=tokens.device))
        return tokens + positions.to(tokens)


class VisionAttention(nn.Module):
    """Self-attention of every token to every token."""

    def __init__(self, config: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            make.linear(config.hidden_size, config.hidden_size, bias=True) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, W) -> the same."""
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        out: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class VisionMLP(nn.Module):
    """Two linear layers with CLIP's quick GELU, ``x * sigmoid(1.702 x)``, or the exact one."""

    def __init__(self, config: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.quick = config.hidden_act == "quick_gelu"
        self.fc1 = make.linear(config.hidden_size, config.intermediate_size, bias=True)
        self.fc2 = make.linear(config.intermediate_size, config.hidden_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, W) -> the same."""
        x = self.fc1(x)
        x = x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x)
        out: Tensor = self.fc2(x)
        return out


class VisionBlock(nn.Module):
    """A pre-norm encoder layer."""

    def __init__(self, config: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.layer_norm1 = make.layer_norm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = VisionAttention(config, make)
        self.layer_norm2 = make.layer_norm(config.hidden_size, config.layer_norm_eps)
        self.mlp = VisionMLP(config, make)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, W) -> the same."""
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class VisionEncoder(nn.Module):
    """The layers that are run."""

    def __init__(self, config: VisionConfig, make: Factory, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionBlock(config, make) for _ in range(depth))


class VisionTower(nn.Module):
    """CLIP up to the hidden state that the checkpoint selects; what lies behind it is neither built nor loaded."""

    def __init__(self, config: IAAConfig, vision: VisionConfig, make: Factory) -> None:
        super().__init__()
        self.keep_class_token = config.mm_vision_select_feature == "cls_patch"
        self.embeddings = PatchEmbeddings(vision, make)
        self.pre_layrnorm = make.layer_norm(vision.hidden_size, vision.layer_norm_eps)
        self.encoder = VisionEncoder(vision, make, selected_depth(config, vision))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, size, size), normalised -> patch features (B, N, W)."""
        x: Tensor = self.pre_layrnorm(self.embeddings(pixel_values))
        for layer in self.encoder.layers:
            x = layer(x)
        return x if self.keep_class_token else x[:, 1:]


def selected_depth(config: IAAConfig, vision: VisionConfig) -> int:
    """How many encoder layers run: ``hidden_states`` of CLIP has the embedding at 0 and layer ``i``'s output at i+1.

    Raises:
        ConfigError: the tower has no such hidden state.
    """
    layer, states = config.mm_vision_select_layer, vision.num_hidden_layers + 1
    if not -states <= layer < states:
        raise ConfigError(f"mm_vision_select_layer is {layer}, but a tower of {states - 1} layers has {states} states.")
    return layer % states
