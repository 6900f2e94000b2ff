"""Reads `sources.yaml`: the tenants of each partner, and how their exports are read.

Belongs here: the keys of that file, errors in them, looking up a source. Does not belong here: YAML itself
(`marked_yaml`), a partner's own settings (`partners`), reading exports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from sync_pipelines.configuration.guard_settings import EVERY_GUARD_OFF
from sync_pipelines.configuration.layouts import layouts, with_layout
from sync_pipelines.configuration.marked_yaml import MarkedYaml, Where, read_yaml
from sync_pipelines.configuration.pull_settings import PullSettings, pull_model
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.characters import matches
from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.contracts.paths import example_paths, way_to
from sync_pipelines.contracts.streams import Options, Stream
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.partners import STREAMS, find_stream, find_unusable

M = TypeVar("M", bound=BaseModel)
ANY_TENANT: Final = "*"
"""A source's tenant: it applies to every tenant with a folder in the landing that is not listed by name."""


@dataclass(frozen=True)
class Sources:
    """The content of `sources.yaml`; empty if there is no such file.

    Attributes:
        listed: partner -> its listed tenants, as stored.
        streams: (partner, tenant, stream) -> its settings.
        has_guards: whether guards hold harmful exports; if not, they are off for every stream.
    """

    listed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    streams: Mapping[tuple[str, str, str], StreamSettings] = field(default_factory=dict)
    has_guards: bool = True

    def tenants(self, partner: str) -> frozenset[str] | None:
        """Returns the listed tenants of a partner. None means every folder in the landing: none or `*` is listed."""
        listed = self.listed.get(partner)
        return None if listed is None or ANY_TENANT in listed else listed

    def for_stream(self, partner: str, tenant: str, stream: str) -> StreamSettings:
        """Returns the settings of one tenant's stream, or the defaults."""
        is_listed = (partner, tenant, stream) in self.streams or tenant in self.listed.get(partner, ())
        found = self.streams.get((partner, tenant if is_listed else ANY_TENANT, stream))
        settings = found or _default_settings(partner, stream)
        return settings if self.has_guards else settings.model_copy(update={"guards": EVERY_GUARD_OFF})

    def is_default(self, partner: str, tenant: str, stream: str) -> bool:
        """Returns whether a stream's block sets nothing, as `init` writes it, or is missing."""
        found = self.streams.get((partner, tenant, stream))
        return found is None or found == _default_settings(partner, stream)

    def follows_links(self, partner: str, tenant_folder: str | None, stream: str) -> bool:
        """Returns whether links in a tenant's folder of a stream are followed; without a folder, in any tenant's."""
        if tenant_folder is None:
            return any(found.follow_links for (p, _, s), found in self.streams.items() if (p, s) == (partner, stream))
        settings = self.of_folder(partner, tenant_folder, stream)
        return settings is not None and settings.follow_links

    def for_folder(self, stream: Stream, tenant_folder: str) -> StreamSettings:
        """Returns the settings for a tenant's folder of a stream; the defaults if its name is not a tenant."""
        return self.for_stream(stream.partner, stream.normalize_tenant(tenant_folder) or "", stream.name)

    def of_folder(self, partner: str, tenant_folder: str, stream: str) -> StreamSettings | None:
        """Returns the settings for a tenant's folder of a stream; None if its name is not a tenant."""
        declared = find_stream(partner, stream)
        tenant = declared.normalize_tenant(tenant_folder) if declared else None
        return self.for_stream(partner, tenant, stream) if tenant is not None else None

    def pulled(self, partner: str, stream: str) -> list[str]:
        """Returns the tenants whose listing of a stream is pulled, in the order of the file."""
        return [tenant for (p, tenant, s), found in self.streams.items() if (p, s) == (partner, stream) and found.pull]


def pulled_name(stream: str, at: datetime) -> str:
    """Returns the path of a pulled export below `<stream>/`: a folder per day, and the start time in the name (X4)."""
    return f"{at:%Y-%m-%d}/{stream}_{at:%Y-%m-%dT%H%M%S}.json"


def load_sources(path: Path, streams: Iterable[Stream] = STREAMS) -> Sources:
    """Returns the sources in a file; none if the file is missing.

    Raises:
        ConfigurationError: the file is invalid. The message names line, key, and a similar known key.
    """
    if not path.exists():
        return Sources()
    return _Reader(read_yaml(path), tuple(streams)).read()


def _default_settings(partner: str, name: str) -> StreamSettings:
    stream = next((s for s in STREAMS if (s.partner, s.name) == (partner, name)), None)
    return StreamSettings(options=stream.options() if stream else Options())


_SOURCE_KEYS: Final = ("partner", "tenant", "streams")
_SETTING_KEYS: Final = tuple(name for name in StreamSettings.model_fields if name != "options")


@dataclass
class _Reader:
    """Reads the document; every error has the path of its key."""

    document: MarkedYaml
    known: tuple[Stream, ...]
    listed: dict[str, set[str]] = field(default_factory=dict)
    streams: dict[tuple[str, str, str], StreamSettings] = field(default_factory=dict)

    def read(self) -> Sources:
        top = self._mapping((), {} if self.document.data is None else self.document.data)
        self._only_keys((), top, ("sources",))
        sources = top.get("sources") or []
        if not isinstance(sources, list):
            raise self.document.error(("sources",), "expected a list of sources, each starting with '- partner:'")
        for index, source in enumerate(sources):
            self._source(("sources", index), source)
        return Sources({partner: frozenset(tenants) for partner, tenants in self.listed.items()}, self.streams)

    def _source(self, where: Where, value: Any) -> None:
        source = self._mapping(where, value)
        self._only_keys(where, source, _SOURCE_KEYS)
        partners = tuple(dict.fromkeys(s.partner for s in self.known))
        if find_unusable(source.get("partner")) is not None:
            # `check` reports the package; other sources are not affected.
            return
        partner = self._one_of((*where, "partner"), source.get("partner"), partners, "partner")
        tenant = self._tenant(where, source.get("tenant"), partner)
        if tenant in self.listed.setdefault(partner, set()):
            raise self.document.error((*where, "tenant"), f"{partner} {tenant} is listed twice")
        self.listed[partner].add(tenant)
        for name, settings in self._mapping((*where, "streams"), source.get("streams") or {}).items():
            here = (*where, "streams", str(name))
            of_partner = {s.name: s for s in self.known if s.partner == partner}
            stream = of_partner[self._one_of(here, name, of_partner, f"stream of {partner}")]
            found = self._settings(here, settings, stream)
            if found.pull is not None and (error := _pull_error(found, stream, tenant)):
                raise self.document.error((*here, "pull"), error)
            self.streams[partner, tenant, stream.name] = found

    def _tenant(self, where: Where, value: Any, partner: str) -> str:
        if value is None or isinstance(value, dict | list | bool) or not str(value).strip():
            raise self.document.error(
                (*where, "tenant"), "the tenant is missing; write the name of its folder in the landing"
            )
        if not str(value).isprintable():
            raise self.document.error((*where, "tenant"), f"{str(value)!r} cannot be a folder name in the landing")
        if value == ANY_TENANT:
            return ANY_TENANT
        stream = next(s for s in self.known if s.partner == partner)
        if (tenant := stream.normalize_tenant(str(value))) is None:
            raise self.document.error((*where, "tenant"), stream.why_no_tenant(str(value)), "tenant_invalid")
        return tenant

    def _settings(self, where: Where, value: Any, stream: Stream) -> StreamSettings:
        given = self._mapping(where, value or {})
        own = stream.options.model_fields
        self._only_keys(where, given, (*_SETTING_KEYS, *own))
        if given.get("layout") is not None:
            given = self._with_layout(where, given, stream)
        columns = self._mapping((*where, "columns"), given.get("columns") or {})
        own_names = {key: column for key, column in columns.items() if way_to(stream.shape, str(key)) is None}
        lists = tuple(f.alias for f in stream.shape.nested)
        known = (*stream.flat_fields, *lists, *example_paths(stream.shape))
        self._only_keys((*where, "columns"), own_names, known, folding=True)
        constants = self._mapping((*where, "constants"), given.get("constants") or {})
        self._only_keys((*where, "constants"), constants, stream.flat_fields, folding=True)
        options = self._validated(where, stream.options, {k: v for k, v in given.items() if k in own})
        general = {k: v for k, v in given.items() if k not in own and (v is not None or k == "empty_is")}
        if "pull" in general:
            general["pull"] = self._pull((*where, "pull"), general["pull"], stream)
        return self._validated(where, StreamSettings, general | {"options": options})

    def _with_layout(self, where: Where, given: dict[Any, Any], stream: Stream) -> dict[Any, Any]:
        """Returns a block with the keys of its layout that it does not set itself."""
        here = (*where, "layout")
        layout = layouts()[self._one_of(here, given["layout"], layouts(), "layout")]
        if stream.full_name not in layout.streams:
            message = f"{layout.key} is a layout for {' and '.join(layout.streams)}, not for {stream.full_name}"
            raise self.document.error(here, message)
        for key in ("columns", "constants"):
            self._mapping((*where, key), given.get(key) or {})
        try:
            return with_layout(given, layout.keys_of(stream.full_name))
        except KeyError:
            message = f"{layout.key} has the currency in its column names; set `constants: {{Currency: ...}}`"
            raise self.document.error(here, message) from None

    def _pull(self, where: Where, value: Any, stream: Stream) -> PullSettings:
        if stream.pull is None:
            message = f"{stream.full_name} has no listing to pull; put its exports into the landing"
            raise self.document.error(where, message)
        return self._validated(where, pull_model(stream.pull), self._mapping(where, value))

    def _validated(self, where: Where, model: type[M], values: dict[str, Any]) -> M:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            at = (*where, *(part for part in first["loc"] if part != "[key]"))
            if first["type"] == "extra_forbidden":
                raise self._unknown(at, str(at[-1]), _keys_at(model, first["loc"][:-1])) from None
            raise self.document.error(at, _sentence(first)) from None

    def _mapping(self, where: Where, value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self.document.error(where, f"expected keys and values, not {_named(value)}")
        return value

    def _only_keys(self, where: Where, given: Mapping[Any, Any], known: Iterable[str], folding: bool = False) -> None:
        names = tuple(known)
        accepted = {folded(name) for name in names} if folding else set(names)
        for key in given:
            if (folded(str(key)) if folding else key) not in accepted:
                raise self._unknown((*where, str(key)), str(key), names)

    def _one_of(self, where: Where, value: Any, known: Iterable[str], what: str) -> str:
        names = tuple(known)
        if value is None:
            raise self.document.error(where, f"the {what} is missing; use one of {', '.join(names)}")
        if value not in names:
            raise self.document.error(where, f"unknown {what} {value!r}; {suggestion(str(value), names)}")
        return str(value)

    def _unknown(self, where: Where, key: str, names: Iterable[str]) -> ConfigurationError:
        return self.document.error(where, f"unknown key; {suggestion(key, names)}")


def _pull_error(settings: StreamSettings, stream: Stream, tenant: str) -> str | None:
    """Returns why pulled exports could not be loaded with the other settings, or None."""
    if tenant == ANY_TENANT or "/" in tenant or "\\" in tenant or tenant.startswith((".", "_")):
        return f"the tenant {tenant!r} cannot be a folder name in the landing"
    if settings.format not in (None, "json") or settings.encoding not in (None, "utf-8"):
        return "pulled exports are JSON in UTF-8; remove `format` and `encoding`"
    if settings.path is not None and not matches(name := pulled_name(stream.name, datetime.now(UTC)), settings.path):
        return f"`path` {settings.path!r} does not match pulled exports, such as {name}"
    return None


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Returns the keys of a model within another one."""
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return tuple(model.model_fields)


def _named(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"the text {value!r}" if isinstance(value, str) else repr(value)


def _sentence(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be ", "it must be ", 1)
    if str(error["type"]).startswith(("model_", "dict_")):
        return f"expected keys and values, not {_named(error['input'])}"
    if error["type"] == "missing":
        return "this key is missing"
    shown = f"invalid value {error['input']!r}: {message}" if error["type"] != "value_error" else message
    return shown[:300]
