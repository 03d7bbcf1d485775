"""Translation in a run: pairs of images as its data, numbers of translated images, and grids of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from gan_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    LayoutTask,
    PairedTask,
    SPADEConfig,
    UnpairedTask,
    from_dict,
)
from gan_jax.data import Pairs, load_pairs
from gan_jax.data.convert import resize, to_channels
from gan_jax.data.label_maps import colour_labels
from gan_jax.data.pairs import split_pairs
from gan_jax.interop import WeightsError
from gan_jax.metrics import (
    FeatureNet,
    Features,
    Measured,
    Protocol,
    evaluate_features,
    extract,
    load_features,
    load_perceptual,
    make_protocol,
    unmeasurable,
)
from gan_jax.metrics.networks import NETWORKS, is_there
from gan_jax.metrics.pairs import identity_baseline, nearest_baseline, pair_metrics
from gan_jax.metrics.perceptual import Perceptual
from gan_jax.nets import NamedNets, Networks, build
from gan_jax.nets.build import net_like
from gan_jax.roots import is_reversed
from gan_jax.tasks.model import Model
from gan_jax.tasks.translate import make_translator
from gan_jax.train.state import GanState, Variables
from gan_jax.transfer.dataset import REFERENCE_IMAGES, Dataset, not_held_out
from gan_jax.transfer.evaluation import Measurement, noted

GRID_PAIRS = 16  # inputs in a grid of translations
LPIPS = "vgg16"  # network of LPIPS, where its weights are in the cache
BACK = "back_"  # before the names of metrics of the generator from images to inputs

# ----------------------------------------------------------------------------------------------------------------------
# Data: pairs to train on, and the reference.


def load_pair_dataset(config: Config) -> Dataset:
    """Reads, resizes and splits the pairs of a configuration.

    Pairs can be used without their pairing: training then draws both sides independently, and the reference stays paired, so
    that its metrics can be measured.

    Raises:
      DataError: pairs cannot be read, or there are fewer than the shots.
      ConfigError: another kind of set than the task needs.
    """
    data, net, task = config.data, config.net, config.task
    if data.classes is not None:
        raise ConfigError("data.classes chooses images by class, which pairs do not have; leave it None")
    layout = isinstance(task, LayoutTask)
    labels: Any = net
    sides = {"num_labels": labels.num_labels} if layout else {"in_channels": labels.in_channels}
    pairs = load_pairs(
        data.source, resolution=net.resolution, channels=net.channels, fit=data.fit, bad=data.bad,
        load_size=data.load_size, **sides,
    )  # fmt: skip
    needed = "layout" if layout else "paired" if isinstance(task, PairedTask) else "unpaired"
    if pairs.kind != needed and not (needed == "unpaired" and pairs.kind == "paired"):
        remedy = {"paired": "pairs:A,B or joined:FOLDER", "unpaired": "unpaired:A,B", "layout": "layouts:LABELS,IMAGES"}
        raise ConfigError(
            f"data.source {data.source} is {_article(pairs.kind)} set, and the task needs {_article(needed)} one, such as "
            f"{remedy[needed]}"
        )
    split = split_pairs(pairs, shots=data.shots, reference=data.reference, seed=data.subset_seed)
    reference, held_out = split.rest, split.rest is not None
    if reference is None:
        reference = split.train.take(np.arange(min(len(split.train), REFERENCE_IMAGES)))
    if data.load_size is not None:
        reference = load_pairs(reference, resolution=net.resolution)
    train = split.train if pairs.kind == needed else dataclasses.replace(split.train, kind="unpaired", names=None)
    dataset = Dataset(train, reference, held_out, data.shots is not None)
    notes = [*pairs.notes, None if config.evaluate.features is None else not_held_out(dataset)]
    return dataclasses.replace(dataset, notes=tuple(note for note in notes if note))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


# ----------------------------------------------------------------------------------------------------------------------
# Translations of a state, for numbers and for grids.


class Translations:
    """The translators of a run, each with the network as the method wraps it.

    Args:
      networks: of the run.
    """

    def __init__(self, networks: Networks):
        self.translators: dict[str, Callable[..., np.ndarray]] = {}
        for name in networks.generators:
            config = networks.config.reversed if is_reversed(name) else networks.config
            self.translators[name] = make_translator(build(config), net=networks.nets[name])

    @property
    def forward(self) -> str:
        """The generator from inputs to images."""
        return next(iter(self.translators))

    @property
    def backward(self) -> str | None:
        """The generator from images to inputs; None where there is none."""
        return next((name for name in self.translators if is_reversed(name)), None)

    def translate(self, name: str, ema: Mapping[str, Variables], inputs: np.ndarray, instances: Any) -> np.ndarray:
        """Translations by the moving average of a generator, uint8 `[N, H, W, C]`."""
        return self.translators[name](ema[name], inputs, instances)


@dataclasses.dataclass(frozen=True)
class TranslationEvaluator:
    """Numbers of translations of held-out inputs: of the set against the set, and of each pair where there are pairs.

    Attributes:
      net, protocol: feature network and protocol.
      reference: features of the held-out images.
      pairs: held-out inputs and images.
      translations: of the run.
      perceptual: network of LPIPS; None = it is not measured.
      back: `(features of held-out inputs, protocol)` of the generator from images to inputs; None = there is none.
      unmeasured: metric -> reason.
      baselines: a log message about what identity and the nearest neighbour reach.
    """

    net: FeatureNet
    protocol: Protocol
    reference: Features
    pairs: Pairs
    translations: Translations
    perceptual: Perceptual | None = None
    back: tuple[Features, Protocol] | None = None
    unmeasured: dict[str, str] = dataclasses.field(default_factory=dict)
    baselines: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Log messages about metrics that are left out, and about baselines."""
        return tuple(note for note in (*dict.fromkeys(self.unmeasured.values()), self.baselines) if note)

    def standing(self, g_vars: Variables) -> Variables:
        """The variables as they are: translators normalise by each image, or by the statistics of training."""
        return g_vars

    def with_networks(self, networks: Networks) -> TranslationEvaluator:
        """The same for other networks of the same configuration, such as those that a method wraps."""
        return dataclasses.replace(self, translations=Translations(networks))

    def measure_averages(self, ema: Mapping[str, Variables]) -> Measurement:
        """Measures averages by generator: fd, kid, ..; l1, psnr, ssim, .. of pairs; `back_fd`, .. of the way back."""
        pairs, translations = self.pairs, self.translations
        outputs = translations.translate(translations.forward, ema, pairs.inputs, pairs.instances)
        features = extract(self.net, outputs)
        measured = evaluate_features(self.reference, features, self.protocol)
        numbers, protocols = dict(measured), {}
        if pairs.kind != "unpaired":
            of_pairs = pair_metrics(outputs, pairs.images, perceptual=self.perceptual)
            protocols = of_pairs.protocols
            finite = {
                name: value for name, value in of_pairs.means.items() if np.isfinite(value)
            }  # equal images: no PSNR
            numbers |= finite
        if self.back is not None and (name := translations.backward) is not None:
            reference, protocol = self.back
            inputs = translations.translate(name, ema, pairs.images, None)
            of_inputs = evaluate_features(reference, extract(self.net, inputs), protocol)
            numbers |= {f"{BACK}{key}": value for key, value in of_inputs.items()}
            protocols = {**protocols, **{f"{BACK}{key}": protocol for key in of_inputs}}
        return Measurement(Measured(numbers, measured.notes), outputs, features, protocols)


def make_translation_evaluator(config: Config, networks: Networks, dataset: Dataset) -> TranslationEvaluator | None:
    """Makes the evaluator of a run of translators; None where `evaluate.features` is None."""
    options, pairs = config.evaluate, dataset.reference
    if options.features is None:
        return None
    assert isinstance(pairs, Pairs)
    if len(pairs) > options.n_fake:
        pairs = pairs.take(np.arange(options.n_fake))
    net, translations = load_features(options.features), Translations(networks)
    perceptual = load_perceptual(LPIPS) if _measures_lpips(pairs) else None
    reference = extract(net, pairs.images)
    protocol = _protocol(options, net, pairs.images, len(pairs.inputs), dataset)
    back = None
    if translations.backward is not None:
        back = extract(net, pairs.inputs), _protocol(options, net, pairs.inputs, len(pairs.images), dataset)
    unmeasured = unmeasurable(protocol, net.dim)
    baselines = None if pairs.kind == "unpaired" else _baselines(pairs, dataset.train, perceptual)
    return TranslationEvaluator(
        net, protocol, reference, pairs, translations, perceptual, back, unmeasured, baselines
    )  # fmt: skip


def evaluate_translations(model: Model, data: DataConfig, evaluate: EvalConfig) -> dict[str, Any]:
    """Measures a model that translates on held-out pairs; see `transfer.measuring.evaluate_model`.

    Raises:
      ConfigError: there is nothing to measure with, or data of another kind than the networks read.
      WeightsError: the model has no generator from inputs to images.
    """
    if evaluate.features is None:
        raise ConfigError("evaluate.features is None: there is nothing to measure with; use fashion-v1")
    names = [f"g_{way}" for way in model.directions] or ["g"]
    averages = {name: model.translator(name[2:] or None)[1] for name in names}
    if names == ["g_ba"]:
        raise WeightsError(f"{model.name} has only the way back (ba), and is measured from inputs to images (ab)")
    config = Config(data=data, net=model.config, evaluate=evaluate, task=_task_of(model))
    dataset = load_pair_dataset(config)
    pair = build(model.config)
    nets = {name: net for name in names if (net := net_like(pair, name)) is not None}
    networks = NamedNets(nets, tuple(names), config=model.config)
    evaluator = make_translation_evaluator(config, networks, dataset)
    assert evaluator is not None
    measurement = evaluator.measure_averages(averages)
    measured = measurement.numbers
    numbers: dict[str, Any] = {"protocol": evaluator.protocol.id}
    for name, value in measured.items():
        protocol, way = measurement.protocols.get(name, evaluator.protocol), ", way back" * name.startswith(BACK)
        if protocol.id not in numbers.values():
            numbers[f"protocol of {'the way back' if way else 'LPIPS' if name == 'lpips' else 'pairs'}"] = protocol.id
        numbers[protocol.title(name.removeprefix(BACK)) + way] = value
    return numbers | noted(*dataset.notes, *evaluator.notes, *getattr(measured, "notes", ()))


def _task_of(model: Model) -> Any:
    """The task that weights were trained for; where they do not say, one that their networks can have."""
    if "task" in model.manifest:
        return from_dict(Config, {"task": model.manifest["task"]}).task
    return LayoutTask() if isinstance(model.config, SPADEConfig) else UnpairedTask()


def _protocol(options: EvalConfig, net: FeatureNet, real: np.ndarray, n_fake: int, dataset: Dataset) -> Protocol:
    few = min(len(real), n_fake)
    return make_protocol(
        net, channels=real.shape[3], n_real=len(real), n_fake=n_fake, reference_hash=dataset.reference_hash,
        seed=options.seed, far=net.name == "fashion-v1", seen=not dataset.held_out,
        **({"prdc_k": few - 1} if 1 < few <= Protocol.prdc_k else {}),
        **({"is_splits": n_fake} if n_fake < Protocol.is_splits else {}),
    )  # fmt: skip


def _measures_lpips(pairs: Pairs) -> bool:
    return pairs.kind != "unpaired" and is_there(LPIPS) and min(pairs.images.shape[1:3]) >= NETWORKS[LPIPS].least


def _baselines(pairs: Pairs, train: Any, perceptual: Perceptual | None) -> str:
    """A sentence with the metrics of outputs that learn nothing."""
    outputs = {"the input itself": identity_baseline(pairs.inputs, pairs.images)}
    if train.kind != "unpaired":
        size = pairs.images.shape[1]
        images = resize(train.images, size)
        outputs["the target of the nearest training input"] = nearest_baseline(pairs.inputs, train.inputs, images)
    texts = []
    for name, images in outputs.items():
        if images is not None:
            means = pair_metrics(images, pairs.images, perceptual=perceptual).means
            texts.append(f"{name} has {', '.join(f'{key} {value:.4g}' for key, value in means.items())}")
    return f"baselines on the {len(pairs)} held-out pairs: {'; '.join(texts)}" if texts else ""


def translation_painter(networks: Networks, dataset: Dataset) -> Callable[[GanState], np.ndarray]:
    """Makes `state -> uint8 [n, H, w W, C]`: inputs, their translations and, of pairs, their targets side by side.

    Two translators draw both directions: inputs, their translations, images, their translations back.
    """
    translations, pairs = Translations(networks), dataset.reference
    assert isinstance(pairs, Pairs)
    count = min(GRID_PAIRS, len(pairs.inputs), len(pairs.images))
    pairs = pairs.take(np.arange(count), np.arange(count) if pairs.kind == "unpaired" else None)

    def paint(state: GanState) -> np.ndarray:
        shown = [_as_images(pairs.inputs, pairs.num_labels)]
        shown.append(translations.translate(translations.forward, state.ema, pairs.inputs, pairs.instances))
        if pairs.kind != "unpaired" or translations.backward is not None:
            shown.append(pairs.images)
        if translations.backward is not None:
            shown.append(translations.translate(translations.backward, state.ema, pairs.images, None))
        channels = max(images.shape[3] for images in shown)
        return np.concatenate([to_channels(images, channels) for images in shown], axis=2)

    return paint


def _as_images(inputs: np.ndarray, num_labels: int | None) -> np.ndarray:
    """Inputs as pictures: label maps in a colour for each label, images of other numbers of channels as grey."""
    if inputs.ndim == 3:
        return colour_labels(inputs, cast(int, num_labels))
    return inputs if inputs.shape[3] in (1, 3, 4) else inputs.mean(3, keepdims=True).astype(np.uint8)
