"""Parts of a run's configuration: data, loss, augmentation, optimisers, checkpoints, evaluations, logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Union

# ----------------------------------------------------------------------------------------------------------------------
# Diagnostics of a run, and the thresholds of its warnings.


@dataclasses.dataclass(frozen=True)
class DiagnoseConfig:
    """Thresholds at evaluations; without a source they are rules of thumb. A warning is a reason to look, not to stop."""

    images: int = 64  # training, held-out and generated images whose logits are compared; 0 = no diagnostics
    # Share of training images that D classifies as real, minus that of held-out images. With 64 of each, chance alone passes
    # 0.3 once in 1,000 times.
    d_gap: float = 0.3
    # Mean sign of D on training images. ADA (Karras et al., 2020) steers it to 0.6; at 0.9 D errs on one image in 20.
    d_sign: float = 0.9
    spread: float = 0.5  # distance between generated images, as a share of that in the first evaluation
    least_spread: float = 0.25  # the same as a share of that in the reference
    coverage: float = 0.5  # coverage, as a share of the best so far
    # Median distance to the nearest training image, as a share of that of images outside the training set.
    memory: float = 0.5
    worse: float = 1.1  # KID, as a multiple of another run's after as many images


# ----------------------------------------------------------------------------------------------------------------------
# Data, loss, augmentation, optimisers, checkpoints, evaluations, logs.


@dataclasses.dataclass(frozen=True)
class DataConfig:
    # embedded:NAME, tfds:NAME[:SPLIT], folder:PATH, zip:PATH or npz:PATH; of pairs pairs:INPUTS,IMAGES, joined:PATH[:BtoA],
    # unpaired:INPUTS,IMAGES, layouts:LABELS,IMAGES[,INSTANCES], npz:PATH or tfds:NAME[:SPLIT][@INPUT,IMAGE]
    source: str = "embedded:fashion-mnist"
    classes: tuple[int | str, ...] | None = None  # classes to keep, by name or label; None = all
    fit: Literal["crop", "pad", "stretch"] = "crop"  # treatment of images that are not square
    channels: Literal[1, 3, 4] | None = None  # 1 grey, 3 RGB, 4 RGBA; None = the network's
    bad: Literal["skip", "fail"] = (
        "skip"  # files that cannot be read: left out with a message, or an error that names all
    )
    shots: int | None = None  # size of a seeded subset to train on; None = all images
    subset_seed: int = 0  # which subset
    # number of images held out for evaluations, the same for every subset; None = all outside the subset
    reference: int | None = None
    # of pairs: size that both sides are resized to, px, of which random crops of the network's size are shown (286 for 256 as
    # published); None = the network's, without crops
    load_size: int | None = None
    mirror: bool = False  # random horizontal flips of real images; pairs are flipped together
    pipeline: Literal["auto", "device", "grain"] = (
        "auto"  # device = resident on the device; grain = from the host; auto = by size
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    # adversarial loss
    name: Literal["non_saturating", "hinge", "wasserstein", "least_squares", "relativistic"] = "hinge"
    r1_gamma: float = 0.0  # weight of gamma/2 |grad D(real)|^2; 0 = off
    r2_gamma: float = 0.0  # the same on generated images; 0 = off
    gp_lambda: float = 0.0  # weight of WGAN-GP's (|grad D(mix)| - 1)^2; 0 = off
    penalty_interval: int = 1  # D updates between penalties, which are multiplied by it (lazy regularisation)
    path_length: float = 0.0  # weight of StyleGAN2's (length - mean)^2 of G's paths, 2 in the paper; 0 = off
    path_length_interval: int = 4  # the same for G: G updates between path lengths
    path_length_decay: float = 0.01  # step of the mean length towards that of a batch
    path_length_shrink: int = 2  # path lengths are measured on 1 / this of a batch
    lecam: float = 0.0  # weight of LeCam regularisation of D's logits (0.3 for hinge, 3e-7 for non-saturating); 0 = off
    lecam_decay: float = 0.99  # of the moving averages of D's logits, per D update
    bcr_real: float = 0.0  # weight of (D(x) - D(T(x)))^2 on real images, 10 in the paper; 0 = off
    bcr_fake: float = 0.0  # the same on generated images
    bcr_policy: tuple[Literal["flip", "color", "translation", "cutout"], ...] = ("flip", "translation")  # T
    zcr_d: float = 0.0  # weight of (D(G(z)) - D(G(z + noise)))^2, for D; 5 in the paper; 0 = off
    zcr_g: float = 0.0  # weight of -|G(z) - G(z + noise)|^2 summed over pixels, for G; 0.5 in the paper; 0 = off
    zcr_sigma: float = 0.03  # standard deviation of that noise
    orthogonal_g: float = 0.0  # weight of the squared inner products between filters of G's kernels; 0 = off
    orthogonal_d: float = 0.0  # the same for D


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    policy: tuple[Literal["flip", "color", "translation", "cutout"], ...] = ()  # DiffAugment of D's inputs; empty = off
    # ADA pipeline on D's inputs, in place of a policy; None = off
    ada: (
        Literal["blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc", "r3gan"]
        | None
    ) = None
    ada_p: float = 0.0  # probability of each of its transforms at the start
    ada_target: float | None = (
        0.6  # target of the mean sign of D's logits of real images, by which p is adapted; None = p stays
    )
    ada_kimg: float = 500.0  # thousand images in which p can go from 0 to 1; 100 suits fine-tuning


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    lr: float = 2e-4  # Adam step size of G and, unless d_lr says otherwise, of D
    d_lr: float | None = None  # step size of D; None = lr
    b1: float = 0.0  # Adam beta 1
    b2: float = 0.9  # Adam beta 2
    eps: float = 1e-8  # Adam epsilon
    # decay of the step size to 0 over train.kimg; late_linear begins at decay_from
    schedule: Literal["constant", "linear", "cosine", "late_linear"] = "constant"
    decay_from: float = 0.5  # share of train.kimg before the decay of late_linear; 0.5 for pix2pix, CycleGAN and CUT
    # number of equal stairs of late_linear, such as epochs: the i-th, from 1, has 1 - i / (stairs + 1); 0 = a straight line
    decay_steps: int = 0
    warmup_kimg: float = 0.0  # linear warm-up, thousand images; 0 = off
    clip_norm: float | None = None  # global gradient norm to clip at; None = off


@dataclasses.dataclass(frozen=True)
class EMAConfig:
    half_life_kimg: float = 10.0  # half-life of G's moving average, thousand images
    rampup: float | None = 0.05  # half-life is at most this share of the images shown; None = off


@dataclasses.dataclass(frozen=True)
class AnnealConfig:
    kimg: float = 0.0  # thousand images in which values are annealed, along half a cosine; 0 = none is
    lr: float | None = None  # Adam step size of G and D at the end; None = it stays
    b2: float | None = None  # Adam beta 2 at the end; None = it stays
    gamma: float | None = None  # weight of R1 and R2 at the end, where they are on; None = they stay
    half_life_kimg: float | None = None  # half-life of G's moving average at the end; None = it stays
    ada_p: float | None = None  # strength of ADA at the end, with augment.ada_target None; None = it stays


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    kimg: float = 100.0  # length: thousand real images shown to D
    batch: int = 32  # images in a batch, over all devices
    d_steps: int = 1  # D updates per G update
    steps_per_dispatch: int = 8  # steps in one compiled loop; a run is reproducible only with the same number
    seed: int = 0  # of weights, latents, data order and augmentation
    compile: Literal["jit", "pmap"] = "jit"  # jit over a mesh of devices, or pmap; the results are the same
    devices: int | None = None  # number of devices; None = all


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    every_kimg: float | None = 50.0  # thousand images between saves; None = no checkpoints
    keep_last: int = 2  # newest checkpoints to keep
    keep_best: bool = False  # whether the best one by evaluation is kept too


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    every_kimg: float | None = None  # thousand images between evaluations; None = at the end only
    n_fake: int = 2000  # generated images per evaluation
    # feature network: fashion-v1, or one of `gan-jax weights list`, such as mobilenetv2:224; None = no evaluation
    features: str | None = "fashion-v1"
    seed: int = 0  # of the latents
    stats_batches: int = 16  # batches of fresh latents for recalibrated batch statistics; 0 = use the running ones


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_dispatches: int = 1  # dispatches between metrics rows
    grid_every_kimg: float | None = None  # thousand images between sample grids; None = at the end only
    tensorboard: bool = True  # event files beside metrics.jsonl, where a writer is installed


# ----------------------------------------------------------------------------------------------------------------------
# Tasks: one dataclass for each configuration, the table `TASK_NAMES` of them, and `TaskConfig`, any of them.


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """Properties of a task, beside the fields of its configurations.

    Attributes:
      translates: whether its generators make images from images, so that it needs a family of translators.
      writes: whether its generators make texts, so that it needs a family of those.
      usual_net: the family of networks that it was published with; empty = any of those of images from latents.
      losses: names of `LossConfig` that it can have; None = all.
      repeats: whether D may have several updates in a step (`train.d_steps`).
      positive: fields that must be more than 0 -> remedy, as the end of a sentence.
      not_negative: fields that must be at least 0.
    """

    translates: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    usual_net: ClassVar[str] = ""
    losses: ClassVar[tuple[str, ...] | None] = None
    repeats: ClassVar[bool] = True
    positive: ClassVar[Mapping[str, str]] = {}
    not_negative: ClassVar[tuple[str, ...]] = ()


@dataclasses.dataclass(frozen=True)
class ImageTask(TaskOptions):
    """Images from latents, unconditional or of classes: a generator `g` and a discriminator `d` (`net`)."""


@dataclasses.dataclass(frozen=True)
class TranslationTask(TaskOptions):
    """Images from images: what all of these tasks share."""

    translates = True
    losses = ("non_saturating", "least_squares", "hinge", "wasserstein")


@dataclasses.dataclass(frozen=True)
class PairedTask(TranslationTask):
    """Images from images of pairs (pix2pix; Isola et al., 2017): a generator `g` and a discriminator `d`."""

    usual_net = "unet"

    l1: float = 100.0  # weight of the mean absolute difference from the target; 0 = off

    not_negative = ("l1",)


@dataclasses.dataclass(frozen=True)
class UnpairedTask(TranslationTask):
    """Two domains without pairs (CycleGAN; Zhu et al., 2017): generators `g_ab` and `g_ba`, discriminators `d_a` and `d_b`."""

    usual_net = "translator"

    cycle: float = 10.0  # weight of the mean absolute difference of an image from itself, there and back
    # weight of the mean absolute change of an image that is in the other domain already, in multiples of cycle; 0 = off
    identity: float = 0.5
    pool: int = 50  # earlier translations that D is shown half of the time, of each domain; 0 = the newest only

    repeats = False
    not_negative = ("cycle", "identity", "pool")


@dataclasses.dataclass(frozen=True)
class OneSidedTask(TranslationTask):
    """One direction without pairs (CUT; Park et al., 2020): `g`, `d`, and a network `f` of the features of patches."""

    usual_net = "translator"

    nce: float = 1.0  # weight of the contrast of patches; 10 in FastCUT
    nce_identity: bool = True  # whether images of the target domain are translated and contrasted too; off in FastCUT
    temperature: float = 0.07  # divides similarities of patches
    patches: int = 256  # places of a map that are contrasted, at most
    layers: tuple[int, ...] = (
        0,
        4,
        8,
        12,
        16,
    )  # modules of G's encoder whose maps are contrasted, in the published order
    mlp: int = 256  # width of `f`
    flip: bool = False  # whether half of the images are translated mirrored, and contrasted upright (FastCUT)
    all_negatives: bool = False  # whether negatives are of all images of a batch; False = of the same image
    pool: int = 0  # earlier translations that D is shown half of the time; 0 = the newest only

    positive = {"temperature": "", "patches": "", "mlp": ""}
    not_negative = ("nce", "pool")


@dataclasses.dataclass(frozen=True)
class LayoutTask(TranslationTask):
    """Images from label maps (SPADE; Park et al., 2019): a generator `g`, and `d` of several scales."""

    usual_net = "spade"

    matching: float = 10.0  # weight of the mean absolute difference of D's features of both images; 0 = off
    perceptual: float = 10.0  # weight of the difference of a published network's features of both images; 0 = off
    features: Literal["vgg19", "vgg16"] = "vgg19"  # that network; its weights come by gan-jax weights get

    not_negative = ("matching", "perceptual")


TASK_NAMES: dict[str, type[TaskOptions]] = {  # a row is a task: its name, and its configuration
    "image": ImageTask,
    "paired": PairedTask,
    "unpaired": UnpairedTask,
    "one_sided": OneSidedTask,
    "layout": LayoutTask,
}

if TYPE_CHECKING:
    TaskConfig = TaskOptions
    TaskName = str
else:
    TaskConfig = Union[tuple(TASK_NAMES.values())]  # noqa: UP007  of a table
    TaskName = Literal[tuple(TASK_NAMES)]


# ----------------------------------------------------------------------------------------------------------------------
# Policies of a transplant: treatment of leaves that do not fit.


@dataclasses.dataclass(frozen=True)
class TransplantConfig:
    """Policies for leaves that are absent, have no counterpart, or have another shape or dtype."""

    missing: Literal["error", "init"] = "init"  # a target leaf that the source lacks; init = fresh values
    unused: Literal["error", "drop"] = "error"  # a source leaf that the target lacks
    shape: str = "adapt"  # a leaf of another shape: error, adapt (by its role), or allowed operations: slice,widen
    width: Literal["silent", "net2wider"] = (
        "silent"  # wider networks: new silent channels, or copies that share the work
    )
    d_width: Literal["silent", "net2wider"] | None = None  # the same for D, silent under spectral norm; None = width
    narrow: Literal["leading", "strongest"] = (
        "leading"  # narrower networks: the first channels, or the most important ones
    )
    classes: tuple[int, ...] | None = None  # source class that each class starts from, -1 = mean; None = the same ones
    dtype: Literal["error", "cast"] = "cast"  # a leaf of floats with another width, such as bfloat16
