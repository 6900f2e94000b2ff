"""Reads YAML with the line of every key and without surprising types.

Numbers with a fraction are exact (`Decimal`), dates stay text, only `true` and `false` are booleans (YAML 1.1 would
read the country `NO` as false), and a duplicate key is an error. Values are texts, numbers, booleans, null, lists
and mappings; other tags are errors. Size, depth and expanded aliases of a document are limited.

Belongs here: reading the text. Does not belong here: what the keys mean (`sources`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from sync_pipelines.configuration.configuration_files import why_not_read
from sync_pipelines.errors import ConfigurationError

Where = tuple[str | int, ...]

_LARGEST_FILE: Final = 4 << 20
"""Bytes; enough for 20,000 tenants with a line each."""
_MOST_NODES: Final = 500_000
"""Keys and values, with aliases expanded; nine short lines of aliases can expand to a billion."""
_DEEPEST: Final = 50
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))


@dataclass(frozen=True)
class MarkedYaml:
    """A YAML document.

    Attributes:
        name: the file's name, for error messages.
        data: its value.
        lines: the line of each key and list element, counted from 1.
    """

    name: str
    data: Any
    lines: dict[Where, int]

    def error(self, where: Where, message: str, code: str = "sources_invalid") -> ConfigurationError:
        """Returns an error that names file, line and key. A missing key has the line of its parent."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        return ConfigurationError(code, f"{self.name} line {self.lines.get(known, 1)}, {shown(where)}: {message}")


def shown(where: Where) -> str:
    """Returns the path of a key, such as `sources[0].streams.orders.columns`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.lstrip(".") or "the document"


class _Loader(yaml.SafeLoader):
    """A SafeLoader with fewer types, whose errors all have a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """See `SafeLoader`. A number that Python cannot represent is an error in the document."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, TypeError, LookupError) as error:
            reason = str(error).partition(";")[0]
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from None


def _exact_number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    text = node.value.replace("_", "")
    # NaN, infinities and sexagesimals stay text: no setting needs them.
    return Decimal(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) else node.value


_Loader.yaml_constructors = {
    tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _TAGS
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}bool", f"{_TAG}timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_constructor(f"{_TAG}float", _exact_number)


def read_yaml(path: Path) -> MarkedYaml:
    """Returns the document in a file.

    Raises:
        ConfigurationError: it cannot be read or is not YAML; the message names the line.
    """
    try:
        loader = _Loader(_text_of(path))
        node = loader.get_single_node()
        lines: dict[Where, int] = {}
        document = MarkedYaml(path.name, None, lines)
        if node is None:
            return document
        _Marking(document).mark(node, ())
        return MarkedYaml(path.name, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigurationError(
            "sources_invalid", f"{path.name} line {line}: {error.problem or error.context}"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError("sources_invalid", f"{path.name}: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError("sources_invalid", f"{path.name} is not UTF-8 (at byte {error.start})") from None
    except RecursionError:
        raise ConfigurationError("sources_invalid", f"{path.name} line 1: it is nested too deeply") from None
    except OSError as error:
        raise ConfigurationError("sources_invalid", f"{path} cannot be read: {error.strerror}") from None


def _text_of(path: Path) -> str:
    """Returns the text of a regular file. Anything else, such as a pipe, is not opened."""
    if why := why_not_read(path.stat(), _LARGEST_FILE):
        raise ConfigurationError("sources_invalid", f"{path} cannot be read: {why}")
    return path.read_text(encoding="utf-8-sig")


class _Marking:
    """Records the line of every key and element of a document.

    Args:
        document: receives the lines.
    """

    def __init__(self, document: MarkedYaml) -> None:
        self._document = document
        self._nodes = 0

    def mark(self, node: yaml.Node, where: Where) -> None:
        """Records the lines of a node and of everything below it.

        Raises:
            ConfigurationError: a key is duplicated, or the document is too deep, or too large with aliases expanded.
        """
        lines = self._document.lines
        lines.setdefault(where, node.start_mark.line + 1)
        self._count(node, where)
        if isinstance(node, yaml.SequenceNode):
            for index, element in enumerate(node.value):
                self.mark(element, (*where, index))
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    lines[where] = key.start_mark.line + 1
                    raise self._document.error(where, "a key must be a word, not a list or a mapping")
                below = (*where, str(key.value))
                lines[below] = key.start_mark.line + 1
                if below in seen and key.value != "<<":
                    raise self._document.error(below, "duplicate key")
                seen.add(below)
                self.mark(value, below)

    def _count(self, node: yaml.Node, where: Where) -> None:
        self._nodes += 1
        # The path of a node that contains itself is as long as the nesting allows: show only its start.
        if len(where) > _DEEPEST:
            raise self._error_at(node, where, f"it is nested too deeply, more than {_DEEPEST} levels")
        if self._nodes > _MOST_NODES:
            raise self._error_at(
                node, where, f"it has more than {_MOST_NODES:,} keys and values, with aliases expanded"
            )

    def _error_at(self, node: yaml.Node, where: Where, message: str) -> ConfigurationError:
        place = f"{self._document.name} line {node.start_mark.line + 1}, {shown(where[:3])}"
        return ConfigurationError("sources_invalid", f"{place}: {message}")
