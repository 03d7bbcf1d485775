"""Images per second through the FID Inception: ours, pytorch-fid's and torch-fidelity's, which take turns.

Run from the repository with the packages of tests/peers/requirements.txt:
    python experiments/feature_networks/speed.py [--batch 16] [--side 64] [--rounds 9]

All three have the same random weights and get the same uint8 images in memory; resizing and normalisation are part of
each call. Ratios are taken within a round, so that other work on the machine slows both. Writes speed.json to its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.simplefilter("ignore")

import jax  # noqa: E402
import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Times the three and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (args.batch, args.side, args.side, 3), dtype=np.uint8)
    calls, versions = candidates(images)
    first = {name: seconds(call) for name, call in calls.items()}  # compiling, or what torch prepares
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(args.rounds)]
    rows = []
    for ours, theirs in (("ours, legacy-pytorch", "pytorch-fid"), ("ours, legacy-tensorflow", "torch-fidelity")):
        ratios = sorted(turn[theirs] / turn[ours] for turn in rounds)
        rows += [
            {"who": name, "images_per_s": args.batch / float(np.median([turn[name] for turn in rounds])),
             "best_images_per_s": args.batch / min(turn[name] for turn in rounds), "first_call_s": first[name]}
            for name in (ours, theirs)
        ]  # fmt: skip
        rows[-2] |= {"times_theirs": {"median": float(np.median(ratios)), "least": ratios[0], "most": ratios[-1]}}
    record = {"cores": os.cpu_count(), "versions": versions, **vars(args), "rows": rows}
    (HERE / "speed.json").write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})


def candidates(images: np.ndarray) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """The calls that take turns, on the same weights, and the versions of their packages."""
    import importlib.metadata

    from tests.peers.conftest import _torchvision, params_of, planes, randomise

    _torchvision()
    import pytorch_fid.inception as fid
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity
    import torchvision

    from gan_jax.metrics.features import feature_net

    fid.load_state_dict_from_url = lambda *args, **options: None
    load = torchvision.models.Inception3.load_state_dict
    torchvision.models.Inception3.load_state_dict = lambda self, state: None
    net = randomise(fid.fid_inception_v3())
    torchvision.models.Inception3.load_state_dict = load
    fid.fid_inception_v3 = lambda: net
    pytorch_fid = fid.InceptionV3((3,)).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        params = params_of("inception-v3-fid", net, path)
        torch_fidelity = fidelity.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    theirs, like_pytorch = planes(images), feature_net("inception-v3-fid", params, option="legacy-pytorch")
    like_tensorflow = feature_net("inception-v3-fid", params)

    def without_gradient(function: Callable[[object], object]) -> Callable[[], object]:
        def call() -> object:
            with torch.no_grad():
                return function(theirs)

        return call

    calls = {
        "ours, legacy-pytorch": lambda: jax.block_until_ready(like_pytorch.apply(images)),
        "pytorch-fid": without_gradient(lambda x: pytorch_fid(x / 255)),
        "ours, legacy-tensorflow": lambda: jax.block_until_ready(like_tensorflow.apply(images)),
        "torch-fidelity": without_gradient(torch_fidelity),
    }
    names = ("jax", "torch", "torchvision", "pytorch-fid", "torch-fidelity")
    return calls, {name: importlib.metadata.version(name) for name in names}


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
