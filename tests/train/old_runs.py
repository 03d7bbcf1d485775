"""Run folders of an earlier state of this code, that must be gone on with to the bit.

`python -m tests.train.old_runs` writes them again with the code that it is run with: each is stopped between two
checkpoints, and `ends.json` says what its state is where nothing stops it. With a KIND and a FILE it goes on with the folder of
that kind, and writes what its state ends as.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import (
    AttentionFusionConfig,
    AugmentConfig,
    Config,
    EWCConfig,
    LoRAConfig,
    LossConfig,
    MineGANConfig,
    MLPConfig,
    ScratchConfig,
    read_record,
)
from gan_jax.transfer.run import run
from tests import conftest
from tests.train.recorded import leaves, place, record
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods.resumed import Stops

FOLDER = Path(__file__).parent / "golden" / "old_runs"
NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8, 8))
CLASSES = dataclasses.replace(NET, num_classes=3)
KINDS: dict[str, Any] = {
    "scratch": ScratchConfig(),
    "lora": LoRAConfig(d_adapted=True),
    "ewc": EWCConfig(samples=16, balance=0.1),
    "minegan": MineGANConfig(mine_kimg=0.016),
    "attention_fusion": AttentionFusionConfig(fuse_kimg=0.016, attention_width=4, preserve=0.1),
}


def config_of(kind: str, folder: Path) -> Config:
    """The configuration of a kind whose data and sources lie in `folder`."""
    transfer = KINDS[kind]
    config = run_config(f"npz:{folder / 'data.npz'}", kimg=0.112, devices=1)
    if kind == "scratch":
        loss = LossConfig(name="non_saturating", r1_gamma=1.0, penalty_interval=2, lecam=0.1)
        augment = AugmentConfig(ada="blit", ada_p=0.2, ada_kimg=1.0)
        return dataclasses.replace(config, net=CLASSES, loss=loss, augment=augment)
    transfer = dataclasses.replace(transfer, source=str(folder / "first"))
    if kind == "attention_fusion":
        transfer = dataclasses.replace(transfer, donors=(str(folder / "second"),))
    return dataclasses.replace(config, net=NET, transfer=transfer)


def write_data(folder: Path) -> None:
    """Images, labels and two pairs."""
    save_pairs(folder, NET)
    images = np.load(folder / "data.npz")["images"]
    np.savez(folder / "data.npz", images=images, labels=np.arange(len(images)) % 3)


def resume(kind: str, folder: Path) -> dict[str, Any]:
    """Goes on with a folder whose sources are gone: the record of the state at the end, and the notes of the run."""
    with zipfile.ZipFile(FOLDER / f"{kind}.zip") as archive:
        archive.extractall(folder)
    config, _ = read_record(Config, folder / kind / "config.json")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=f"npz:{FOLDER / 'data.npz'}"))
    resumed = run(config, folder / kind, quiet=True)
    notes = [json.loads(line)["text"] for line in (folder / kind / "notes.jsonl").read_text().splitlines()]
    return {"place": place(), "record": record(leaves(resumed.state)), "notes": notes}


def main() -> None:
    """Writes the folders and what their states end as."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    work, ends = Path(tempfile.gettempdir()) / "runs", {}
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    write_data(work)
    shutil.copy(work / "data.npz", FOLDER / "data.npz")
    for kind in KINDS:
        config = config_of(kind, work)
        ends[kind] = record(leaves(run(config, work / f"{kind}-whole", quiet=True).state))
        try:
            run(config, work / kind, Stops())
        except Stops.Broken:
            pass
        with zipfile.ZipFile(FOLDER / f"{kind}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((work / kind).rglob("*")):
                if path.is_file():
                    archive.write(path, str(path.relative_to(work)))
    (FOLDER / "ends.json").write_text(json.dumps({"place": place(), "ends": ends}, indent=1))


if __name__ == "__main__":
    assert conftest.CHEAP, "written as the tests compile"
    if len(sys.argv) == 3:
        with tempfile.TemporaryDirectory() as scratch:
            Path(sys.argv[2]).write_text(json.dumps(resume(sys.argv[1], Path(scratch))))
    else:
        main()
