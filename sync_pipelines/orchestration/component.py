"""The component by which a `dg` project adds the streams, with a `defs.yaml` of four lines.

Belongs here: its attributes and their errors. Does not belong here: the definitions (`build`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import dagster as dg
from pydantic import AfterValidator, Field

from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.orchestration.build import build_definitions
from sync_pipelines.partners import STREAMS, find_unusable


def _known_partners(names: list[str]) -> list[str]:
    for name in names:
        if (unusable := find_unusable(name)) is not None:
            raise ValueError(str(unusable))
    return _known(names, [stream.partner for stream in STREAMS], "partner")


def _known_streams(names: list[str]) -> list[str]:
    return _known(names, [stream.full_name for stream in STREAMS], "stream")


def _known(names: list[str], known: Iterable[str], what: str) -> list[str]:
    accepted = tuple(dict.fromkeys(known))
    for name in names:
        if name not in accepted:
            raise ValueError(f"unknown {what} {name!r}; {suggestion(name, accepted)}")
    return names


def _resolved(context: dg.ResolutionContext, names: list[str] | str) -> list[str]:
    """Returns the names with their templates filled in; a single name becomes a list of one."""
    found = context.resolve_value(names)
    return [found] if isinstance(found, str) else list(found)


class SyncPipelinesComponent(dg.Component, dg.Model, dg.Resolvable):
    """Loads commerce partners' exports into PostgreSQL: assets, checks, jobs, schedules and sensors.

    Settings come from the environment (`SYNC_*`). Add one component of this type to a project.
    """

    partners: Annotated[
        list[str],
        dg.Resolver(_resolved, model_field_type=Annotated[list[str], AfterValidator(_known_partners)]),
    ] = Field(default=[], description="Only these partners, such as `replenit`; all when empty.")
    streams: Annotated[
        list[str],
        dg.Resolver(_resolved, model_field_type=Annotated[list[str], AfterValidator(_known_streams)]),
    ] = Field(default=[], description="Only these streams, such as `replenit/orders`; all when empty.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Returns the definitions of the chosen streams: those of `partners` that are also in `streams`."""
        chosen = [
            stream
            for stream in STREAMS
            if (not self.partners or stream.partner in self.partners)
            and (not self.streams or stream.full_name in self.streams)
        ]
        return build_definitions(streams=chosen)
