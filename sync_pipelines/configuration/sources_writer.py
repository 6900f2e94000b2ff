"""Writes a stream's block to `sources.yaml` and keeps everything else in the file, comments included.

It inserts lines into the text and does not rewrite the document. The result is read like any `sources.yaml` before it
replaces the file, and all other streams must be unchanged.

Belongs here: finding the place of a block, and inserting it. Does not belong here: its content (`inspection`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import yaml

from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.errors import ConfigurationError

_STEP: Final = "  "


class _NoPlace(Exception):
    """No lines can be inserted into the file, because of its style."""


def add_stream(path: Path, partner: str, tenant: str, stream: str, block: str) -> None:
    """Adds a stream's block to a sources file atomically. Creates a missing file.

    Args:
        path: the file.
        partner: partner of the source.
        tenant: tenant of the source, as stored.
        stream: name of the stream.
        block: the keys of the stream as YAML with comments, not indented; empty for the defaults. It replaces an empty
            block of the same stream.

    Raises:
        ConfigurationError: the file is already invalid (`sources_invalid`); or it already has the tenant's stream, no
            lines can be inserted because of its style, or it cannot be written (`sources_not_written`). The file does
            not change.
    """
    real = Path(os.path.realpath(path))
    before = load_sources(real)
    if (partner, tenant, stream) in before.streams and not before.is_default(partner, tenant, stream):
        message = f"{path} already has {partner}/{tenant}/{stream}"
        raise _not_written(message, "change its keys there by hand, or remove it first")
    lines = block.rstrip("\n").splitlines()
    if (partner, tenant, stream) in before.streams and not lines:
        return
    try:
        text = real.read_text(encoding="utf-8-sig") if real.exists() else ""
        _replace(real, _with_stream(text, partner, tenant, stream, lines), before, (partner, tenant, stream))
    except _NoPlace as error:
        raise _not_written(f"{path} {error}", "insert the block by hand") from None
    except OSError as error:
        raise _not_written(f"{path} cannot be written: {error.strerror}", "correct its permissions") from None


def source_block(partner: str, tenant: str, stream: str, block: str) -> str:
    """Returns a complete sources file with one stream."""
    return "sources:\n" + "\n".join(_entry(partner, tenant, stream, block.rstrip("\n").splitlines(), _STEP)) + "\n"


def _not_written(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError("sources_not_written", message, hint)


def _with_stream(text: str, partner: str, tenant: str, stream: str, block: list[str]) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text.strip() else None
    if root is None:
        return (
            text
            + ("\n" if text and not text.endswith("\n") else "")
            + source_block(partner, tenant, stream, "\n".join(block))
        )
    listed = _value(root, "sources")
    if listed is None:
        raise _NoPlace("has no list of sources")
    lines = text.splitlines()
    if isinstance(listed, yaml.ScalarNode) or not listed.value:
        return _after_empty(lines, listed, _entry(partner, tenant, stream, block, _STEP))
    if _is_flow(listed):
        raise _NoPlace("has its sources in brackets")
    source = next((s for s in listed.value if _is_source(s, partner, tenant)), None)
    if source is None:
        indent = " " * (listed.value[0].start_mark.column - len(_dash(lines, listed.value[0])))
        return _put_in(lines, _end(listed, lines, len(indent)), _entry(partner, tenant, stream, block, indent))
    return _within(lines, source, stream, block)


def _within(lines: list[str], source: yaml.Node, stream: str, block: list[str]) -> str:
    if _is_flow(source):
        raise _NoPlace("has this tenant's source in braces")
    streams = _value(source, "streams")
    inner = " " * source.start_mark.column
    present = _value(streams, stream) if streams is not None and not _is_flow(streams) else None
    if streams is not None and present is not None:
        if present.value:
            raise _NoPlace(f"already has {stream} of this tenant")
        column = next(name.start_mark.column for name, _ in streams.value if name.value == stream)
        return _after_empty(lines, present, [f"{' ' * column}{_STEP}{line}".rstrip() for line in block])
    if streams is None:
        return _put_in(lines, _end(source, lines, len(inner)), [f"{inner}streams:", *_stream(stream, block, inner)])
    if isinstance(streams, yaml.ScalarNode) or not streams.value:
        return _after_empty(lines, streams, _stream(stream, block, inner))
    if _is_flow(streams):
        raise _NoPlace("has this tenant's streams in braces")
    indent = " " * (streams.start_mark.column - len(_STEP))
    return _put_in(lines, _end(streams, lines, len(indent) + len(_STEP)), _stream(stream, block, indent))


def _entry(partner: str, tenant: str, stream: str, block: list[str], indent: str) -> list[str]:
    inner = indent + _STEP
    return [
        f"{indent}- partner: {partner}",
        f"{inner}tenant: {scalar(tenant)}",
        f"{inner}streams:",
        *_stream(stream, block, inner),
    ]


def _stream(stream: str, block: list[str], indent: str) -> list[str]:
    own = indent + _STEP
    # With only comments below it, the value is null, which is read as no keys.
    return [f"{own}{stream}:" if block else f"{own}{stream}: {{}}", *(f"{own}{_STEP}{line}".rstrip() for line in block)]


def scalar(value: object) -> str:
    """Returns a value as YAML on one line, quoted if it would be read as something else or has only punctuation."""
    if isinstance(value, str) and value and not any(character.isalnum() for character in value):
        return json.dumps(value, ensure_ascii=False)
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    )


def _value(node: yaml.Node, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _is_source(node: yaml.Node, partner: str, tenant: str) -> bool:
    own, named = _value(node, "partner"), _value(node, "tenant")
    return own is not None and named is not None and (own.value, str(named.value).lower()) == (partner, tenant.lower())


def _dash(lines: list[str], node: yaml.Node) -> str:
    """Returns the `- ` before an element of a list."""
    before = lines[node.start_mark.line][: node.start_mark.column]
    return before[before.rindex("-") :]


def _after_empty(lines: list[str], node: yaml.Node, added: list[str]) -> str:
    """Returns the lines with an empty value, such as `[]`, `{}` or nothing, replaced by others."""
    number = node.start_mark.line
    line = lines[number]
    if node.start_mark.index != node.end_mark.index:
        line = line[: node.start_mark.column].rstrip() + line[node.end_mark.column :]
    return _put_in([*lines[:number], line.rstrip(), *lines[number + 1 :]], number + 1, added)


def _end(node: yaml.Node, lines: list[str], column: int) -> int:
    """Returns the number of the line below a block and its trailing comments."""
    last = max(leaf.end_mark.line + (leaf.end_mark.column > 0) for leaf in _leaves(node))
    while last < len(lines) and lines[last].lstrip().startswith("#") and _indent(lines[last]) >= max(column, 1):
        last += 1
    return last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _leaves(node: yaml.Node) -> Iterator[yaml.Node]:
    below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else None
    below = list(node.value) if isinstance(node, yaml.SequenceNode) else below
    if not below or _is_flow(node):
        yield node
    else:
        for part in below:
            yield from _leaves(part)


def _is_flow(node: yaml.Node) -> bool:
    """Whether a node is written in brackets or braces."""
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def _put_in(lines: list[str], place: int, added: list[str]) -> str:
    return "\n".join([*lines[:place], *added, *lines[place:]]) + "\n"


def _replace(path: Path, text: str, before: Sources, added: tuple[str, str, str]) -> None:
    """Replaces a file by a text, if that is a valid sources file with all other streams unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".yaml", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        after = load_sources(unfinished)
        others, others_before = (
            {key: found for key, found in sources.streams.items() if key != added} for sources in (after, before)
        )
        if added not in after.streams or others != others_before:
            raise _NoPlace("has a style in which no block can be inserted")
        unfinished.chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o644)
        unfinished.replace(path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
