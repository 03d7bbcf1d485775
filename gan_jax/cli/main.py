"""`gan-jax`: finds the verb, runs it, turns errors into one readable block and an exit code.

Nothing heavy is imported before a verb is chosen, so that `gan-jax --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from gan_jax.cli.errors import EXIT_CODES, handle


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `gan-jax` with these arguments (None: the process's own) and returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("GAN_JAX_DEBUG", "") not in ("", "0")
    args = [arg for arg in args if arg != "--debug"]
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    verb, *rest = args
    if verb == "--version":
        from gan_jax import __version__

        print(f"gan_jax {__version__}")
        return 0
    if verb not in VERBS:
        return _unknown(verb)
    try:
        code = importlib.import_module(f"gan_jax.cli.{MODULES.get(verb, verb)}").main(rest)
        sys.stdout.flush()  # a closed pipe is found here, not after our handlers are gone
        return code
    except SystemExit as error:  # tyro has printed its own block (2) or the help (0); a run may leave with its code
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    except BaseException as error:
        return handle(error, verb=verb, debug=debug)


def overview() -> str:
    """What `gan-jax --help` prints."""
    verbs = "\n".join(f"  {verb:<16}{purpose}" for verb, purpose in VERBS.items())
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    return f"""usage: gan-jax VERB [options]        gan-jax VERB --help for its options

Transfer learning of GANs: pretrain, transplant into another architecture, adapt to few images, measure.

verbs:
{verbs}

options of every verb:
  --debug    show the traceback of an error (or set GAN_JAX_DEBUG=1)
  --version  print the version

exit codes:
{codes}

examples:
  gan-jax demo --target emoji
  gan-jax train experiments/pretrain_fashion/config.py --optim.lr 1e-3 --out runs/fast
  gan-jax transfer --method freeze_d --transfer.blocks 2 --data.classes 9 --data.shots 100
  gan-jax sample runs/fast --n 64 --out samples.png
"""


def _unknown(verb: str) -> int:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    print(f"gan-jax: there is no verb {verb!r}{hint}\nThe verbs are {', '.join(VERBS)}.", file=sys.stderr)
    return 2


VERBS = {
    "train": "train a GAN, or go on with a run that was stopped",
    "transfer": "start from a pretrained pair and adapt it to new data",
    "fuse": "make one pair of several pretrained ones, for new data",
    "bench-transfer": "compare transfer methods over targets and seeds under one protocol",
    "transplant": "move pretrained weights into another architecture, without training",
    "import": "read weights that another program wrote",
    "export": "write a pair for another program, or its sampler as StableHLO or ONNX",
    "align": "bring weights into the channel order and scales of others, for averaging",
    "merge": "make one of several weights in closed form, leaf by leaf, without training",
    "plan": "show where every leaf of a transfer would come from",
    "report": "write one page of a run: pictures, curves, evaluations, nearest training images",
    "sample": "draw images from a run, a weights folder or an embedded pair",
    "evaluate": "measure a generator against data under one named protocol",
    "rank-sources": "say which pretrained pair suits new data best, before training",
    "diff": "show what differs between two weights, checkpoints or runs",
    "inspect": "list the leaves and the provenance of weights or of a run",
    "weights": "list the feature networks that metrics know, or get the weights of one",
    "data": "prepare data sets, or say what is in one",
    "demo": "the whole job on data inside the package, with a report",
}
MODULES = {
    "bench-transfer": "bench_transfer",
    "import": "import_weights",
    "rank-sources": "rank_sources",
}  # where a verb is no name for a module
