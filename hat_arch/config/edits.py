"""Changes of an option file that leave all else in its text as it is: comments, order, and how numbers are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from . import reading
from .problems import ConfigError, Key


class Edits:
    """Changes to the text of an option file, and the same changes to its content.

    Args:
        file: whose text it is, for messages.
        text: of YAML.
    """

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.before = file, text
        self.content, self._root = reading.parse(file, text)
        self.lines = reading.lines(self._root)
        self._names: dict[Key, Key] = {}  # of keys that were renamed → what they are called in the text
        self._changes: list[tuple[int, int, str]] = []  # from, to, what stands there then

    def rename(self, key: Key, name: str) -> Key:
        """Gives a key another name, at its place; returns the key with that name."""
        node, _, _ = self._find(key)
        self._changes.append((node.start_mark.index, node.end_mark.index, name))
        section = self._section(key)
        renamed = (*key[:-1], name)
        items = [(name if old == key[-1] else old, value) for old, value in section.items()]
        section.clear()
        section.update(items)
        self._names[renamed] = key
        self.lines[renamed] = self.lines[key]
        return renamed

    def set(self, key: Key, value: Any) -> None:
        """Gives a key that is there another value."""
        _, node, _ = self._find(key)
        self._changes.append((node.start_mark.index, _end(node), _in_yaml(value)))
        self._section(key)[key[-1]] = value

    def remove(self, key: Key) -> None:
        """Takes a key out, and the comment behind it."""
        node, value, parent = self._find(key)
        section = self._section(key)
        del section[key[-1]]
        if parent.flow_style:  # {…} is written anew
            start, end = parent.start_mark.index, parent.end_mark.index
            self._changes = [one for one in self._changes if one[:2] != (start, end)]
            self._changes.append((start, end, _in_yaml(section)))
            return
        start, end = self.before.rfind("\n", 0, node.start_mark.index) + 1, _end(value)
        newline = self.before.find("\n", max(end, node.end_mark.index) - (self.before[end - 1 : end] == "\n"))
        self._changes.append((start, len(self.before) if newline < 0 else newline + 1, ""))

    def put_before(self, key: Key, name: str, value: Any) -> None:
        """Puts a new key into a section, before one that is there and stands on a line of its own."""
        node, _, _ = self._find(key)
        start = self.before.rfind("\n", 0, node.start_mark.index) + 1
        indent = self.before[start : node.start_mark.index]
        self._changes.append((start, start, f"{indent}{name}: {_in_yaml(value)}\n"))
        self._section(key)[name] = value

    def text(self) -> str:
        """The text after all changes.

        Raises:
            ConfigError: it does not say what was meant, since other keys refer to one that was changed.
        """
        text, spans = self.before, [(start, end) for start, end, _ in self._changes if start < end]
        for start, end, instead in sorted(self._changes, reverse=True):
            if not any(a <= start and end <= b and (a, b) != (start, end) and start < b for a, b in spans):
                text = text[:start] + instead + text[end:]
        try:
            is_meant = reading.parse(self.file, text)[0] == self.content
        except ConfigError:
            is_meant = False
        if not is_meant:
            raise ConfigError(f"{self.file}: has keys that others repeat by & and *; write them out, and repeat this")
        return text

    def _section(self, key: Key) -> dict[str, Any]:
        section = self.content
        for name in key[:-1]:
            section = section[name]
        return section

    def _find(self, key: Key) -> tuple[yaml.Node, yaml.Node, yaml.MappingNode]:
        """The nodes of a key and its value, and the section in which they are."""
        key = self._names.get(key, key)
        parent: yaml.Node = self._root
        for n, name in enumerate(key, 1):
            pairs = parent.value if isinstance(parent, yaml.MappingNode) else []
            found = next(((node, value) for node, value in pairs if node.value == name), None)
            if found is None:
                break
            if n == len(key):
                assert isinstance(parent, yaml.MappingNode)
                return (*found, parent)
            parent = found[1]
        raise ConfigError(f"{self.file}: {'.'.join(key)} comes from another place by << or *; write it out")


def _end(node: yaml.Node) -> int:
    """Where a value ends; PyYAML takes comments and empty lines behind a section for a part of it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _in_yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
        .strip()
        .removesuffix("\n...")
    )
