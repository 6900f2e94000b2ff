"""YAML that remembers the line of every key, and whose scalars mean what they look like.

Numbers with a fraction are exact (`Decimal`), dates stay text, only `true` and `false` are booleans (YAML 1.1 would
read the country `NO` as false), and a key that stands twice is a fault.

Belongs here: reading the text. Does not belong here: what the keys mean (`sources`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from sync_pipelines.errors import ConfigurationError

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class MarkedYaml:
    """A YAML document.

    Attributes:
        name: the file's name, as faults show it.
        data: its plain value.
        lines: the line of each key and list element, counted from 1.
    """

    name: str
    data: Any
    lines: dict[Where, int]

    def fault(self, where: Where, message: str, code: str = "sources_invalid") -> ConfigurationError:
        """An error that names file, line and key; a key that is missing is placed at what should contain it."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        return ConfigurationError(code, f"{self.name} line {self.lines.get(known, 1)}, {shown(where)}: {message}")


def shown(where: Where) -> str:
    """A key's way from the top, such as `sources[0].streams.orders.columns`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.lstrip(".") or "the document"


class _Loader(yaml.SafeLoader):
    """A SafeLoader with fewer implicit types."""


def _exact_number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    text = node.value.replace("_", "")
    # NaN, infinities and sexagesimals stay text: no setting wants them.
    return Decimal(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) else node.value


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}bool", f"{_TAG}timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_constructor(f"{_TAG}float", _exact_number)


def read_yaml(path: Path) -> MarkedYaml:
    """The document in a file.

    Raises:
        ConfigurationError: it cannot be read or is no YAML; the message names the line.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        lines: dict[Where, int] = {}
        document = MarkedYaml(path.name, None, lines)
        if node is None:
            return document
        _mark(node, (), document)
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
        raise ConfigurationError("sources_invalid", f"{path.name} is nested too deeply") from None
    except OSError as error:
        raise ConfigurationError("sources_invalid", f"{path} cannot be read: {error.strerror}") from None


def _mark(node: yaml.Node, where: Where, document: MarkedYaml) -> None:
    document.lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, element in enumerate(node.value):
            _mark(element, (*where, index), document)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            below = (*where, str(key.value))
            document.lines[below] = key.start_mark.line + 1
            if below in seen and key.value != "<<":
                raise document.fault(below, "this key stands twice")
            seen.add(below)
            _mark(value, below, document)
