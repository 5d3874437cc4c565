"""HAT, the Hybrid Attention Transformer ("Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023).

From the outside in, as in the paper's figure 4: `HAT` is made of residual hybrid attention groups (`RHAG`), each of
hybrid attention blocks (`HAB`: window attention beside a channel attention block, `CAB`) and one overlapping
cross-attention block (`OCAB`). Features are ``(B, H, W, C)`` from the first convolution to the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .exported import Places, Windows, as_map, as_tokens, crop_by_index
from .layers import ChannelAttention, DropPath, Mlp, pad_to_multiple, reconstruction
from .strips import add, is_exported, join, saves_memory, saving_memory, strips
from .window_attention import CrossAttention, WindowAttention, overlap_size, relative_position_index, shift_masks

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K
RECONSTRUCTION_REACH = 3  # rows of its input that an output pixel depends on, above and below, at any scale
RECONSTRUCTED_ROWS = 32  # at a time, or a multiple
NormLayer = Callable[[int], nn.Module]


class CAB(nn.Module):
    """Channel attention block: two 3×3 convolutions through C/β channels, then channel attention."""

    def __init__(self, num_feat: int, compress_ratio: int, squeeze_factor: int, use_channel_attention: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(num_feat, num_feat // compress_ratio, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(num_feat // compress_ratio, num_feat, 3, 1, 1),
        ]
        if use_channel_attention:
            layers.append(ChannelAttention(num_feat, squeeze_factor))
        self.cab = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:  # B, H, W, C
        return self.cab(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class HAB(nn.Module):
    """Hybrid attention block (paper equation 3): ``(S)W-MSA + α · CAB``, then an MLP, both residual.

    Args:
        cab: arguments of `CAB` after the first; None leaves it out.
        attention: arguments of `Attention` by name.
        The others are those of `HAT`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        shift_size: int,
        drop_path: float,
        cab: tuple[int, int, bool] | None,
        conv_scale: float,
        mlp_ratio: float,
        drop: float,
        norm_layer: NormLayer,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.shift_size = shift_size
        self.conv_scale = conv_scale
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(dim, window_size, num_heads, proj_drop=drop, **attention)
        self.conv_block = None if cab is None else CAB(dim, *cab)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, index: Tensor, masks: Tensor, places: Places | None = None) -> Tensor:
        y = self.norm1(x)
        x = add(x, self.drop_path(self.attn(y, index, self.shift_size, masks, places)))
        if self.conv_block is not None:
            x = add(x, as_tokens(self.conv_block(as_map(y, places)), places), self.conv_scale)
        del y
        return add(x, self.drop_path(self.mlp(self.norm2(x))))


class OCAB(CrossAttention):
    """Overlapping cross-attention block: queries from a window, keys and values from a larger one around it."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        overlap_ratio: float,
        mlp_ratio: float,
        norm_layer: NormLayer,
        **attention: Any,
    ) -> None:
        super().__init__(dim, window_size, overlap_size(window_size, overlap_ratio), num_heads, **attention)
        self.norm1 = norm_layer(dim)
        for name, layer in (("qkv", self.qkv), ("proj", self.proj)):  # behind norm1, where the official network has
            delattr(self, name)  # them: an optimizer's state knows weights by their number
            setattr(self, name, layer)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, index: Tensor, places: Places | None = None) -> Tensor:
        x = add(x, self.cross_attention(self.norm1(x), index, places))
        return add(x, self.mlp(self.norm2(x)))


class HybridGroup(nn.Module):
    """The blocks of one RHAG. It is a module of its own since the official weights are named so."""

    def __init__(self, blocks: Sequence[HAB], overlap_attn: OCAB | None, use_checkpoint: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap_attn = overlap_attn
        self.use_checkpoint = use_checkpoint

    def forward(
        self, x: Tensor, index_sa: Tensor, index_oca: Tensor, masks: Tensor, places: Places | None = None
    ) -> Tensor:
        for block in self.blocks:
            x = self.run(block, x, index_sa, masks, places)
        return x if self.overlap_attn is None else self.run(self.overlap_attn, x, index_oca, places)

    def run(self, block: nn.Module, *args: Tensor | Places | None) -> Tensor:
        """The block; with ``use_checkpoint``, its activations are computed again for the backward pass, not kept."""
        if self.use_checkpoint and torch.is_grad_enabled() and not is_exported():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)


class RHAG(nn.Module):
    """Residual hybrid attention group: HABs, an OCAB and a convolution around which the features are added."""

    def __init__(self, dim: int, residual_group: HybridGroup, resi_connection: str) -> None:
        super().__init__()
        self.residual_group = residual_group
        self.conv = residual_conv(dim, resi_connection)

    def forward(
        self, x: Tensor, index_sa: Tensor, index_oca: Tensor, masks: Tensor, places: Places | None = None
    ) -> Tensor:
        y = as_map(self.residual_group(x, index_sa, index_oca, masks, places), places)
        return add(x, as_tokens(self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), places))


def residual_conv(dim: int, resi_connection: str) -> nn.Module:
    """The layer before a residual connection's sum: ``1conv``, a 3×3 convolution (paper), or ``identity``."""
    if resi_connection not in ("1conv", "identity"):
        raise ValueError(f"resi_connection is {resi_connection!r}; it may be '1conv' or 'identity'")
    return nn.Conv2d(dim, dim, 3, 1, 1) if resi_connection == "1conv" else nn.Identity()


class PatchEmbed(nn.Module):
    """The normalisation in front of the groups (``patch_norm``); patches are single pixels."""

    def __init__(self, norm: nn.Module | None) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class HAT(nn.Module):
    """Hybrid Attention Transformer.

    Names and shapes of the weights are those of the official checkpoints. The defaults are the official
    constructor's, but for ``upsampler``: there an empty one, with which its network returns the input. Here that is the
    network for restoration, of which the journal version says: the features, two convolutions, the output. It leaves
    open what is between them and whether the image is added. Here that is as in super-resolution without its
    upsampling, 64 channels and LeakyReLU, and the image is added: the network computes what is to change. The figure
    shows no such addition; ``pixelshuffle`` at ``upscale: 1`` is the same layers without it.

    Args:
        img_size: side(s) in pixels for which ``ape`` has its embedding; if it does not exceed the window, windows
            are not shifted. Without either, it has no effect: any image size can be given to the network.
        patch_size: divides ``img_size``, to no other effect.
        in_chans: channels of input and output.
        embed_dim: width C of the features.
        depths: number of HABs in each RHAG.
        num_heads: number of attention heads in each RHAG.
        window_size: side M of an attention window, in pixels.
        compress_ratio: β, the factor by which CAB narrows the features.
        squeeze_factor: the factor by which channel attention narrows them.
        conv_scale: α, the weight of CAB.
        overlap_ratio: γ, by how much of M the key windows of OCAB are larger. With an odd excess (such as M 7 and
            γ 0.5, which the official code cannot run) they reach one pixel farther to the bottom and right.
        mlp_ratio: width of the MLPs, in C.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        qk_scale: factor on the products of queries and keys; ``head_dim ** -0.5`` if None.
        drop_rate: dropout on the features.
        attn_drop_rate: dropout on the attention weights.
        drop_path_rate: stochastic depth, growing linearly to this rate over the HABs.
        norm_layer: called with C, returns a normalisation over the last dimension.
        ape: adds a learned absolute position embedding; then images of ``img_size`` only.
        patch_norm: normalises the features in front of the first RHAG.
        use_checkpoint: keeps no activations of the blocks in training but computes them again: less memory, a third
            more time, the same gradients.
        upscale: 1, 2, 3, 4 or 8; with ``pixelshuffledirect`` any from 1; without upsampler 1.
        img_range: factor on the image, values 0 to 1, inside the network.
        upsampler: ``pixelshuffle`` (paper); ``pixelshuffledirect``: one convolution and one pixel shuffle, as in
            SwinIR-light, which leave a small network nearly all of its weights for the body; or empty, for restoration
            (denoising, JPEG artefacts): two convolutions, whose output is added to the image.
        resi_connection: the layer before a residual connection's sum, ``1conv`` or ``identity``.
        use_cab: whether HABs have a CAB (the paper's ablations, as the next two).
        use_ocab: whether RHAGs have an OCAB.
        use_channel_attention: whether CABs end in channel attention.

    Raises:
        ValueError: an argument that makes no network; the message names it and what it may be.
    """

    def __init__(
        self,
        img_size: int | Sequence[int] = 64,
        patch_size: int = 1,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6),
        window_size: int = 7,
        compress_ratio: int = 3,
        squeeze_factor: int = 30,
        conv_scale: float = 0.01,
        overlap_ratio: float = 0.5,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        norm_layer: NormLayer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
        upscale: int = 2,
        img_range: float = 1.0,
        upsampler: str = "pixelshuffle",
        resi_connection: str = "1conv",
        use_cab: bool = True,
        use_ocab: bool = True,
        use_channel_attention: bool = True,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths has {len(depths)} entries and num_heads {len(num_heads)}; one each per group")
        for name, value, low, high, used in (
            ("in_chans", in_chans, 1, math.inf, True),
            ("embed_dim", embed_dim, 1, math.inf, True),
            ("window_size", window_size, 1, math.inf, True),
            ("patch_size", patch_size, 1, math.inf, True),
            ("overlap_ratio", overlap_ratio, 0, math.inf, use_ocab),
            ("compress_ratio", compress_ratio, 1, embed_dim, use_cab),
            ("squeeze_factor", squeeze_factor, 1, embed_dim, use_cab and use_channel_attention),
        ):
            if used and not low <= value <= high:
                raise ValueError(f"{name} is {value}; it may be {low} {f'to {high}' if high < math.inf else 'or more'}")
        self.window_size = window_size
        self.in_chans = in_chans
        self.upscale = upscale
        self.img_range = img_range

        self.mean: Tensor
        sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        resolution = [side // patch_size for side in sides]
        self.shift_size = shift = 0 if min(resolution) <= window_size else window_size // 2
        mean = torch.tensor(RGB_MEAN if in_chans == 3 else (0.0,)).view(1, -1, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("relative_position_index_SA", relative_position_index(window_size))
        self.key_size = overlap_size(window_size, overlap_ratio)
        self.register_buffer("relative_position_index_OCA", relative_position_index(window_size, self.key_size))
        self.register_buffer("shift_masks", shift_masks(window_size, shift), persistent=False)

        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, 1, 1)
        self.patch_embed = PatchEmbed(norm_layer(embed_dim) if patch_norm else None)
        self.absolute_pos_embed: nn.Parameter | None = None
        if ape:
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, math.prod(resolution), embed_dim))
        self.pos_drop = nn.Dropout(drop_rate)

        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        cab = (compress_ratio, squeeze_factor, use_channel_attention) if use_cab else None
        shared: tuple[Any, ...] = cab, conv_scale, mlp_ratio, drop_rate, norm_layer
        attention: dict[str, Any] = {"qkv_bias": qkv_bias, "qk_scale": qk_scale}
        self.layers = nn.ModuleList()
        for depth, heads in zip(depths, num_heads):
            sizes = embed_dim, heads, window_size
            blocks = [
                HAB(*sizes, shift if i % 2 else 0, next(drop_paths), *shared, attn_drop=attn_drop_rate, **attention)
                for i in range(depth)
            ]
            overlap_attn = OCAB(*sizes, overlap_ratio, mlp_ratio, norm_layer, **attention) if use_ocab else None
            group = HybridGroup(blocks, overlap_attn, use_checkpoint)
            self.layers.append(RHAG(embed_dim, group, resi_connection))
        self.norm = norm_layer(embed_dim)
        self.conv_after_body = residual_conv(embed_dim, resi_connection)

        tail = reconstruction(upsampler, upscale, embed_dim, in_chans)
        self.conv_before_upsample, self.upsample, self.conv_last = tail
        self.adds_image = not upsampler
        self.reconstruction_as_built = self._reconstruction()
        self.apply(self._init_weights)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def _reconstruction(self) -> str:
        """The layers that follow the groups, with their settings."""
        return repr([self.conv_before_upsample, self.upsample, self.conv_last])

    @saving_memory
    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images, or restores them.

        Args:
            x: ``(B, in_chans, H, W)``, values 0 to 1 (noise may be beyond), any H and W from 1.

        Returns:
            ``(B, in_chans, H · upscale, W · upscale)``, not clamped.
        """
        if x.dim() != 4 or (not torch.jit.is_tracing() and x.shape[1] != self.in_chans):  # a tracer's sizes are tensors
            raise ValueError(f"expected (B, {self.in_chans}, H, W), got {tuple(x.shape)}")
        image, (h, w) = x, x.shape[-2:]
        x = pad_to_multiple(x, self.window_size)
        if not is_exported():
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last
        mean = self.mean.to(x.dtype)
        x = (x - mean) * self.img_range
        x = self.conv_first(x)
        x = add(x, self.conv_after_body(self.forward_features(x)))
        x = self.reconstruct(x) / self.img_range
        x = x if self.adds_image else x + mean
        h, w = h * self.upscale, w * self.upscale
        x = crop_by_index(x, h, w) if is_exported() else x[..., :h, :w]
        return image + x if self.adds_image else x

    def forward_features(self, x: Tensor) -> Tensor:
        """The groups: ``(B, C, H, W)`` to the same, H and W multiples of the window size."""
        x = x.permute(0, 2, 3, 1).contiguous()
        places, (b, h, w) = None, x.shape[:3]
        if is_exported():
            places = Windows(b, h, w, self.window_size, x.device).places(self.shift_size, self.key_size)
        x = self.patch_embed(as_tokens(x, places))
        if self.absolute_pos_embed is not None:
            pixels = self.absolute_pos_embed.shape[1]
            if pixels != h * w:
                raise ValueError(f"with ape the (padded) image must have img_size's {pixels} pixels; it is {h}x{w}")
            x = x + self.absolute_pos_embed.view(1, *x.shape[1:])
        x = self.pos_drop(x)
        for layer in self.layers:
            x = layer(x, self.relative_position_index_SA, self.relative_position_index_OCA, self.shift_masks, places)
        return as_map(self.norm(x), places).permute(0, 3, 1, 2)

    def reconstruct(self, x: Tensor) -> Tensor:
        """What follows the groups: ``(B, C, H, W)`` to ``(B, in_chans, H · upscale, W · upscale)``.

        In strips of rows as `strips` says, since its features grow with the square of the scale and would be most of
        the memory. Neighbouring strips share as many rows as the convolutions reach, so the result is the same. Layers
        that have been replaced may reach farther: then all rows go through at once.
        """

        def reconstructed(start: int, stop: int) -> Tensor:
            top = max(0, start - RECONSTRUCTION_REACH)
            part = self.upsample(self.conv_before_upsample(x[:, :, top : stop + RECONSTRUCTION_REACH]))
            return self.conv_last(part)[:, :, (start - top) * self.upscale : (stop - top) * self.upscale]

        if not saves_memory() or self._reconstruction() != self.reconstruction_as_built:
            return self.conv_last(self.upsample(self.conv_before_upsample(x)))
        ranges = strips(x.permute(0, 2, 3, 1), RECONSTRUCTED_ROWS)
        return join((reconstructed(*rows) for rows in ranges), x.shape[2] * self.upscale, 2)
