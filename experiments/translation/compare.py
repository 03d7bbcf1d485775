"""Lines into Twemoji with few pairs: fresh weights beside pretrained translators, a feature network and a fusion.

    python experiments/translation/make_pairs.py runs/pairs
    python experiments/translation/compare.py runs/pairs --cifar PATH/cifar10-first4000

trains pix2pix at 32 px on 10, 100 and all pairs of lines and Twemoji, three seeds each (all pairs from the first two), from

    scratch      fresh weights
    translator   a pix2pix of lines into Noto's pictures, trained here first on the same subjects
    vgg16        VGG16's published weights in the encoder (`gan-jax weights get vgg16`)
    fusion       the Noto translator and one of lines into CIFAR photographs, by gradient

and measures the 195 held-out pairs. `edges.json` beside this file has a row for each run as it ends; a row that is there
is not trained again. `edges.md` and `edges.png` are made of the rows: `--show` makes them alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import jax  # noqa: E402
import numpy as np  # noqa: E402
from make_pairs import edges  # noqa: E402

import gan_jax  # noqa: E402
from gan_jax.config import (  # noqa: E402
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    GradientFusionConfig,
    LogConfig,
    LossConfig,
    MethodConfig,
    OptimConfig,
    PairedTask,
    ScratchConfig,
    TrainConfig,
    UNetConfig,
)
from gan_jax.data import load_pairs  # noqa: E402
from gan_jax.data.decode import encode_png  # noqa: E402
from gan_jax.metrics import evaluate_pairs, load_perceptual  # noqa: E402
from gan_jax.report.table import interval  # noqa: E402
from gan_jax.transfer.run import run  # noqa: E402

NET = UNetConfig(resolution=32, in_channels=1, depth=5, width=24, d_width=24)
KIMG = {10: 3.0, 100: 6.0, None: 16.0}  # shots -> thousand pairs shown; None = all
SOURCE_KIMG = 16.0
OF_ALL = ("scratch", "translator")  # starts with all pairs; the others are for few
METRICS = ("l1", "psnr", "ssim", "lpips")
SHOWN = 10  # held-out pairs in the picture


def config(data: DataConfig, transfer: MethodConfig, kimg: float, seed: int) -> Config:
    """A run of pix2pix with larger batches and step size than the paper's, for small images on two CPU cores."""
    return Config(
        task=PairedTask(),
        data=dataclasses.replace(data, mirror=True),
        net=NET,
        loss=LossConfig("non_saturating"),
        optim=OptimConfig(lr=5e-4, b1=0.5, b2=0.999, schedule="late_linear", decay_from=0.5),
        ema=EMAConfig(half_life_kimg=0.5),
        train=TrainConfig(kimg=kimg, batch=8, steps_per_dispatch=16, seed=seed),
        transfer=transfer,
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=EvalConfig(features=None),
        log=LogConfig(tensorboard=False),
    )


def starts(sources: Mapping[str, Path]) -> dict[str, MethodConfig]:
    """The starts by name."""
    noto, cifar = str(sources["noto"]), str(sources["cifar"])
    return {
        "scratch": ScratchConfig(),
        "translator": FinetuneConfig(source=noto),
        "vgg16": FinetuneConfig(source="features:vgg16", networks="g", unused="drop", d_warmup_kimg=0.5),
        "fusion": GradientFusionConfig(source=noto, donors=(cifar,), fuse_kimg=1.0),
    }


def cifar_lines(folder: Path, path: Path) -> None:
    """Writes pairs of lines and CIFAR photographs to an npz; the sheets have one picture of 32 x 32 px a row."""
    from PIL import Image

    sheets = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.glob("*.png"))]
    photographs = np.concatenate([sheet.reshape(-1, 32, 32, 3) for sheet in sheets])
    opaque = np.full((*photographs.shape[:3], 1), 255, np.uint8)
    lines = np.stack([edges(picture) for picture in np.concatenate([photographs, opaque], 3)])
    np.savez_compressed(path, inputs=lines, images=photographs)


def train_sources(pairs: Path, cifar: Path, runs: Path) -> dict[str, Path]:
    """The two pretrained translators as folders of weights, trained where they are absent."""
    npz = runs / "cifar_lines.npz"
    runs.mkdir(parents=True, exist_ok=True)
    if not npz.exists():
        cifar_lines(cifar, npz)
    data = {"noto": f"pairs:{pairs}/train/noto_edges,{pairs}/train/noto", "cifar": f"npz:{npz}"}
    folders = {}
    for name, source in data.items():
        folders[name] = runs / name / "weights"
        if not folders[name].exists():
            run(config(DataConfig(source=source), ScratchConfig(), SOURCE_KIMG, seed=0), runs / name, quiet=True)
    return folders


def measure(folder: Path, test: Any, train: Any, perceptual: Any) -> dict[str, Any]:
    """The means of the metrics of a run's translations of held-out inputs, and of the baselines of its training pairs."""
    outputs = gan_jax.load(folder).translate(test.inputs)
    result = evaluate_pairs(
        outputs, test.images, inputs=test.inputs, train_inputs=train.inputs, train_targets=train.images,
        perceptual=perceptual,
    )  # fmt: skip
    means = lambda metrics: {name: float(np.mean(metrics.values[name])) for name in METRICS}
    nearer = result.outputs.values["lpips"] - result.baselines["nearest"].values["lpips"]
    return {
        "outputs": means(result.outputs),
        **{name: means(metrics) for name, metrics in result.baselines.items()},
        "protocols": {name: result.outputs.protocols[name].id for name in METRICS},
        "lpips_to_nearest": [float(nearer.mean()), float(1.96 * nearer.std(ddof=1) / np.sqrt(len(nearer)))],
    }


def record(args: argparse.Namespace) -> None:
    """Trains and measures what the record lacks."""
    path = HERE / "edges.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    sources = train_sources(args.pairs, args.cifar, args.runs)
    spec = f"pairs:{args.pairs}/{{}}/edges,{args.pairs}/{{}}/twemoji"
    test = load_pairs(spec.format("test", "test"), resolution=NET.resolution, in_channels=1, channels=3)
    perceptual = load_perceptual("vgg16")
    for seed in args.seeds:
        for shots, kimg in KIMG.items():
            for name, transfer in starts(sources).items():
                if name not in (args.starts if shots else set(args.starts) & set(OF_ALL)):
                    continue
                if any((name, shots, seed) == _key(row) for row in rows):
                    continue
                data = DataConfig(source=spec.format("train", "train"), shots=shots, subset_seed=seed)
                folder = args.runs / f"{name}-{shots or 'all'}-{seed}"
                begin = time.monotonic()
                result = run(config(data, transfer, kimg, seed), folder, quiet=True)
                seconds = time.monotonic() - begin
                measured = measure(folder / "weights", test, result.dataset.train, perceptual)
                rows.append({"start": name, "shots": shots, "seed": seed, "kimg": kimg, "seconds": seconds, **measured})
                print(name, shots or "all", seed, {key: round(value, 4) for key, value in measured["outputs"].items()})
                facts = {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "jax": jax.__version__}
                path.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def _key(row: Mapping[str, Any]) -> tuple[str, int | None, int]:
    return row["start"], row["shots"], row["seed"]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The means over seeds with their intervals, as Markdown."""
    lines = ["| pairs | start | seeds | L1 | PSNR | SSIM | LPIPS |", "|---|---|---|---|---|---|---|"]
    for shots in KIMG:
        here = [row for row in rows if row["shots"] == shots]
        of_start = {
            name: [row for row in here if row["start"] == name] for name in dict.fromkeys(r["start"] for r in here)
        }
        shown = [(name, found, "outputs") for name, found in of_start.items()]
        if shown:
            shown += [(f"*{name} baseline*", shown[0][1], name) for name in ("identity", "nearest")]
        for name, found, key in shown:
            cells = [_cell([row[key][metric] for row in found]) for metric in METRICS]
            lines.append(f"| {shots or 'all'} | {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not np.isfinite(values).all():
        return "infinite"  # PSNR of equal images
    mean, half = interval(values)
    return f"{mean:.4g}" if half is None or half == 0 else f"{mean:.4g} ± {half:.2g}"


def picture(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Rows of the first seed: inputs, a row for each run, targets; uint8 `[H, W, 3]`."""
    spec = f"pairs:{args.pairs}/test/edges,{args.pairs}/test/twemoji"
    test = load_pairs(spec, resolution=NET.resolution, in_channels=1, channels=3)
    test = test.take(np.linspace(0, len(test.inputs) - 1, SHOWN).astype(int))
    strips = [np.repeat(test.inputs, 3, axis=3)]
    for row in sorted(rows, key=lambda row: list(KIMG).index(row["shots"])):
        folder = args.runs / f"{row['start']}-{row['shots'] or 'all'}-{row['seed']}" / "weights"
        if row["seed"] == min(args.seeds) and folder.exists():
            strips.append(gan_jax.load(folder).translate(test.inputs))
    strips.append(test.images)
    image = np.concatenate([np.concatenate(list(strip), axis=1) for strip in strips])
    return image.repeat(2, axis=0).repeat(2, axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="the folder of make_pairs.py")
    parser.add_argument("--cifar", type=Path, help="folder of the CIFAR-10 sheets")
    parser.add_argument("--runs", type=Path, default=Path("runs/translation"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=["scratch", "translator", "vgg16", "fusion"])
    parser.add_argument("--show", action="store_true", help="only make the table and the picture again")
    args = parser.parse_args(argv)
    if not args.show:
        record(args)
    rows = json.loads((HERE / "edges.json").read_text())["rows"]
    (HERE / "edges.md").write_text(table(rows))
    (HERE / "edges.png").write_bytes(encode_png(picture(args, rows)))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
