"""docs/reference/commands.md: every verb of the command and its arguments, from the parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

HEAD = """# Commands

<!-- Written by docs/tools/reference.py: change the parsers in hat_arch/cli/ instead. -->

`basicsr VERB --help` says the same in the terminal. Exit codes: 0 done; 1 something is wrong, or not all could be done;
2 a mistake that you can mend, with a line that says how; 130 stopped by Ctrl-C.

`basicsr completion` lets Tab complete verbs, options and their values, and names of models and option files.

| verb | |
| --- | --- |
"""


def page() -> str:
    """The page's text."""
    from hat_arch.cli import build_parser

    parser = build_parser()
    verbs = verbs_of(parser)
    assert verbs is not None
    lines = [f"| [`{verb}`](#basicsr-{verb}) | {help_of(verbs, verb)} |\n" for verb in verbs.choices]
    return "\n".join([HEAD + "".join(lines), *sections(parser, 1)])


UNNAMED = ("positional arguments", "options", "optional arguments")
"""Groups of arguments that argparse makes of itself."""


def verbs_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction | None:
    return next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)


def help_of(verbs: argparse._SubParsersAction, verb: str) -> str:
    return next((one.help or "" for one in verbs._choices_actions if one.dest == verb), "")


def sections(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """The sections of a parser's verbs, and of theirs."""
    verbs = verbs_of(parser)
    for name, verb in verbs.choices.items() if verbs else ():
        assert verbs is not None
        yield section(verb, help_of(verbs, name), level + 1)
        yield from sections(verb, level + 1)


def section(parser: argparse.ArgumentParser, summary: str, level: int) -> str:
    """Heading, what it does, how it is called, and its arguments."""
    what = " ".join((parser.description or f"{summary[:1].upper()}{summary[1:]}.").split())
    parts = [f"{'#' * level} `{parser.prog}`\n", f"{escaped(what % {'prog': parser.prog})}\n"]
    if (verbs := verbs_of(parser)) is None or not verbs.required:
        parts.append(f"```text\n{usage(parser)}\n```\n")
    listed = {group.title or "": "".join(map(line, filter(is_shown, group._group_actions))) for group in groups(parser)}
    unnamed = "".join(listed.pop(title, "") for title in UNNAMED)
    parts += [unnamed] if unnamed else []
    parts += [f"**{title}**\n\n{lines}" for title, lines in listed.items() if lines]
    if parser.epilog:
        parts.append(f"{examples(parser.epilog)}\n")
    return "\n".join(parts)


def groups(parser: argparse.ArgumentParser) -> list[argparse._ArgumentGroup]:
    return parser._action_groups


def is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    return not hidden and action.help != argparse.SUPPRESS


def usage(parser: argparse.ArgumentParser) -> str:
    """How a verb is called: what must be given, then ``[options]``."""
    if parser.usage:
        return parser.usage % {"prog": parser.prog}
    words = [parser.prog]
    optional = False
    for action in filter(is_shown, parser._actions):
        if action.required:
            words.append(f"{action.option_strings[0]} {value(action)}" if action.option_strings else value(action))
        elif action.option_strings:
            optional = True
        else:
            words.append(f"[{value(action)}]")
    return " ".join([*words, *(["[options]"] if optional else [])])


def value(action: argparse.Action) -> str:
    """What is typed for an argument: ``N [N …]``."""
    one = action.metavar
    if one is None:
        one = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    assert isinstance(one, str)
    return {"+": f"{one} [{one} …]", "*": f"[{one} …]", 0: ""}.get(action.nargs or "", one) if action.nargs != 0 else ""


def line(action: argparse.Action) -> str:
    """An argument as an entry of a list."""
    text = (action.help or "") % {**vars(action), "prog": "basicsr"} if action.help else ""
    if action.nargs != 0 and action.default not in (None, [], "", argparse.SUPPRESS) and "default" not in text:
        default = " ".join(map(str, action.default)) if isinstance(action.default, (list, tuple)) else action.default
        text += f"{'; ' if text else ''}default: {default}"
    if action.required and action.option_strings:
        text = f"(needed) {text}"
    names = [f"`{f'{name} {value(action)}'.strip()}`" for name in action.option_strings] or [f"`{value(action)}`"]
    return f"- {', '.join(names)}{f': {escaped(text)}' if text else ''}\n"


def examples(epilog: str) -> str:
    """The parser's last words; its examples, which stand there between semicolons, as a block."""
    parts = [part.strip() for part in epilog.split(";")]
    if all(re.match(r'(eval "\$\()?basicsr \w', part) for part in parts):
        return "```\n" + "\n".join(parts) + "\n```"
    return escaped(epilog)


def escaped(text: str) -> str:
    """Text in which Markdown sees no emphasis, links or tags; ``code`` stays."""
    return re.sub(r"(`[^`]*`)|([*_\[\]<>])", lambda found: found[1] or f"\\{found[2]}", text)
