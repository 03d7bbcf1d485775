"""`gan-jax --completion bash|zsh`: a script by which the shell completes verbs, options, values and files.

    eval "$(gan-jax --completion bash)"      in ~/.bashrc, or
    gan-jax --completion bash > ~/.local/share/bash-completion/completions/gan-jax

The parser's library completes one program with one parser, but verbs here are imported on use. So the script is generated
from the list of options, and runs no program when it completes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gan_jax.cli.options import Option
from gan_jax.cli.typos import CommandLineError

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
