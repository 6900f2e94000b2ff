"""A stream: everything the engine needs to know of one partner's kind of export, as a declaration.

Belongs here: the shape of those declarations. Does not belong here: any partner's (`partners`), how a
declaration is carried out (`normalize`, `upsert`).
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
"""What a record asks for.

- `upsert` inserts or updates a row.
- `create` does the same and counts a row that exists already as a leniency.
- `insert` rejects the record where the row exists; a strict source turns `create` into it.
- `update` rejects the record where the row does not exist.
- `touch` updates a row, and inserts a placeholder where it does not exist.
- `delete` leaves a tombstone.
"""

ListMode = Literal["replace", "merge", "add", "remove"]
"""What a list of children asks for: replace the stored list, patch its rows, add to a set, or remove from it."""


class _EffectiveTime:
    """Marker: the default is the record's effective time (O3)."""

    def __repr__(self) -> str:
        return "EFFECTIVE_TIME"


EFFECTIVE_TIME: Final = _EffectiveTime()


def tenant_as_named(folder: str) -> str | None:
    """The tenant of a partner whose tenants are named as their folders are, in NFC."""
    return composed(folder)


class Identity(NamedTuple):
    """Which row of another stream's table a reference means: by its external id, or by the partner's own id.

    With both, the own id says which row is meant, and the row has both.
    """

    partner: str
    tenant: str
    external_id: str | None
    record_id: str | None = None


@dataclass(frozen=True)
class Default:
    """A value a new row gets where the record has no such field (O3); listed in `defaulted_fields`."""

    column: str
    value: Any


@dataclass(frozen=True)
class Match:
    """One way in which two children are the same row: equal in all these columns.

    Attributes:
        columns: compared; a row that lacks one of them does not match this way.
        name: how a payload asks for this way, where it may choose.
        folds: texts are compared trimmed and without case.
        whole: null equals null, and only rows without any of the columns of the other ways match so.
    """

    columns: tuple[str, ...]
    name: str = ""
    folds: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Children:
    """Rows of a child table that a list in the record makes, in the list's order.

    Attributes:
        column: the contract's attribute that holds the list.
        table: the child table; its `line_no` counts from 1.
        parent: its column that holds the parent's id.
        parent_key: the element's own attribute that, if sent, must equal the parent's key; no column (O6).
        skips_empty: an element without any field is left out, counted (R5).
        mode: what a list asks for unless the record says otherwise.
        match: the ways to find the stored row of an element, tried in order; none: by line number.
        primary: columns within whose values at most one row has `is_primary`, () for all rows; None: no such rule.
        nested: children of these children.
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
    """A foreign key to a row that is made as a placeholder where it is missing (X7).

    Attributes:
        column: the foreign key column.
        table: the table it points to.
        emails_of: a partner whose placeholders get their external id as `email` where it is an address. No stream of
            that partner fills the table: a definition would not know which email was sent.
    """

    column: str
    table: str
    emails_of: str | None = None


@dataclass(frozen=True)
class BlockedBy:
    """Live rows of another table keep a row from being deleted (T9)."""

    table: str
    column: str


@dataclass(frozen=True)
class Route:
    """One documented endpoint that writes.

    Attributes:
        method: HTTP method.
        path: the path on the partner's page, `{tenant}` and `{key}` standing for what is in it; any other name in
            braces is a field of each record.
        operation: what a call asks for.
        body: whether the records are in the body; otherwise the key in the path is the record.
        missing_key: the error message where the path has no key.
        lists: names of lists in the body -> what each asks for, in the order of execution.
        is_exclusive: a key that is in two of the lists is rejected in both (N8).
        sets: fields that the call itself sets.
        mode: how lists of children are handled.
        needs: fields that the call must send, in the page's spelling.
        takes: fields the call takes, in the page's spelling; others are drift (F01). None takes all of the contract's.
        may_be_empty: an empty body asks for nothing; otherwise it is a record without fields (N8).
        may_be_one: one record may be the whole body, even one without any field.
        names_lists: field paths begin with the list and the record's index in it: `upsert[0].latitude` (F07).
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
    """Base of a partner's own settings in `sources.yaml`; a stream without any uses it as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Link = Callable[[Mapping[str, Any], Any, str], "LinkResult"]


class LinkResult(NamedTuple):
    """The reference of a record.

    Attributes:
        spoken: whether the record has the identifying field; where it is absent the link is kept (X1).
        identity: the row meant, or None for no link.
        leniency: a code to count, or None.
        column: the contract's attribute that identifies the row, for error paths.
    """

    spoken: bool
    identity: Identity | None
    leniency: str | None = None
    column: str | None = None


@dataclass(frozen=True)
class FlatLines:
    """How lines of a flat file make one record (O12).

    Attributes:
        children: the contract's list attribute that each line is one element of.
        totals: column -> function of the lines, for record fields that the file leaves empty.
        same_line: columns that identify a line among those of its record, whatever else changes in it.
    """

    children: str
    totals: Mapping[str, Callable[[list[Any]], Any]] = field(default_factory=dict)
    same_line: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stream:
    """One kind of export of one partner.

    Attributes:
        partner, name: as in the landing's folders.
        table: the main table its records write.
        contract: what a record may hold.
        key: the contract's attribute that is the match key (X2).
        normalize_tenant: a tenant's folder -> the tenant as stored, or None where it is not one (O1).
        tenant_form: what tenant ids look like, as in `GUIDs, such as ...`; empty where any folder name is one.
        tenant_place: where a user finds a tenant's id, as a sentence; empty where users choose it.
        children, references, defaults: see their types.
        links: reference column -> pure function (values, options, tenant) -> LinkResult.
        scope: the foreign key column within which keys are unique (P5); None is the tenant.
        scope_name: what the scope is called in messages.
        replaces: a record is the whole row: fields it does not send are cleared (P3).
        merges: JSON columns whose objects are merged at their top level (R4, N6).
        required_new: columns and child tables that a new row needs (N4, T3).
        placeholder_is_new: whether a placeholder counts as new there; else it becomes real once it has them all.
        unknown_code: the reject code of an `update` of a row that is not there (N8).
        blocked_by: what keeps a row from being deleted (T9).
        settled: columns that `settle` alone writes.
        settle: a pure function (values, children) -> values, run on every row after a change: what is shown of
            others' values. Run on what it returned, with the same record applied again, it changes nothing.
        settles: what `settle` looks at and writes: columns, and those of child tables as `table.column`.
        carries: columns in which what `settle` wrote once outlives what it wrote it from.
        lists_defaults: the table's `defaulted_fields` names the fields that hold their default.
        routes: the partner's endpoints that write.
        envelopes: body fields that hold the records; empty where the body is a bare array (X12).
        flat: how flat files fold, or None where a line is a record.
        options: the partner's own settings.
        prepare: a pure function (raw record, options, reading) -> raw record, run before the contract; what it adds
            that the contract does not know falls into `extra` (X3).
        link_fields: reference column -> the contract's attributes its link is made of; records are read in blocks only
            where it is given.
        prepared: fields without which `prepare` changes nothing in a record without null that has all required ones,
            each with a value of its own type; None: it may change any record. What it makes of those that hold objects
            depends on them alone.
        listing: a pure function (values) -> child table -> how its list is handled, where the payload says so. Of the
            lists themselves it may only check that the chosen way identifies their elements.
        listing_fields: the contract's attributes it looks at beside the lists; lists are read in blocks only where
            it is given.
        delete_flag: the field that, if true, makes a record a delete (T9).
        record_id: the contract's attribute that is the partner's own id (P2).
        pull: the endpoint that lists the records, where a source may pull them (N11).
        response: a pure function (counts) -> the outcome in the API's own shape, where the page has one (R10).
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
    settled: tuple[str, ...] = ()
    settle: Callable[[dict[str, Any], Mapping[str, list[dict[str, Any]]]], dict[str, Any]] | None = None
    settles: tuple[str, ...] = ()
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
        """Rejects a declaration that no load could carry out.

        Raises:
            ValueError: a reference to the stream's own table: a record would make the placeholder of one beside it.
        """
        if any(reference.table == self.table for reference in self.references):
            raise ValueError(f"{self.full_name}: a reference to its own table, {self.table}, is not supported")

    @property
    def operations(self) -> frozenset[Operation]:
        """What its records can ask for, by endpoint, list or flag; a plain record is an upsert."""
        found: set[Operation] = {"upsert"}
        for route in self.routes:
            found |= {route.operation, *route.lists.values()}
        return frozenset(found | {"delete"} if self.delete_flag else found)

    def why_no_tenant(self, name: str) -> str:
        """Returns the sentence for a name that is no tenant id (O1)."""
        form = self.tenant_form or "the names of their folders in the landing"
        return f"{name!r} is not a tenant id of {self.partner}; its tenant ids are {form}"

    @property
    def full_name(self) -> str:
        """`partner/stream`, as in the landing and in asset keys."""
        return f"{self.partner}/{self.name}"

    @property
    def flat_fields(self) -> tuple[str, ...]:
        """The fields that a column of a flat file can be: the record's, and those of the lines it folds."""
        lines = self.line_field
        shapes = [self.shape, *([lines.children] if lines is not None and lines.children is not None else [])]
        return tuple(dict.fromkeys(f.alias for shape in shapes for f in shape.fields if f.children is None))

    @property
    def line_field(self) -> FieldShape | None:
        """The list that each line of a flat file is an element of, where lines fold (O12)."""
        return next((f for f in self.shape.nested if self.flat is not None and f.column == self.flat.children), None)

    @property
    def shape(self) -> Shape:
        """The contract's fields."""
        return shape_of(self.contract)

    @property
    def fingerprint(self) -> str:
        """Of the version and the contract: another one may read the same text otherwise."""
        return _fingerprint(self.contract, self.package)

    @property
    def key_alias(self) -> str:
        """The match key in the page's spelling."""
        return self.contract.model_fields[self.key].alias or self.key

    @property
    def has_record_ids(self) -> bool:
        """Whether the partner has ids of its own beside the key (P2)."""
        return self.record_id is not None

    @property
    def is_repeatable(self) -> bool:
        """Whether a record, applied again to the row it made, changes nothing of it (its lists aside).

        Not so where a row may be new twice or lose its defaults: both look at more than the record.
        """
        stays_new = bool(self.required_new) and not self.placeholder_is_new
        return not (self.defaults and (self.replaces or stays_new))

    @cached_property
    def written(self) -> tuple[str, ...]:
        """Every column a load may write: those records speak of, and those that settle from them."""
        return self.columns + self.settled

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the main table a record may speak of, in contract order, the key left out."""
        derived = tuple(self.contract.derived)
        keys = (self.key, self.record_id)
        return tuple(f.column for f in self.shape.scalars if f.column not in keys) + derived


@cache
def _fingerprint(contract: type[Contract], package: str) -> str:
    schema = json.dumps(contract.model_json_schema(), sort_keys=True, default=str)
    return hashlib.sha256(f"{version('sync_pipelines')} {package}{schema}".encode()).hexdigest()
