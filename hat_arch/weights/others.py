"""Which network weights are of, if they are no HAT's: told from the names of their tensors."""

from __future__ import annotations

import importlib.util
import warnings

from torch import nn

from .files import Weights, WeightsError

LONGEST = 200  # characters of an error of spandrel
SIGNS = {
    "an ESRGAN (RRDBNet)": ("body.0.rdb1.conv1.weight",),
    "an ESRGAN (RRDBNet) in its first form": ("model.1.sub.0.RDB1.conv1.0.weight",),
    "a Real-ESRGAN discriminator": ("conv0.weight", "conv9.weight"),
    "a compact Real-ESRGAN (SRVGGNetCompact)": ("body.0.weight", "body.1.weight", "body.2.weight"),
    "an EDSR or MSRResNet": ("body.0.conv1.weight", "conv_first.weight"),
    "an RCAN": ("body.0.residual_group.0.rcab.0.weight",),
    "a DAT": ("layers.0.blocks.0.attn.dwconv.0.weight",),
    "a SwinFIR": ("layers.0.residual_group.blocks.0.attn.qkv.weight", "conv_after_body.0.body.0.weight"),
    "a SwinIR": ("layers.0.residual_group.blocks.0.attn.qkv.weight", "patch_embed.norm.weight"),
    "a Restormer": ("encoder_level1.0.attn.temperature",),
    "a NAFNet": ("intro.weight", "ending.weight"),
    "an IMDN": ("IMDB1.c1.weight",),
}
"""What weights are of, and names that tell; the first that fits counts."""


def name_of(state: Weights) -> str | None:
    """What weights are of, by spandrel if it is installed, else by `SIGNS`; None if that is unknown."""
    if importlib.util.find_spec("spandrel"):
        from spandrel import MAIN_REGISTRY

        for support in MAIN_REGISTRY.architectures("detection"):
            if support.detect(state):
                return f"a network of the kind {support.architecture.name}"
    return next((name for name, signs in SIGNS.items() if all(sign in state for sign in signs)), None)


def load_with_spandrel(state: Weights) -> tuple[nn.Module, int, int, int]:
    """The network of any super-resolution weights that spandrel knows.

    Returns:
        The network in evaluation mode, its scale, what the sides of its images must be multiples of, and its channels.

    Raises:
        WeightsError: spandrel is not installed, or does not know them.
    """
    if not importlib.util.find_spec("spandrel"):
        raise WeightsError("--loader spandrel: pip install spandrel")
    from spandrel import ImageModelDescriptor, ModelLoader

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # of its networks; nothing that a user can change
            model = ModelLoader().load_from_state_dict(state)
    except Exception as error:  # of many kinds, for weights that it does not know or that do not fit
        raise WeightsError(
            f"spandrel cannot load it: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if not isinstance(model, ImageModelDescriptor) or model.input_channels != model.output_channels:
        raise WeightsError(f"is a network of the kind {model.architecture.name}, which does not upscale images")
    return model.model.eval(), model.scale, model.size_requirements.multiple_of or 1, model.input_channels
