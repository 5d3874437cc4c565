"""``basicsr completion``: a script with which a shell completes the command's words.

`shtab` writes it from the parsers: nothing of this project runs when Tab is pressed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

SHELLS = ("bash", "zsh", "fish")
OPTION_FILES, MODELS = "option_files", "models"
WORDS = {
    ("train", "opt"): OPTION_FILES,
    ("test", "opt"): OPTION_FILES,
    ("report", "opt"): OPTION_FILES,
    ("check", "opt"): OPTION_FILES,
    ("copy", "name"): OPTION_FILES,
    ("upscale", "model"): MODELS,
    ("serve", "model"): MODELS,
    ("export", "weights"): MODELS,
    ("info", "model"): MODELS,
    ("get", "name"): MODELS,
    ("convert", "source"): MODELS,
}
"""Verb and argument → the names that it takes, beside those of files."""
FOLDERS = {"FOLDER", "SRC", "RUN"}
NO_FILES = {
    "NAME",
    "N",
    "S",
    "X",
    "PX",
    "KEY",
    "TEXT",
    "URL",
    "ADDRESS",
    "0-1",
    "1-100",
    "HxW",
    "X,Y",
    "X,Y,W,H",
    "KEY=VALUE",
}
"""What an argument may be called that is no file; a file is all else that is no choice."""
PREAMBLE = {
    "bash": '{function}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}\n',
    "zsh": "{function}() {{ compadd -- {words}; _files; }}\n",
    "fish": "function {function}; string split ' ' -- '{words}'; __fish_complete_path (commandline -ct); end\n",
}
"""Shell → a function that completes words and names of files."""
CALL = {"bash": "{function}", "zsh": "{function}", "fish": "({function})"}


def add_parser(commands: argparse._SubParsersAction, whole: argparse.ArgumentParser) -> None:
    """Adds the verb; ``whole`` is the parser of the whole command, whose words it is about."""
    parser = commands.add_parser(
        "completion",
        help="a script that lets Tab complete this command's words",
        description="Prints a script by which the shell completes verbs, options, their values, names of files, of "
        "models and of option files. For good: append it to ~/.bashrc (bash), or write it to a file _basicsr in a "
        "folder of $fpath (zsh), or to ~/.config/fish/completions/basicsr.fish.",
        epilog='eval "$(basicsr completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it")
    parser.set_defaults(run=partial(run, whole), needs_library=False)


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    from ..config import shipped_options
    from ..weights import named

    known = {OPTION_FILES: list(shipped_options.files()), MODELS: list(named.models())}
    preamble = ""
    for name, words in known.items():
        preamble += PREAMBLE[args.shell].format(function=f"_basicsr_{name}", words=" ".join(words))
    calls = {name: CALL[args.shell].format(function=f"_basicsr_{name}") for name in known}
    for verb, action in arguments(parser):
        if names := WORDS.get((verb, action.dest)):
            action.complete = {args.shell: calls[names]}  # type: ignore[attr-defined]
        elif takes_file(action):
            action.complete = shtab.DIR if action.metavar in FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(parser, args.shell, preamble=preamble)
    print(script.replace(" -s opt ", " -o opt "))  # -opt is one option, which shtab does not know in fish
    return 0


def arguments(parser: argparse.ArgumentParser, verb: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Each argument of a parser and of its verbs, with the verb."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                yield from arguments(part, name)
        else:
            yield verb, action


def takes_file(action: argparse.Action) -> bool:
    """Whether a word of an argument may be the name of a file."""
    return (
        action.nargs != 0 and action.choices is None and action.metavar is not None and action.metavar not in NO_FILES
    )
