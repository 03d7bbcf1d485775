"""TransferGAN (Wang et al., ECCV 2018): ImageNet to 1,000 LSUN bedrooms at 64 px."""

from __future__ import annotations

import dataclasses

from source_imagenet import config as of_source

from gan_jax.config import Config, DataConfig, EvalConfig, FinetuneConfig


def config() -> Config:
    """The source's settings, as in the paper; `--data.shots` is the size of the target, `--transfer.networks` what is copied."""
    source = of_source()
    return dataclasses.replace(
        source,
        data=DataConfig(source="folder:data/lsun-bedroom-64", shots=1000, reference=10_000),
        train=dataclasses.replace(source.train, kimg=3200.0),
        transfer=FinetuneConfig(source="runs/imagenet64"),
        evaluate=EvalConfig(every_kimg=320.0, n_fake=10_000, features="inception-v3-fid:legacy-tensorflow"),
    )
