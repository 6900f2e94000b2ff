"""Files and folders of the landing that belong to no stream, with the most similar right name.

They are searched for each time and stored nowhere: two levels of folders, and the files of the few streams whose
sources set `path`. Files that a `path` excludes on purpose are not reported; a `path` that matches no file is.

Belongs here: what is misplaced, and where it may belong. Does not belong here: listing (`exports.landing`), files of a
stream that fail (`discovery`), reporting (`commands`, `orchestration`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import psycopg

from sync_pipelines.configuration.sources import Sources
from sync_pipelines.contracts.characters import matches
from sync_pipelines.contracts.near_names import VERY_LIKE, near_name
from sync_pipelines.database import ledger
from sync_pipelines.exports.landing import Landing, Unclaimed
from sync_pipelines.partners import STREAMS, find_unusable

TEMPLATE: Final = "<partner>/<tenant>/<stream>/<file>"
ENDING: Final = "has an unknown file extension"


class Misplaced(NamedTuple):
    """A file or a folder from which nothing is loaded.

    Attributes:
        path: relative to the landing.
        why: what is wrong, as the rest of a sentence that starts with the path.
        hint: where it belongs, if that is known.
        partner: its most likely partner, or None.
    """

    path: str
    why: str
    hint: str
    partner: str | None = None


def find_misplaced(landing: Landing, sources: Sources, partner: str | None = None) -> list[Misplaced]:
    """Finds what no stream reads: misspelled partners and streams, files above a stream's folder, a wrong `path`.

    Args:
        landing: the landing.
        sources: for their `path`.
        partner: only this partner.

    Raises:
        LandingUnavailable: the landing does not answer.
    """
    streams = _streams()
    found = [_placed(thing, streams) for thing in landing.unclaimed(streams, partner)]
    # A tenant's folder with a stream's name is reported once, not for all of its content.
    return [*dict.fromkeys(found), *_left_out(landing, sources, partner)]


def unknown_endings(connection: psycopg.Connection[Any], partner: str | None = None) -> list[Misplaced]:
    """Returns the failed files with an unknown extension, as last discovered."""
    chosen = [stream for stream in STREAMS if partner in (None, stream.partner)]
    return [
        Misplaced(entry.path, ENDING, _hint_of(entry.error), stream.partner)
        for stream in chosen
        for entry in ledger.unloaded(connection, stream.partner, stream.name)
        if entry.status == "failed" and (entry.error or "").startswith("format_unknown:")
    ]


def _hint_of(error: str | None) -> str:
    return (error or "").partition(" (")[2].removesuffix(")")


def _streams() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for stream in STREAMS:
        found[stream.partner] = (*found.get(stream.partner, ()), stream.name)
    return found


def _placed(thing: Unclaimed, streams: dict[str, tuple[str, ...]]) -> Misplaced:
    names = thing.path.split("/")
    if len(names) == 1:
        return _at_the_root(names[0], streams, is_folder=thing.is_folder)
    partner, below = names[0], names[1:]
    own = streams[partner]
    if len(below) > 1 and (missed := _alike(below[0], own)):
        hint = f"move it to {partner}/<tenant>/{missed}/"
        return Misplaced(f"{partner}/{below[0]}", "is where a tenant's folder is expected", hint, partner)
    if not thing.is_folder:
        tenant = below[0] if len(below) > 1 else "<tenant>"
        hint = f"move it to {partner}/{tenant}/{_stream_for(below[-1], own)}/{below[-1]}"
        return Misplaced(thing.path, "is not in a stream's folder", hint, partner)
    owner = next((of for of, known in streams.items() if _alike(below[1], known)), None)
    if owner not in (None, partner):
        hint = f"move it to {owner}/<tenant>/"
    elif near := near_name(below[1], own):
        hint = f"did you mean {near}?"
    else:
        hint = f"the streams of {partner} are {', '.join(own)}"
    return Misplaced(thing.path, f"is not a stream of {partner}", hint, partner)


def _at_the_root(name: str, streams: dict[str, tuple[str, ...]], *, is_folder: bool) -> Misplaced:
    places = [(partner, stream) for partner, known in streams.items() for stream in known]
    if not is_folder:
        owner, stream = _place_for(name, places)
        hint = f"move it to {owner or '<partner>'}/<tenant>/{stream}/{name}"
        return Misplaced(name, "is not in a stream's folder", hint, owner)
    if (unusable := find_unusable(name)) is not None:
        return Misplaced(name, "is of a partner that is left out", str(unusable))
    if near := near_name(name, streams):
        return Misplaced(name, "is not a known partner", f"did you mean {near}?", near)
    for partner, stream in places:
        if _alike(name, (stream,)):
            return Misplaced(name, "is not a known partner", f"move it to {partner}/<tenant>/{stream}/", partner)
    return Misplaced(
        name, "is not a known partner", f"known partners are {', '.join(streams)}; exports go to {TEMPLATE}"
    )


def _place_for(name: str, places: list[tuple[str, str]]) -> tuple[str | None, str]:
    """Returns partner and stream if a file's name suggests exactly one."""
    named = [place for place in places if place[1] in name.lower()]
    return named[0] if len(named) == 1 else (None, "<stream>")


def _stream_for(name: str, own: tuple[str, ...]) -> str:
    named = [stream for stream in own if stream in name.lower()] if len(own) > 1 else own
    return named[0] if len(named) == 1 else "<stream>"


def _alike(name: str, streams: tuple[str, ...]) -> str | None:
    """Returns the stream with a similar name: another case, other signs or one other letter."""
    return near_name(name, streams, VERY_LIKE)


def _left_out(landing: Landing, sources: Sources, partner: str | None) -> Iterator[Misplaced]:
    """Yields streams' folders in which the source's `path` matches no file."""
    patterned = {
        (of, stream) for (of, _, stream), found in sources.streams.items() if found.path and partner in (None, of)
    }
    for stream in (stream for stream in STREAMS if (stream.partner, stream.name) in patterned):
        matched, left, examples = set[str](), Counter[str](), dict[str, str]()
        for file in landing.list(stream.partner, stream.name):
            pattern = sources.for_folder(stream, file.tenant_folder).path
            if pattern is None or file.error is not None or file.parts is not None or matches(file.below, pattern):
                matched.add(file.tenant_folder)
            else:
                left[file.tenant_folder] += 1
                examples.setdefault(file.tenant_folder, file.below)
        for folder in sorted(left.keys() - matched):
            pattern = sources.for_folder(stream, folder).path
            why = f"has no file that matches `path: {pattern}`, of {left[folder]:,}, such as "
            path = f"{stream.partner}/{folder}/{stream.name}"
            yield Misplaced(path, why + examples[folder], "correct `path` in sources.yaml", stream.partner)
