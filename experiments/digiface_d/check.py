"""A check of the pair's D on faces: how often it prefers a sample of its G to a spoilt one.

python experiments/digiface_d/check.py runs/digiface/pair
"""

from __future__ import annotations

import sys

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

import gan_jax
from gan_jax.data.convert import to_float

PATCH = 16  # px


def exchanged(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The patches of each image in another order."""
    n, side = len(images), images.shape[1] // PATCH
    patches = images.reshape(n, side, PATCH, side, PATCH, -1).transpose(0, 1, 3, 2, 4, 5)
    patches = np.stack([image[draw.permutation(side**2)] for image in patches.reshape(n, side**2, PATCH, PATCH, -1)])
    return patches.reshape(n, side, side, PATCH, PATCH, -1).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def main(path: str) -> None:
    """Prints a table: share of pairs (sample, spoilt sample) in which the sample's logit is higher."""
    model, draw = gan_jax.load(path), np.random.default_rng(0)
    images = model.sample(jax.random.key(99), 256).astype(np.float64)
    spoilt = {
        "itself": images,
        "noise of 10 grey levels": np.clip(images + draw.normal(0, 10, images.shape), 0, 255),
        "blurred by 1 px": np.stack([gaussian_filter(image, (1, 1, 0)) for image in images]),
        f"patches of {PATCH} px exchanged": exchanged(images, draw),
        "upside down": images[:, ::-1],
        "red and blue exchanged": images[..., ::-1],
        "uniform noise": draw.integers(0, 256, images.shape).astype(np.float64),
    }
    networks = {"trained": model.variables["d"], "fresh": model.pair.d.init(jax.random.key(0))}
    judge = jax.jit(
        lambda d, x: model.pair.d.apply(d, to_float(x), train=True)[0]
    )  # as in training: by batch statistics
    print("| spoilt by | trained D | fresh D |\n|---|---:|---:|")
    logits = {
        (name, how): np.asarray(judge(d, x.astype(np.uint8)))
        for name, d in networks.items()
        for how, x in spoilt.items()
    }
    for how in list(spoilt)[1:]:
        wins = [(logits[name, "itself"][:, None] > logits[name, how][None]).mean() for name in networks]
        print(f"| {how} | {wins[0]:.2f} | {wins[1]:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1])
