"""Declarations of streams: everything that reading and loading need to know about one kind of export of a partner.

Belongs here: the form of those declarations. Does not belong here: any partner's (`partners`), carrying out a
declaration (`normalize`, `upsert`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from sync_pipelines.contracts.characters import composed
from sync_pipelines.contracts.contract import Contract, FieldShape, Shape, shape_of
from sync_pipelines.contracts.listing import Listing
from sync_pipelines.contracts.reading import Reading

Operation = Literal["upsert", "create", "insert", "update", "touch", "delete"]
"""The operation that a record requests.

- `upsert` inserts or updates a row.
- `create` does the same, and counts an existing row as a leniency.
- `insert` rejects the record if the row exists. In a strict source, `create` means `insert`.
- `update` rejects the record if the row does not exist.
- `touch` updates a row, or inserts a placeholder if it does not exist.
- `delete` leaves a tombstone.
"""

ListMode = Literal["replace", "merge", "add", "remove"]
"""How a list of children is applied: replace the stored list, patch its rows, add to a set, or remove from it."""


class _EffectiveTime:
    """Marker: the default is the record's effective time (O3)."""

    def __repr__(self) -> str:
        return "EFFECTIVE_TIME"


EFFECTIVE_TIME: Final = _EffectiveTime()


def tenant_as_named(folder: str) -> str | None:
    """Returns the tenant for a folder of a partner whose tenants are named like their folders: its name in NFC."""
    return composed(folder)


class Identity(NamedTuple):
    """The row of another stream's table that a reference refers to, by its external id or by the partner's own id.

    With both, the own id identifies the row, and the row gets both.
    """

    partner: str
    tenant: str
    external_id: str | None
    record_id: str | None = None


@dataclass(frozen=True)
class Default:
    """The value of a field in a new row if the record does not have it (O3); listed in `defaulted_fields`."""

    column: str
    value: Any


@dataclass(frozen=True)
class Match:
    """One way to match two children: they are equal in all these columns.

    Attributes:
        columns: the compared columns; a row without one of them does not match this way.
        name: name by which a payload chooses this way, if it may choose.
        folds: whether texts are compared trimmed and without case.
        whole: whether null equals null; only rows without any of the other ways' columns match this way.
    """

    columns: tuple[str, ...]
    name: str = ""
    folds: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Children:
    """The rows of a child table, from a list in the record, in the list's order.

    Attributes:
        column: the contract's attribute that holds the list.
        table: the child table; its `line_no` counts from 1.
        parent: the child table's column with the parent's id.
        parent_key: attribute of the element that must equal the parent's key if sent; not a column (O6).
        skips_empty: whether an element without any field is skipped, counted (R5).
        mode: how a list is applied, unless the record sets a mode.
        match: ways to find the stored row of an element, tried in order; if empty, by line number.
        primary: at most one row with equal values in these columns has `is_primary`; () means one of all rows, None no
            such rule.
        nested: lists within these children.
    """

    column: str
    table: str
    parent: str
    parent_key: str | None = None
    mode: ListMode = "replace"
    match: tuple[Match, ...] = ()
    primary: tuple[str, ...] | None = None
    nested: tuple[Children, ...] = ()
    skips_empty: bool = False


@dataclass(frozen=True)
class Reference:
    """A foreign key. A placeholder is created for a missing row (X7).

    Attributes:
        column: the foreign key column.
        table: the referenced table.
        emails_of: a partner whose placeholders get their external id as `email` if it is an email address. No stream of
            that partner may fill the table, since it could not distinguish this email from a sent one.
    """

    column: str
    table: str
    emails_of: str | None = None


@dataclass(frozen=True)
class BlockedBy:
    """Live rows of another table that prevent the deletion of a row (T9)."""

    table: str
    column: str


@dataclass(frozen=True)
class Route:
    """One documented endpoint that writes.

    Attributes:
        method: HTTP method.
        path: the path on the partner's page, with `{tenant}` and `{key}` in their places; any other name in braces is a
            field of each record.
        operation: operation of a call.
        body: whether the records are in the body; otherwise the key in the path is the record.
        missing_key: the error message for a path without a key.
        lists: name of a list in the body -> its operation, in the order of execution.
        is_exclusive: whether a key that is in two of the lists is rejected in both (N8).
        sets: fields that the call itself sets.
        mode: how lists of children are applied.
        needs: fields that the call must send, in the page's spelling.
        takes: fields that the call uses, in the page's spelling; others are drift (F01). None means all fields.
        may_be_empty: whether an empty body has no records; otherwise it is a record without fields (N8).
        may_be_one: whether the body may be one record, even one without any field.
        names_lists: whether field paths start with the list and the record's index: `upsert[0].latitude` (F07).
    """

    method: str
    path: str
    operation: Operation = "upsert"
    body: bool = True
    missing_key: str = ""
    lists: Mapping[str, Operation] = field(default_factory=dict)
    is_exclusive: bool = False
    sets: Mapping[str, Any] = field(default_factory=dict)
    mode: ListMode | None = None
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] | None = None
    may_be_empty: bool = False
    may_be_one: bool = False
    names_lists: bool = False


class Options(BaseModel):
    """Base of a partner's own settings in `sources.yaml`, and the settings of a stream without any."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Link = Callable[[Mapping[str, Any], Any, str], "LinkResult"]


class LinkResult(NamedTuple):
    """The reference of a record.

    Attributes:
        is_sent: whether the record has the identifying field; if not, the stored link does not change (X1).
        identity: the referenced row, or None for no link.
        leniency: a code to count, or None.
        column: the contract's attribute that identifies the row, for error paths.
    """

    is_sent: bool
    identity: Identity | None
    leniency: str | None = None
    column: str | None = None


@dataclass(frozen=True)
class FlatLines:
    """How lines of a flat file are grouped into a record (O12).

    Attributes:
        children: the contract's list attribute; each line is one of its elements.
        totals: column -> function of the lines, for fields of the record that are empty in the file.
        same_line: columns that identify a line within its record.
    """

    children: str
    totals: Mapping[str, Callable[[list[Any]], Any]] = field(default_factory=dict)
    same_line: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stream:
    """One kind of export of one partner.

    Attributes:
        partner, name: as in the landing's folders.
        table: the main table of its records.
        contract: the fields of a record.
        key: the contract's attribute with the match key (X2).
        normalize_tenant: a tenant's folder -> the tenant as stored, or None if it is not a tenant (O1).
        tenant_form: the form of tenant ids, as in `GUIDs, such as ...`; empty if any folder name is one.
        tenant_place: where a user finds a tenant's id, as a sentence; empty if users choose it.
        children, references, defaults: see their types.
        links: reference column -> pure function (values, options, tenant) -> LinkResult.
        scope: the foreign key column within which keys are unique (P5); None is the tenant.
        scope_name: name of the scope in messages.
        replaces: whether a record is the whole row: fields that it does not send are cleared (P3).
        merges: JSON columns whose objects are merged at their top level (R4, N6).
        required_new: columns and child tables that a new row needs (N4, T3).
        placeholder_is_new: whether a placeholder counts as new there; otherwise it is defined once it has all of them.
        unknown_code: reject code for an `update` of a row that does not exist (N8).
        blocked_by: rows that prevent the deletion of a row (T9).
        computed: columns that only `compute` writes.
        compute: a pure function (values, children) -> values. It computes columns from others in every changed row. It
            must be idempotent: on its own result, with the same record applied again, it changes nothing.
        computes: columns that `compute` reads or writes; those of child tables as `table.column`.
        carries: columns that keep a value from `compute` even after the value it came from is gone.
        lists_defaults: whether the table's `defaulted_fields` lists the fields that still have their default.
        routes: the partner's endpoints that write.
        envelopes: body fields that hold the records; empty if the body is a bare array (X12).
        flat: how lines of flat files are grouped, or None if each line is a record.
        options: the partner's own settings.
        prepare: a pure function (raw record, options, reading) -> raw record, called before the contract. Fields
            that it adds and the contract does not know are stored in `extra` (X3).
        link_fields: reference column -> the contract's attributes that its link uses. Records are read in blocks only
            if it is set.
        prepared: fields that make `prepare` change a record. A record with none of them, without null and with every
            required field of its own type must not change. None means that any record may change. What `prepare` makes
            of fields with objects must depend only on those objects.
        listing: a pure function (values) -> child table -> mode and way of matching its list, if the payload sets them.
            Of the lists themselves it may only check that the way identifies their elements.
        listing_fields: the contract's attributes that `listing` uses, except lists. Lists are read in blocks only if it
            is set.
        delete_flag: the field that, if true, makes a record a delete (T9).
        record_id: the contract's attribute with the partner's own id (P2).
        pull: the endpoint that lists the records, if sources may pull them (N11).
        response: a pure function (counts) -> the outcome in the API's own format, if the page has one (R10).
        description: one or two sentences for the Dagster UI, in Markdown.
        rules_page: the address of the page that lists the stream's rules; empty for the project's own pages.
        package: name and version of the installed package that declares it; empty for the project's own.
    """

    partner: str
    name: str
    table: str
    contract: type[Contract]
    key: str
    normalize_tenant: Callable[[str], str | None]
    tenant_form: str = ""
    tenant_place: str = ""
    children: tuple[Children, ...] = ()
    references: tuple[Reference, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    scope: str | None = None
    scope_name: str = ""
    replaces: bool = False
    merges: tuple[str, ...] = ()
    required_new: tuple[str, ...] = ()
    placeholder_is_new: bool = False
    unknown_code: str = "record_unknown"
    blocked_by: BlockedBy | None = None
    computed: tuple[str, ...] = ()
    compute: Callable[[dict[str, Any], Mapping[str, list[dict[str, Any]]]], dict[str, Any]] | None = None
    computes: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    defaults: tuple[Default, ...] = ()
    lists_defaults: bool = False
    routes: tuple[Route, ...] = ()
    envelopes: frozenset[str] = frozenset()
    flat: FlatLines | None = None
    options: type[Options] = Options
    link_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepare: Callable[[dict[str, Any], Any, Reading], dict[str, Any]] | None = None
    prepared: frozenset[str] | None = None
    listing: Callable[[Mapping[str, Any]], Mapping[str, tuple[ListMode, str | None]]] | None = None
    listing_fields: tuple[str, ...] = ()
    delete_flag: str | None = None
    record_id: str | None = None
    pull: Listing | None = None
    response: Callable[[Mapping[str, int]], dict[str, int]] | None = None
    description: str = ""
    rules_page: str = ""
    package: str = ""

    def __post_init__(self) -> None:
        """Checks that the declaration can be loaded.

        Raises:
            ValueError: it refers to its own table: a placeholder could be created beside the row of a record.
        """
        if any(reference.table == self.table for reference in self.references):
            raise ValueError(f"{self.full_name}: a reference to its own table, {self.table}, is not supported")

    @property
    def operations(self) -> frozenset[Operation]:
        """The operations that its records can request, by endpoint, list or flag; a plain record is an upsert."""
        found: set[Operation] = {"upsert"}
        for route in self.routes:
            found |= {route.operation, *route.lists.values()}
        return frozenset(found | {"delete"} if self.delete_flag else found)

    @property
    def computed_from(self) -> frozenset[str]:
        """The columns and child tables that `compute` reads or writes."""
        return frozenset(name.partition(".")[0] for name in self.computes)

    @property
    def timed_defaults(self) -> tuple[str, ...]:
        """The columns whose default is the time of the record that creates the row (O3)."""
        return tuple(default.column for default in self.defaults if default.value is EFFECTIVE_TIME)

    def why_no_tenant(self, name: str) -> str:
        """Returns the error message for a name that is not a tenant id (O1)."""
        form = self.tenant_form or "the names of their folders in the landing"
        return f"{name!r} is not a tenant id of {self.partner}; its tenant ids are {form}"

    @property
    def full_name(self) -> str:
        """`partner/stream`, as in the landing and in asset keys."""
        return f"{self.partner}/{self.name}"

    @property
    def flat_fields(self) -> tuple[str, ...]:
        """The fields that a column of a flat file can hold: those of the record, and those of the lines it groups."""
        lines = self.line_field
        shapes = [self.shape, *([lines.children] if lines is not None and lines.children is not None else [])]
        return tuple(dict.fromkeys(f.alias for shape in shapes for f in shape.fields if f.children is None))

    @property
    def line_field(self) -> FieldShape | None:
        """The list whose elements are the lines of a flat file, if lines are grouped (O12)."""
        return next((f for f in self.shape.nested if self.flat is not None and f.column == self.flat.children), None)

    @property
    def shape(self) -> Shape:
        """The shape of the contract."""
        return shape_of(self.contract)

    @property
    def fingerprint(self) -> str:
        """A hash of the version and the contract. With another one, the same text may be read differently."""
        return _fingerprint(self.contract, self.package)

    @property
    def key_alias(self) -> str:
        """The match key in the page's spelling."""
        return self.contract.model_fields[self.key].alias or self.key

    @property
    def has_record_ids(self) -> bool:
        """Whether records have an id of the partner's own beside the key (P2)."""
        return self.record_id is not None

    @property
    def is_repeatable(self) -> bool:
        """Whether applying a record twice changes nothing the second time, except its lists.

        This is not so if a row may be new twice or lose its defaults, which depends on more than the record.
        """
        stays_new = bool(self.required_new) and not self.placeholder_is_new
        return not (self.defaults and (self.replaces or stays_new))

    @cached_property
    def written(self) -> tuple[str, ...]:
        """Every column that a load may write: those that records set, and computed ones."""
        return self.columns + self.computed

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the main table that a record may set, in contract order, without the key."""
        derived = tuple(self.contract.derived)
        keys = (self.key, self.record_id)
        return tuple(f.column for f in self.shape.scalars if f.column not in keys) + derived


@cache
def _fingerprint(contract: type[Contract], package: str) -> str:
    schema = json.dumps(contract.model_json_schema(), sort_keys=True, default=str)
    return hashlib.sha256(f"{version('sync_pipelines')} {package}{schema}".encode()).hexdigest()
