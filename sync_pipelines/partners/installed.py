"""Partners that other installed packages declare, in the entry point group `sync_pipelines.partners`.

    [project.entry-points."sync_pipelines.partners"]
    mercadia = "mercadia_exports"

The name is the partner's. The value is a module that has `Stream` objects, or an object of a module: a `Stream`, or
a list or tuple of them. A package that cannot be used is left out with the reason; the other partners load.

Belongs here: finding such packages and checking what they declare. Does not belong here: the registry itself
(`sync_pipelines.partners`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.privacy.untrusted_text import on_one_line

GROUP: Final = "sync_pipelines.partners"


@dataclass(frozen=True)
class UnusablePartner:
    """A partner of an installed package that is left out.

    Attributes:
        name: the partner, as the entry point names it.
        package: name and version of the package.
        reason: why, in one line.
    """

    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"partner {self.name!r} of the package {self.package} is left out: {self.reason}"


class _Unusable(Exception):
    """Why a package's partner is left out."""


def installed_partners(
    own: Collection[str], found: Iterable[EntryPoint] | None = None
) -> tuple[tuple[Stream, ...], tuple[UnusablePartner, ...]]:
    """Returns the streams of all installed packages, by partner, and the partners that are left out.

    Args:
        own: names of partners that no package may declare.
        found: entry points; by default those of the installed packages.
    """
    points = sorted(entry_points(group=GROUP) if found is None else found, key=lambda e: (e.name, _package(e)))
    declared_by = {e.name: [_package(other) for other in points if other.name == e.name] for e in points}
    streams: list[Stream] = []
    unusable: list[UnusablePartner] = []
    for point in points:
        try:
            _check_name(point, own, declared_by)
            streams += _streams_of(point)
        except _Unusable as error:
            unusable.append(UnusablePartner(point.name, _package(point), str(error)))
    return tuple(streams), tuple(unusable)


def _check_name(point: EntryPoint, own: Collection[str], declared_by: Mapping[str, Collection[str]]) -> None:
    if point.name in own:
        raise _Unusable(f"sync_pipelines has a partner {point.name!r} of its own; choose another name")
    if len(declared_by[point.name]) > 1:
        raise _Unusable(f"{' and '.join(declared_by[point.name])} both declare it; uninstall one of them")


def _streams_of(point: EntryPoint) -> list[Stream]:
    """Returns the streams that an entry point declares, after checking them.

    Raises:
        _Unusable: with the reason.
    """
    # Only other packages need it, and importing it takes a while.
    from sync_pipelines.partners.declarations import declaration_errors

    streams = _declared(point)
    for stream in streams:
        if stream.partner != point.name:
            raise _Unusable(f"the stream {stream.full_name} is of another partner than the entry point's name")
        if errors := declaration_errors(stream):
            raise _Unusable(f"{stream.full_name}: {'; '.join(errors)}")
    if twice := [name for name, times in Counter(stream.name for stream in streams).items() if times > 1]:
        raise _Unusable(f"two streams are called {twice[0]!r}")
    return [replace(stream, package=_package(point)) for stream in streams]


def _declared(point: EntryPoint) -> list[Stream]:
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:
        reason = on_one_line(f"{type(error).__name__}: {error}")
        raise _Unusable(f"{point.value!r} cannot be imported: {reason}") from error
    if isinstance(loaded, ModuleType):
        found: list[Any] = list({id(v): v for v in vars(loaded).values() if isinstance(v, Stream)}.values())
        if not found:
            raise _Unusable(f"the module {point.value!r} has no Stream")
        return found
    found = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
    if not found or not all(isinstance(stream, Stream) for stream in found):
        kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in found)) or "nothing"
        raise _Unusable(f"{point.value!r} must be a module, a Stream, or a list of Streams; it has {kinds}")
    return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "of unknown name"
