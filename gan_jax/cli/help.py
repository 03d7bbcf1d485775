"""Help pages: a verb's usual options on one screen, all options on request, wrapped at the terminal's width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gan_jax.cli.options import REQUIRED, Option, summary_of
from gan_jax.cli.typos import CommandLineError

MOST = 25  # options on the first page
GUTTER = 30  # columns for an option's name and value


def page(verb: str, cls: type, options: Sequence[Option], *, every: bool, name: str = "") -> str:
    """Formats the help of a verb.

    Args:
      verb: as it is typed, `train` or `data info`.
      cls: its dataclass, whose docstring describes it.
      options: all its options.
      every: show every option in groups, instead of the usual ones.
      name: name of the program; "" = gan-jax.
    """
    width, name = columns(), name or "gan-jax"
    words = [option for option in options if option.positional]
    named = [option for option in options if not option.positional]
    head, rest = summary_of(cls)
    usage = " ".join([f"usage: {name} {verb}", *(_usage(word) for word in words), "[options]"])
    needed = [f"--{option.name} {option.metavar}" for option in named if option.default is REQUIRED]
    blocks = [fill(" ".join([usage, *needed]), width), fill(head, width)]
    blocks += [rest_of(rest, width)] if rest and (every or len(named) <= MOST) else []
    if words:
        blocks.append("\n".join(line for word in words for line in _row(word, width)))
    listed = named if every else usual(named)
    title = "options:" if len(listed) == len(named) else f"the usual options ({len(listed)} of {len(named)}):"
    if every:
        blocks += [section(group, chosen, width) for group, chosen in groups(listed).items()]
    elif listed:
        blocks.append("\n".join([title, *(line for option in listed for line in _row(option, width))]))
    blocks.append("examples:\n" + "\n".join(f"  {example}" for example in examples_of(cls)))
    if len(listed) < len(named):
        blocks.append(f"{name} {verb} --help-all shows all {len(named)} options.")
    return "\n\n".join(block for block in blocks if not block.endswith("examples:\n"))


def commands_page(verb: str, commands: Mapping[str, type]) -> str:
    """Formats the help of a verb with second words."""
    width = columns()
    rows = [line for name, cls in commands.items() for line in row(f"  {name}", summary_of(cls)[0], width)]
    examples = "\n".join(f"  {example}" for cls in commands.values() for example in examples_of(cls)[:1])
    blocks = [f"usage: gan-jax {verb} {{{','.join(commands)}}} [options]", "\n".join(rows)]
    blocks += ["examples:\n" + examples] if examples else []
    return "\n\n".join([*blocks, f"gan-jax {verb} {next(iter(commands))} --help for its options"])


def examples_of(cls: type) -> tuple[str, ...]:
    """Returns the example command lines of a verb's dataclass."""
    return getattr(cls, "examples", ())


def usual(options: Sequence[Option]) -> list[Option]:
    """Selects at most 25 options: all if they are no more; else the verb's own, then the most used ones of a run."""
    if len(options) <= MOST:
        return list(options)
    first = [option for option in options if "." not in option.name]
    by_name = {option.name: option for option in options}
    picked = [by_name[name] for name in USUAL if name in by_name and by_name[name] not in first]
    return [*first, *picked][:MOST]


def groups(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Groups options by the prefix of their names, the verb's own first."""
    by_group: dict[str, list[Option]] = {"": []}
    for option in options:
        by_group.setdefault(option.name.rpartition(".")[0], []).append(option)
    return {group: chosen for group, chosen in by_group.items() if chosen}


def section(group: str, options: Iterable[Option], width: int) -> str:
    """Formats a group of options under its name."""
    title = f"{group} options:" if group else "options:"
    return "\n".join([title, *(line for option in options for line in _row(option, width))])


def columns() -> int:
    """Returns the terminal's width; 80 without a terminal."""
    return max(40, shutil.get_terminal_size().columns)


def fill(text: str, width: int) -> str:
    """Wraps a paragraph; further lines of a usage are indented."""
    return textwrap.fill(text, width, subsequent_indent="  " if text.startswith("usage") else "", **WRAP)


def rest_of(text: str, width: int) -> str:
    """Wraps each paragraph of a text."""
    return "\n\n".join(fill(" ".join(part.split()), width) for part in text.split("\n\n"))


def row(name: str, text: str, width: int, gutter: int = GUTTER) -> list[str]:
    """Formats `  name   text` with the text wrapped in its own column; below the name if that is long."""
    gutter = min(gutter, width // 2)
    lines = textwrap.wrap(text, width - gutter, **WRAP) or [""]
    first = [] if len(name) < gutter - 1 else textwrap.wrap(name, width, subsequent_indent="      ", **WRAP)
    if first:
        return [*first, *((" " * gutter + line).rstrip() for line in lines)]
    return [f"{name:<{gutter}}{lines[0]}".rstrip(), *(" " * gutter + line for line in lines[1:])]


def _row(option: Option, width: int) -> list[str]:
    if option.positional:
        return row(f"  {option.name}", option.help, width)
    name = f"  --{option.name}" + (f" {_short(option)}" if not option.flag else "")
    text = f"{option.help} " if option.help else ""
    choices = f"{', '.join(option.choices)} " if option.choices and len(option.metavar) > len(_short(option)) else ""
    if choices:
        text = f"{text.rstrip()}; one of {choices}" if text else f"one of {choices}"
    return row(name, f"{text}({_default(option)})", width)


def _short(option: Option) -> str:
    """Returns the metavar, or a short placeholder if it is long."""
    if len(option.metavar) <= 24:
        return option.metavar
    return "[NAME ...]" if option.several else "NAME"


def _default(option: Option) -> str:
    if option.default is REQUIRED:
        return "required"
    if option.flag:
        return f"default: on; --{option.negative}" if option.default else "default: off"
    value: Any = option.default
    if isinstance(value, (tuple, list)):
        return f"default: {' '.join(map(str, value)) or 'none'}"
    return f"default: {value:g}" if isinstance(value, float) else f"default: {value}"


def _usage(word: Option) -> str:
    name = f"{word.name} ..." if word.several else word.name
    return name if word.default is REQUIRED or name.startswith("[") else f"[{name}]"


WRAP: dict[str, Any] = {"break_on_hyphens": False}

USUAL = (  # the most used options of a run, in the order of the page
    "data.source",
    "data.classes",
    "data.shots",
    "data.fit",
    "data.channels",
    "data.mirror",
    "net.resolution",
    "net.num-classes",
    "transfer.source",
    "transfer.blocks",
    "train.kimg",
    "train.batch",
    "train.seed",
    "train.devices",
    "optim.lr",
    "augment.ada",
    "loss.r1-gamma",
    "checkpoint.every-kimg",
    "evaluate.every-kimg",
    "evaluate.features",
    "evaluate.n-fake",
    "data.reference",
    "loss.name",
    "augment.policy",
    "net.channels",
    "net.channel-max",
    "net.z-dim",
)


# ----------------------------------------------------------------------------------------------------------------------
# `gan-jax --completion bash|zsh`: a script by which the shell completes verbs, options, values and files.
#
#     eval "$(gan-jax --completion bash)"      in ~/.bashrc, or
#     gan-jax --completion bash > ~/.local/share/bash-completion/completions/gan-jax
#
# The parser's library completes one program with one parser, but verbs here are imported on use. So the script is generated
# from the list of options, and runs no program when it completes.

SHELLS = ("bash", "zsh")


def script(words: Sequence[str], verbs: Collection[str]) -> str:
    """Returns the completion script of a shell.

    Args:
      words: the shell's name.
      verbs: all of them.

    Raises:
      CommandLineError: an unknown shell, or none.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        raise CommandLineError(f"say which shell: {' or '.join(f'gan-jax --completion {shell}' for shell in SHELLS)}")
    from gan_jax.cli.arguments import list_options

    listed = {name: options for verb in verbs for name, options in list_options(verb).items()}
    body = _script(list(verbs), listed)
    return body if words[0] == "bash" else f"#compdef gan-jax\nautoload -U +X bashcompinit && bashcompinit\n{body}"


def _script(verbs: Sequence[str], listed: dict[str, list[Option]]) -> str:
    second: dict[str, list[str]] = {}
    for name in listed:
        verb, _, word = name.partition(" ")
        second.setdefault(verb, []).extend([word] if word else [])
    commands = {verb: words for verb, words in second.items() if words}
    rows = [f'    {_quoted(name)}) options="{_names(options)}" ;;' for name, options in listed.items()]
    values: dict[tuple[str, ...], list[str]] = {}
    for name, options in listed.items():
        for option in options:
            if option.choices and not option.positional:
                values.setdefault(option.choices, []).append(_quoted(f"{name} --{option.name}"))
    chosen = [f'    {"|".join(dict.fromkeys(keys))}) values="{" ".join(words)}" ;;' for words, keys in values.items()]
    seconds = [f'    {verb}) values="{" ".join(words)}" ;;' for verb, words in commands.items()]
    return "\n".join([
        "# completion of gan-jax: verbs, options, values of options, files",
        "_gan_jax() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" verb="${COMP_WORDS[1]}"',
        '  local options="" values=""',
        "  COMPREPLY=()",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f'    COMPREPLY=( $(compgen -W "{" ".join(verbs)} --help --version --completion" -- "$cur") )',
        "    return",
        "  fi",
        '  if [ "$verb" = "--completion" ]; then',
        f'    COMPREPLY=( $(compgen -W "{" ".join(SHELLS)}" -- "$cur") )',
        "    return",
        "  fi",
        '  if [ "$COMP_CWORD" -eq 2 ]; then',
        '    case "$verb" in',
        *seconds,
        "    esac",
        '    if [ -n "$values" ]; then',
        '      COMPREPLY=( $(compgen -W "$values --help" -- "$cur") )',
        "      return",
        "    fi",
        "  fi",
        f'  case "$verb" in {"|".join(commands) or "-"}) verb="$verb ${{COMP_WORDS[2]}}" ;; esac',
        '  case "$verb $prev" in',
        *chosen,
        "  esac",
        '  if [ -n "$values" ] && [ "${cur#-}" = "$cur" ]; then',
        '    COMPREPLY=( $(compgen -W "$values" -- "$cur") )',
        "    return",
        "  fi",
        '  case "$verb" in',
        *rows,
        "  esac",
        '  if [ "${cur#-}" != "$cur" ]; then',
        '    COMPREPLY=( $(compgen -W "$options --help --help-all --debug" -- "$cur") )',
        "  else",
        '    COMPREPLY=( $(compgen -f -- "$cur") )',
        "  fi",
        "}",
        "complete -o filenames -o bashdefault -F _gan_jax gan-jax",
    ])  # fmt: skip


def _names(options: Sequence[Option]) -> str:
    return " ".join(f"--{name}" for option in options for name in option.names)


def _quoted(text: str) -> str:
    return f'"{text}"'
