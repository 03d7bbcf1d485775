"""`gan-jax`: selects the verb, runs it, and turns errors into one readable block and an exit code.

Heavy packages are imported only after a verb is selected, so that `gan-jax --help` is fast.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from gan_jax.cli import module_of
from gan_jax.cli.errors import EXIT_CODES, handle


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `gan-jax` with these arguments (None: the process's own) and returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    survive_any_terminal()
    debug = "--debug" in args or os.environ.get("GAN_JAX_DEBUG", "") not in ("", "0")
    args = [arg for arg in args if arg != "--debug"]
    if not args or args[0] in ("-h", "--help", "--help-all", "help"):
        return _printed(overview)
    verb, *rest = args
    if verb == "--version":
        from gan_jax import __version__

        print(f"gan_jax {__version__}")
        return 0
    if verb == "--completion":
        from gan_jax.cli.help import script

        return _printed(lambda: script(rest, VERBS), verb="--completion", debug=debug)
    if verb not in VERBS:
        return _unknown(verb)
    try:
        code = importlib.import_module(module_of(verb)).main(rest)
        sys.stdout.flush()  # raises on a closed pipe here, where it is handled
        return code
    except SystemExit as error:  # tyro has printed its own block (2) or the help (0); a run may leave with its code
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    except BaseException as error:
        return handle(error, verb=verb, debug=debug)


def overview() -> str:
    """Returns the text of `gan-jax --help`."""
    from gan_jax.cli.help import columns, fill, row

    width = columns()

    def lines(rows: Iterable[tuple[str, str]], gutter: int) -> str:
        return "\n".join(line for name, text in rows for line in row(f"  {name}", text, width, gutter))

    verbs = [f"{title}:\n" + lines(group.items(), 18) for title, group in GROUPS.items()]
    blocks = [
        "usage: gan-jax VERB [options]        gan-jax VERB --help for its options",
        fill(
            "Transfer learning of GANs: pretrain, transplant into another architecture, adapt to few images, measure.",
            width,
        ),
        *verbs,
        "options of every verb:\n" + lines(OPTIONS.items(), 22),
        "exit codes:\n" + lines(((str(code), meaning) for code, meaning in EXIT_CODES.items()), 7),
        "examples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
    ]
    return "\n\n".join(blocks)


def survive_any_terminal() -> None:
    """Makes streams print an escape for a character that the terminal cannot encode, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _printed(make: Callable[[], str], *, verb: str = "--help", debug: bool = False) -> int:
    try:
        print(make())
        sys.stdout.flush()
        return 0
    except BaseException as error:
        return handle(error, verb=verb, debug=debug)


def _unknown(verb: str) -> int:
    import difflib

    near = difflib.get_close_matches(verb.lower(), [*VERBS, *FOREIGN], n=2, cutoff=0.5)
    close = list(dict.fromkeys(FOREIGN.get(name, name) for name in near))
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    what = "option" if verb.startswith("-") else "verb"
    print(f"gan-jax: there is no {what} {verb!r}{hint}\nThe verbs are {', '.join(VERBS)}.", file=sys.stderr)
    return 2


GROUPS: dict[str, dict[str, str]] = {  # a row is a verb and its description; the module of that name has main(argv)
    "a generator for your images": {
        "data": "prepare data sets, or describe one",
        "transfer": "start from a pretrained pair and adapt it to new data",
        "train": "train a GAN, or continue a stopped run",
        "fuse": "fuse several pretrained pairs into one, for new data",
        "report": "write one page of a run: pictures, curves, evaluations, nearest training images",
        "sample": "draw images from a run, a weights folder or an embedded pair",
        "translate": "translate images, folders and video frames with a run or weights",
        "demo": "transplant, adapt and evaluate on data of the package, with a report",
    },
    "what it is worth": {
        "evaluate": "measure a generator against data under one named protocol",
        "rank-sources": "rank pretrained pairs as sources for new data, before training",
        "bench-transfer": "compare transfer methods over targets and seeds under one protocol",
    },
    "weights": {
        "import": "read weights that another program wrote",
        "export": "write a pair for another program, or its sampler as StableHLO or ONNX",
        "transplant": "move pretrained weights into another architecture, without training",
        "plan": "show the origin of every leaf of a transfer",
        "align": "bring weights into the channel order and scales of others, for averaging",
        "merge": "merge several weights in closed form, leaf by leaf, without training",
        "weights": "list feature networks and pretrained pairs, or get the weights of one",
    },
    "what is in a file or a run": {
        "inspect": "list the leaves and the provenance of weights or of a run",
        "diff": "show the differences between two weights, checkpoints or runs",
    },
}
VERBS = {verb: text for group in GROUPS.values() for verb, text in group.items()}
OPTIONS = {
    "--help": "the usual options and two examples; --help-all shows every option",
    "--debug": "show the traceback of an error (or set GAN_JAX_DEBUG=1)",
    "--version": "print the version (gan-jax --version)",
    "--completion SHELL": "print a completion script for bash or zsh (gan-jax --completion bash)",
}
EXAMPLES = (
    "gan-jax data info folder:photos",
    "gan-jax transfer folder:photos --out run",
    "gan-jax report run",
    "gan-jax sample run --n 64 --out grid.png",
    "gan-jax demo --target emoji",
)
FOREIGN = {  # names of verbs in other programs
    "generate": "sample",
    "gen": "sample",
    "samples": "sample",
    "synthesize": "sample",
    "test": "translate",
    "infer": "translate",
    "inference": "translate",
    "finetune": "transfer",
    "fine-tune": "transfer",
    "adapt": "transfer",
    "eval": "evaluate",
    "metrics": "evaluate",
    "fid": "evaluate",
    "calc_metrics": "evaluate",
    "convert": "import",
    "load": "import",
    "resume": "train",
    "fit": "train",
    "dataset": "data",
    "prepare": "data prepare",
    "info": "data info",
    "show": "inspect",
    "compare": "diff",
    "version": "--version",
    "completion": "--completion",
}
