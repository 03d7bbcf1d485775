"""Families of networks: one dataclass each, the table `NETS` of them, and `NetConfig`, any of them.

A row of `NETS` names a family: `--net NAME` on the command line, `"kind": NAME` in JSON, `gan_jax.nets.NAME` for its
networks (`make(config, axis_name) -> Pair`) and `gan_jax.surgery.families.NAME` for how they grow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union

from gan_jax.config.family import NetFamily
from gan_jax.config.text_nets import RelGANConfig, SeqGANConfig, TextFamily, TransformerConfig


@dataclasses.dataclass(frozen=True)
class ResNetConfig(NetFamily):
    """ResNet pair of SNGAN: generator with batch norm, discriminator with spectral norm."""

    resolution: int = 32  # height and width, px; a power of two from 16
    channels: int = 1  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else conditional normalisation and a projection discriminator
    z_dim: int = 64  # latent size
    channel_base: int = 1024  # width of a block at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 32  # largest width of a block
    kernel: int = 3  # size of the residual branches' convolutions, px; odd
    depth: int = 1  # residual blocks at each resolution
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; parameters, statistics and losses stay float32

    positive = {"channel_base": "", "channel_max": "", "depth": ""}
    doubles = True

    def problems(self) -> Iterator[str]:
        yield from _power_of_two(self, 16)
        yield from _any_width(self, 16)
        if self.kernel < 1 or self.kernel % 2 == 0:
            yield f"net.kernel is {self.kernel}; use an odd size, 3 or 5"


@dataclasses.dataclass(frozen=True)
class DCGANConfig(NetFamily):
    """DCGAN pair: transposed convolutions in G, strided ones in D, batch norm in both."""

    resolution: int = 64  # height and width, px; a power of two from 16
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    z_dim: int = 100  # latent size
    channel_base: int = 4096  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype

    positive = {"channel_base": "", "channel_max": ""}
    num_classes: ClassVar[int] = 0  # it is unconditional
    doubles = True

    @property
    def batch_norm_in_d(self) -> bool:
        return True

    def problems(self) -> Iterator[str]:
        yield from _power_of_two(self, 16)
        yield from _any_width(self, 16)


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(NetFamily):
    """StyleGAN2 pair, in its ADA version: mapping and modulated convolutions in G, no batch norm anywhere."""

    resolution: int = 256  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter the mapping, and D projects on them
    z_dim: int = 512  # latent size
    w_dim: int = 512  # style size
    mapping_layers: int = 8  # of G's mapping network
    channel_base: int = 32768  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    style_mixing: float = 0.9  # share of training images with the styles of a second latent in upper layers; 0 = off
    discriminator: Literal["residual", "skip", "orig"] = "residual"  # D's architecture
    d_mapping_layers: int = 8  # of D's mapping network, where conditional
    mbstd_group: int = 4  # examples in a group of minibatch standard deviation; 0 = off
    clamp: float | None = None  # activations are clamped at +- this; use 256 where dtype is bfloat16
    low_precision: int = 4  # how many of the highest resolutions compute in dtype; 4 px never does
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions

    positive = {
        "channel_base": "",
        "channel_max": "",
        "w_dim": "",
        "mapping_layers": "",
        "clamp": ", or None for no clamp",
    }
    not_negative = ("d_mapping_layers", "mbstd_group", "low_precision")
    styles = True
    doubles = True

    @property
    def compared(self) -> int:
        return self.mbstd_group

    def problems(self) -> Iterator[str]:
        yield from _power_of_two(self, 8)
        yield from _any_width(self, 8)
        if not 0 <= self.style_mixing <= 1:
            yield f"net.style_mixing is {self.style_mixing:g}; use a share from 0 to 1 (0.9 in the paper)"


@dataclasses.dataclass(frozen=True)
class R3GANConfig(NetFamily):
    """R3GAN pair: residual blocks with grouped convolutions, no norm, no style; lists go from 4 px upwards.

    The last value of a list is that of all higher resolutions; values above `resolution` are for growth.
    """

    resolution: int = 64  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter G beside the latents, and D projects on them
    z_dim: int = 64  # latent size
    widths: tuple[int, ...] = (768, 768, 768, 768, 384, 192, 96)  # channels at 4, 8, .. px
    cardinality: tuple[int, ...] = (96, 96, 96, 96, 48, 24, 12)  # groups of the 3x3 convolutions
    blocks: tuple[int, ...] = (2,)  # residual blocks at each resolution
    expansion: int = 2  # channels inside a block, in multiples of its width
    g_embed: int | None = None  # size of G's class embedding; None = z_dim
    d_embed: int | None = None  # size of D's class embedding; None = the width at 4 px
    low_precision: int = 4  # how many of the highest resolutions compute in dtype; 4 px never does
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions

    positive = {"expansion": "", "g_embed": ", or None for net.z_dim", "d_embed": ", or None for the width at 4 px"}
    not_negative = ("low_precision",)

    def problems(self) -> Iterator[str]:
        yield from _power_of_two(self, 8)
        wrong = False
        for name, least in (("widths", 1), ("cardinality", 1), ("blocks", 0)):
            values = getattr(self, name)
            if not values or min(values) < least:
                wrong = True
                yield f"net.{name} is {list(values)}; give one number of at least {least} for each resolution from 4 px"
        sizes = () if wrong else range(max(len(self.widths), len(self.cardinality)))
        for i in sizes:
            width, groups = (values[min(i, len(values) - 1)] for values in (self.widths, self.cardinality))
            if width * self.expansion % groups:
                yield (
                    f"net.cardinality {groups} at {4 * 2**i} px does not divide the {width * self.expansion} channels "
                    f"inside a block (net.widths {width} x net.expansion {self.expansion}); use a divisor"
                )


@dataclasses.dataclass(frozen=True)
class BigGANConfig(NetFamily):
    """BigGAN pair: spectral norm everywhere, batch norm that class and latents modulate, attention.

    Widths are multiples of `width`; the default multiples are those of the paper.
    """

    resolution: int = 128  # height and width, px; a power of two from 16
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels modulate G's norms, and D projects on them
    z_dim: int = 120  # latent size; with hierarchical, a multiple of the blocks + 1
    width: int = 96  # channels in multiples of this
    g_multipliers: tuple[int, ...] | None = None  # multiples for G's maps at 4, 8, .. px; None = as published
    d_multipliers: tuple[int, ...] | None = (
        None  # multiples for the outputs of D's blocks, from the image on; None = as published
    )
    d_size: int | None = None  # size of D's last maps, px; None = 4, or 8 at 32 px; further blocks keep the size
    d_wide: bool = True  # whether D's blocks are inside as wide as their outputs; else as their inputs
    hierarchical: bool = True  # whether every block of G, like the first layer, gets a part of the latents
    shared_dim: int = 128  # size of the class embedding that all of G's norms share; 0 = a table in each norm
    attention: tuple[int, ...] = (64,)  # sizes of maps after which there is attention, px; () = none
    d_attention: tuple[str, ...] | None = None  # D's blocks before attention; None = those with outputs of such sizes
    g_spectral: bool = True  # whether G has spectral norm too
    d_gain: bool = False  # whether D's class term has a learned factor, which starts at 0 where growth adds classes
    init: Literal["orthogonal", "normal", "xavier"] = "orthogonal"  # of kernels; normal has standard deviation 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; parameters, statistics and softmax stay float32

    positive = {"width": "", "d_size": ", or None for the published size"}
    not_negative = ("shared_dim",)

    def problems(self) -> Iterator[str]:
        yield from _power_of_two(self, 16)
        for name in ("g_multipliers", "d_multipliers"):
            values = getattr(self, name)
            if values is not None and (not values or min(values) < 1):
                yield f"net.{name} is {list(values)}; give numbers of at least 1, or None for the published ones"
        slots = max(1, self.resolution.bit_length() - 2)
        if self.hierarchical and self.z_dim % slots:
            yield (
                f"net.z_dim {self.z_dim} does not fall into {slots} equal parts, for the first layer and each block at "
                f"{self.resolution} px; use a multiple of {slots}, or net.hierarchical False"
            )
        if wrong := [size for size in self.attention if size < 4 or size & (size - 1)]:
            yield f"net.attention names {wrong[0]} px, but maps have sizes of 4, 8, 16, ..; () = none"
        if self.hierarchical and self.num_classes and not self.shared_dim:
            yield "net.shared_dim 0 puts a table of classes into each norm; set net.hierarchical False beside it"


@dataclasses.dataclass(frozen=True)
class MLPConfig(NetFamily):
    """Fully connected pair: of images of any size, or of points, which are images of 1 x 1 px with `channels` numbers."""

    resolution: int = 28  # height and width, px; 1 = points
    channels: int = 1  # 1 grey, 3 RGB, 4 RGBA; for points, the numbers of each
    num_classes: int = 0  # 0 = unconditional; else labels enter G's first layer beside z, and D projects on them
    z_dim: int = 64  # latent size
    g_widths: tuple[int, ...] = (256, 256)  # G's hidden layers, from the latents to the image
    d_widths: tuple[int, ...] = (256, 256)  # D's hidden layers, from the image to the logit
    g_slope: float = 0.0  # slope of G's activations below zero: 0 = ReLU, 0.2 = the usual leaky ReLU
    d_slope: float = 0.2  # slope of D's activations below zero
    bounded: bool = True  # whether G ends in tanh, for images; False = in a linear layer, for points
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and G's output stay float32

    @property
    def any_channels(self) -> bool:
        return self.resolution == 1  # points

    def problems(self) -> Iterator[str]:
        if self.resolution < 1:
            yield f"net.resolution is {self.resolution}; use any number of px, or 1 for points of net.channels numbers"
        if self.resolution == 1 and self.channels < 1:
            yield f"net.channels is {self.channels}; use how many numbers each point has"
        for name in ("g_widths", "d_widths"):
            if not (values := getattr(self, name)) or min(values) < 1:
                yield f"net.{name} is {list(values)}; give the width of each hidden layer, one layer or more"
        for name in ("g_slope", "d_slope"):
            if not 0 <= (slope := getattr(self, name)) < 1:
                yield f"net.{name} is {slope:g}; use 0 (ReLU) or a slope below 1 (0.2 is usual)"


@dataclasses.dataclass(frozen=True)
class SNGANConfig(NetFamily):
    """SNGAN pair as published and pretrained elsewhere, by default for 32 px; ResNetConfig is a pair that can grow."""

    resolution: int = 32  # height and width, px; a multiple of 2 for each doubling in G and each halving in D
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else conditional normalisation and a projection discriminator
    z_dim: int = 128  # latent size
    g_widths: tuple[int, ...] = (256, 256, 256, 256)  # widths of G's maps, each of twice the size of the one before
    d_widths: tuple[int, ...] = (128, 128)  # output widths of D's blocks that halve the size, from the image on
    d_rest: tuple[int, ...] = (128, 128)  # output widths of D's further blocks, which keep the size
    upsample: Literal["bilinear", "nearest"] = "bilinear"  # how G doubles sizes
    cut_skips: bool = True  # whether D's shortcuts start after the block's first ReLU; False as in the paper
    # singular values in evaluation: by one more power iteration, or from stored vectors of both sides
    estimate: Literal["refined", "stored"] = "refined"
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and G's output stay float32

    def problems(self) -> Iterator[str]:
        for name, halvings in (("g_widths", len(self.g_widths) - 1), ("d_widths", len(self.d_widths))):
            if not (values := getattr(self, name)) or min(values) < 1:
                yield f"net.{name} is {list(values)}; give one width or more, each at least 1"
            elif self.resolution < 1 or self.resolution % 2**halvings:
                yield (
                    f"net.resolution {self.resolution} cannot be halved {halvings} times, as net.{name} {list(values)} "
                    f"requires; use a multiple of {2**halvings}"
                )
        if self.d_rest and min(self.d_rest) < 1:
            yield f"net.d_rest is {list(self.d_rest)}; give widths of at least 1, or none"


@dataclasses.dataclass(frozen=True)
class TranslatorFamily(NetFamily):
    """What families whose G makes images from images have in common: an encoder-decoder, and a D of patches or pixels."""

    translates = True
    num_classes: ClassVar[int] = 0  # what comes out is said by the image that goes in
    z_dim: ClassVar[int] = 0
    positive = {"in_channels": "", "width": "", "d_width": "", "d_layers": ""}

    if TYPE_CHECKING:  # attributes of these families

        @property
        def in_channels(self) -> int: ...
        @property
        def d_condition(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class UNetConfig(TranslatorFamily):
    """pix2pix pair: a U-Net from images to images, and a discriminator of patches of both.

    G runs at every size that 2^depth divides; `resolution` is that of training.
    """

    resolution: int = 256  # height and width in training, px; a multiple of 2^depth
    in_channels: int = 3  # of the images that go in; 1 grey, 3 RGB, any number
    channels: int = 3  # of the images that come out; 1 grey, 3 RGB, 4 RGBA
    width: int = 64  # channels of G's largest maps; below, up to 8 times as many
    depth: int = 8  # halvings down to the smallest map; 8 is U-Net-256, 7 U-Net-128
    norm: Literal["batch", "instance", "none"] = "batch"  # of G's layers
    affine: bool = False  # whether instance norm has a scale and a bias, in G and D
    dropout: bool = True  # whether half of the values of G's inner layers are dropped in training
    d_kind: Literal["patch", "pixel"] = "patch"  # whether D judges patches, or single pixels
    d_width: int = 64  # channels of D's largest maps
    d_layers: int = 3  # halvings in a D of patches; 3 judges patches of 70 px
    d_norm: Literal["batch", "instance", "none"] | None = None  # of D's layers; None = as in G
    d_condition: bool = True  # whether D sees the image that goes in beside the one that comes out
    init: Literal["normal", "xavier"] = "normal"  # of kernels, with a deviation or a gain of 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and G's output stay float32

    @property
    def batch_norm_in_d(self) -> bool:
        return (self.d_norm or self.norm) == "batch"

    def problems(self) -> Iterator[str]:
        if self.depth < 2:
            yield f"net.depth is {self.depth}; use at least 2 (8 is U-Net-256, 7 U-Net-128)"
        elif self.resolution < 1 or self.resolution % 2**self.depth:
            yield (
                f"net.resolution {self.resolution} cannot be halved {self.depth} times; use a multiple of {2**self.depth}, "
                "or another net.depth"
            )
        yield from _patches(self, antialias=False)


@dataclasses.dataclass(frozen=True)
class TranslatorConfig(TranslatorFamily):
    """CycleGAN's pair, and with `antialias` CUT's: a ResNet from images to images, and a discriminator of patches.

    G runs at every size; one that 4 does not divide comes back larger, at the next multiple of 4.
    """

    resolution: int = 256  # height and width in training, px; a multiple of 4
    in_channels: int = 3  # of the images that go in; 1 grey, 3 RGB, any number
    channels: int = 3  # of the images that come out; 1 grey, 3 RGB, 4 RGBA
    width: int = 64  # channels of G's largest maps; 4 times as many in its blocks
    blocks: int = 9  # residual blocks; 9 as published for 256 px, 6 for 128 px
    norm: Literal["batch", "instance", "none"] = "instance"  # of G's layers
    affine: bool = False  # whether instance norm has a scale and a bias, in G and D
    antialias: bool = False  # whether sizes change by filters, as in CUT, in G and D; else by strides
    dropout: bool = False  # whether half of the values inside G's blocks are dropped in training
    d_kind: Literal["patch", "pixel"] = "patch"  # whether D judges patches, or single pixels
    d_width: int = 64  # channels of D's largest maps
    d_layers: int = 3  # halvings in a D of patches; 3 judges patches of 70 px (84 px with antialias)
    d_norm: Literal["batch", "instance", "none"] | None = None  # of D's layers; None = as in G
    d_condition: bool = False  # whether D sees the image that goes in beside the one that comes out
    init: Literal["normal", "xavier"] = "normal"  # of kernels, with a deviation or a gain of 0.02; xavier in CUT
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and G's output stay float32

    not_negative = ("blocks",)

    @property
    def batch_norm_in_d(self) -> bool:
        return (self.d_norm or self.norm) == "batch"

    def problems(self) -> Iterator[str]:
        if self.resolution < 8 or self.resolution % 4:
            yield f"net.resolution is {self.resolution}; use a multiple of 4 from 8"
        yield from _patches(self, antialias=self.antialias)


@dataclasses.dataclass(frozen=True)
class SPADEConfig(TranslatorFamily):
    """SPADE pair: images from label maps, by norms that the labels modulate, and a discriminator at several scales.

    G runs at every size that its doublings divide (32, 64 or 128 px); `resolution` is that of training. Labels enter G and
    D as one channel each; so do the places without a label, and the edges of instances.
    """

    resolution: int = 256  # height and width in training, px; a multiple of 32, 64 (ups more) or 128 (ups most)
    num_labels: int = 182  # of the label maps; 182 are those of COCO-Stuff
    dont_care: bool = True  # whether places without a label have a channel
    edges: bool = True  # whether the edges of instances have a channel
    channels: int = 3  # of the images that come out; 1 grey, 3 RGB, 4 RGBA
    width: int = 64  # channels of G's largest maps; up to 16 times as many below
    ups: Literal["normal", "more", "most"] = "normal"  # G doubles the size 5, 6 or 7 times; more for 512 px
    norm: Literal["batch", "instance"] = "batch"  # what G's modulated norms normalise by
    d_width: int = 64  # channels of D's largest maps
    d_layers: int = 4  # layers before D's logits; all but the last halve the size
    d_scales: int = 2  # copies of D, each reads the images at half the size of the one before
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and G's output stay float32

    d_condition: ClassVar[bool] = True  # what D judges is an image and its labels
    positive = {"num_labels": "", "width": "", "d_width": "", "d_layers": "", "d_scales": ""}

    @property
    def in_channels(self) -> int:
        """Number of channels of what G reads."""
        return self.num_labels + self.dont_care + self.edges

    def problems(self) -> Iterator[str]:
        step = {"normal": 32, "more": 64, "most": 128}.get(self.ups, 32)
        if self.resolution < step or self.resolution % step:
            yield f"net.resolution is {self.resolution}; net.ups {self.ups!r} needs a multiple of {step}"
        if self.ups == "most" and self.width < 2:
            yield f"net.width is {self.width}; net.ups 'most' ends with half as many channels, so use 2 or more"


NETS: dict[str, type[NetFamily]] = {  # a row is a family: its name, and its configuration
    "resnet": ResNetConfig,
    "dcgan": DCGANConfig,
    "stylegan2": StyleGAN2Config,
    "r3gan": R3GANConfig,
    "biggan": BigGANConfig,
    "mlp": MLPConfig,
    "sngan": SNGANConfig,
    "unet": UNetConfig,
    "translator": TranslatorConfig,
    "spade": SPADEConfig,
    "transformer": TransformerConfig,
    "seqgan": SeqGANConfig,
    "relgan": RelGANConfig,
}

if TYPE_CHECKING:
    NetConfig = NetFamily
    NetName = str
else:
    NetConfig = Union[tuple(NETS.values())]  # noqa: UP007  of a table
    NetName = Literal[tuple(NETS)]
    __all__ = [
        "NETS",
        "NetConfig",
        "NetFamily",
        "NetName",
        "TextFamily",
        "TranslatorFamily",
        "family_title",
        *(cls.__name__ for cls in NETS.values()),
    ]


def family_title(net: Any) -> str:
    """The title of a family, `StyleGAN2`, from a configuration or from a name in any spelling."""
    cls = NETS.get(net, net) if isinstance(net, str) else type(net)
    name = cls if isinstance(cls, str) else cls.__name__
    return name.removesuffix("Config")


def _power_of_two(net: Any, least: int) -> Iterator[str]:
    if net.resolution < least or net.resolution & (net.resolution - 1):
        yield f"net.resolution is {net.resolution}; use a power of two from {least}"


def _any_width(net: Any, least: int) -> Iterator[str]:
    if not [*_power_of_two(net, least)] and 0 < net.channel_base < net.resolution:
        yield f"net.channel_base {net.channel_base} leaves no channel at {net.resolution} px; use at least as many"


def _patches(net: Any, antialias: bool) -> Iterator[str]:
    """Whether a discriminator of patches has a logit left at the training size."""
    size = net.resolution
    for _ in range(net.d_layers if net.d_kind == "patch" else 0):
        size = size // 2 if antialias else (size - 2) // 2 + 1
    if net.d_kind == "patch" and size - 2 < 1 <= net.d_layers:
        yield (
            f"net.d_layers {net.d_layers} leaves D no patch at net.resolution {net.resolution}; use fewer, or at least "
            f"{3 * 2**net.d_layers} px"
        )
