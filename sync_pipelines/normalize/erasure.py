"""Records without erased people: which records are dropped, and what is removed of the others.

The person's own record is dropped, and so are the person's orders, unless they are kept without personal values. Any
other record is kept without the elements of its lists and without the fields that name the person. A delete is the
person's only by its key, because its other fields are not read.

The same rules apply to changes (what normalizing results in, and what is kept) and to records as in the export (raw
bytes and rejects).

Belongs here: these rules. Does not belong here: how people are identified (`privacy.erased_people`), where records are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import PydanticCustomError

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.codes import ALL_CODES
from sync_pipelines.contracts.contract import FieldShape, Shape, folded
from sync_pipelines.contracts.fields import read_flag
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.contracts.texts import read_key
from sync_pipelines.normalize.change import Change, Fault, Reject
from sync_pipelines.normalize.field_names import list_of
from sync_pipelines.normalize.list_duplicates import by_distinct
from sync_pipelines.privacy.erased_people import ErasedPeople, Subjects

SUBJECT_ERASED: Final = "subject_erased"
MARKER: Final = {"erased_person": "sync_pipelines"}
"""Takes the place of a record in rewritten raw bytes, so that the positions of the others stay (X14)."""
_PEOPLE: Final = "customers"
_IDENTITIES: Final = frozenset(
    {"external_id", "record_id", "user_ref", "customer_external_id", "owner_identifier", "email", "value", "phone"}
)
"""Columns that identify people; in other columns a short key could be anything."""
_ORDER: Final = frozenset({"customer_external_id", "email"})
_GONE: Final[Any] = object()


class Eraser:
    """Removes erased people from the records of one stream.

    Args:
        stream: the declaration.
        subjects: identifies the people.
        columns: contract field -> the export's name for it, if its source maps some.
    """

    def __init__(self, stream: Stream, subjects: Subjects, columns: Mapping[str, str] | None = None) -> None:
        self._stream = stream
        self._subjects = subjects
        known = stream.shape.by_folded
        self._mapped = {folded(name): known[folded(a)] for a, name in (columns or {}).items() if folded(a) in known}
        self._is_of_people = stream.table == _PEOPLE
        self._links = {ref.column for ref in stream.references if ref.table == _PEOPLE}
        self._refers_to_people = bool(self._links)
        self._kept_lists = {stream.flat.children} if stream.flat is not None else set()
        self._kept_tables = {child.table for child in stream.children if child.column in self._kept_lists}

    # -- changes -----------------------------------------------------------------------------------------------

    def outcome(self, outcome: Change | Reject) -> Change | Reject | None:
        """Returns a record without erased people: the same object if it names none, None if it is dropped."""
        return self.change(outcome) if isinstance(outcome, Change) else self.reject(outcome)

    def change(self, change: Change) -> Change | None:
        """Returns a change as `outcome`."""
        if self._is_of_people and self._is_person(change):
            return None
        keeps = self._is_of_person(change) if self._refers_to_people else None
        if keeps is False:
            return None
        values = {n: v for n, v in self._cleaned(change.values).items() if keeps is None or n not in _ORDER}
        links = {
            name: identity
            for name, identity in change.links.items()
            if name not in self._links or (keeps is None and self._names(identity) is None)
        }
        children = {
            table: listed._replace(rows=self._rows(listed.rows, is_kept=table in self._kept_tables))
            for table, listed in change.children.items()
        }
        extra = {} if keeps is not None else self._cleaned(change.extra)
        same = (values, links, children, extra) == (change.values, change.links, change.children, change.extra)
        return change if same else change._replace(values=values, links=links, children=children, extra=extra)

    def _is_person(self, change: Change) -> bool:
        own = [self._subjects.by_key(text) for text in (change.key, change.record_id) if text is not None]
        own += [self._subjects.by_email(t) for t in (change.key, change.values.get("email")) if isinstance(t, str)]
        own += self._in_extra(change)
        return any(found is not None for found in own)

    def _is_of_person(self, change: Change) -> bool | None:
        """Returns whether an order of a person is kept; None if it is nobody's."""
        found = [self._names(identity) for name, identity in change.links.items() if name in self._links]
        found += [self._subjects.in_identity(t) for n in sorted(_ORDER) if isinstance(t := change.values.get(n), str)]
        found += self._in_extra(change)
        named = [keeps for keeps in found if keeps is not None]
        return all(named) if named else None

    def _in_extra(self, change: Change) -> list[bool | None]:
        """Looks up email addresses in fields that the contract does not know but that have one by their name."""
        return [
            self._subjects.by_email(text)
            for name, text in change.extra.items()
            if isinstance(text, str) and is_email_name(name)
        ]

    def _names(self, identity: Any) -> bool | None:
        if not isinstance(identity, Identity):
            return None
        texts = (identity.external_id, identity.record_id)
        found = (self._subjects.in_identity(text) for text in texts if text is not None)
        return next((keeps for keeps in found if keeps is not None), None)

    # -- values ------------------------------------------------------------------------------------------------

    def _cleaned(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields that do not name a person."""
        found = {name: self._value(name, value) for name, value in fields.items()}
        return {name: value for name, value in found.items() if value is not _GONE}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return _GONE if self._names_person(value, is_identity=name in _IDENTITIES) else value
        if isinstance(value, Mapping):
            return self._cleaned(value)
        if isinstance(value, list):
            cleaned = [self._value(name, element) for element in value]
            return [element for element in cleaned if element is not _GONE]
        return value

    def _rows(self, rows: list[dict[str, Any]], *, is_kept: bool) -> list[dict[str, Any]]:
        """Returns the elements of a list without those that name a person; only lines of an order lose fields."""
        if is_kept:
            return [self._cleaned(row) for row in rows]
        return [row for row in rows if self._cleaned(row) == row]

    # -- records as in the export ------------------------------------------------------------------------------

    def reject(self, reject: Reject) -> Reject | None:
        """Returns a reject as `outcome`. Messages that may quote the person become those of their codes."""
        key = reject.external_id
        if self._is_of_people and key is not None and self._subjects.in_identity(key) is not None:
            return None
        record = self.raw(reject.record)
        if record == MARKER:
            return None
        texts = [reject.message, *(fault.message for fault in reject.faults)]
        if record == reject.record and all(self._subjects.in_text(text) is None for text in texts):
            return reject
        faults = tuple(Fault(fault.code, fault.path, _sentence(fault.code)) for fault in reject.faults)
        return reject._replace(record=record, message=_sentence(reject.code), faults=faults)

    def raw(self, record: Any) -> Any:
        """Returns a record, a body of several or a line of a request log as in the export, without erased people.

        `MARKER` takes the place of a record that is dropped.
        """
        if isinstance(record, str):
            return record if self._subjects.in_text(record) is None else dict(MARKER)
        if isinstance(record, dict) and isinstance(record.get("path"), str) and "method" in record:
            parts = record["path"].partition("?")[0].split("/")
            if any(self._names_person(unquote(part), is_identity=self._is_of_people) for part in parts):
                return dict(MARKER)
        return self._raw(record, self._stream.shape, "")

    def cell(self, header: str, text: str) -> bool:
        """Whether a cell of a flat file names an erased person."""
        field = self._field(header, self._stream.shape)
        column = field.column if field is not None else folded(header.rpartition(".")[2])
        is_key = field is not None and self._is_key(field)
        if is_key and not self._is_of_people:
            return False
        return self._names_person(_unmarked(text), is_identity=is_key or column in _IDENTITIES)

    def owns(self, header: str) -> bool:
        """Whether a person named in this column of a flat file owns the record."""
        field = self._field(header, self._stream.shape)
        return bool(self._owners) and (is_email_name(header) if field is None else field.column in self._owners)

    def is_key(self, header: str) -> bool:
        """Whether a column of a flat file has the key of its records."""
        field = self._field(header, self._stream.shape)
        return field is not None and self._is_key(field)

    def deletes(self, record: Mapping[str, Any]) -> bool:
        """Whether a record as in the export, or the cells of a row by their headers, is a delete."""
        if self._stream.delete_flag is None:
            return False
        fields = ((self._field(name, self._stream.shape), value) for name, value in record.items())
        flags = [v for field, v in fields if field is not None and field.column == self._stream.delete_flag]
        try:
            return any(read_flag(flag, Reading(flat=True)) for flag in flags)
        except PydanticCustomError:
            return False

    @property
    def _owners(self) -> frozenset[str]:
        """The columns whose person owns the record."""
        if self._is_of_people:
            return frozenset({"email", self._stream.key, self._stream.record_id or self._stream.key})
        return _ORDER if self._refers_to_people else frozenset()

    def keeps_orders(self, text: str) -> bool:
        """Whether the orders of the person in a cell are kept."""
        return self._subjects.in_identity(_unmarked(text)) is True and not self._is_of_people

    def _names_person(self, text: str, *, is_identity: bool) -> bool:
        look = self._subjects.in_identity if is_identity else self._subjects.in_text
        return look(text) is not None

    def _is_key(self, field: FieldShape) -> bool:
        return field.column in (self._stream.key, self._stream.record_id)

    def _field(self, name: str, shape: Shape | None) -> FieldShape | None:
        if shape is None:
            return None
        mapped = self._mapped.get(folded(name)) if shape is self._stream.shape else None
        return mapped or shape.by_folded.get(folded(name))

    def _raw(self, node: Any, shape: Shape | None, column: str) -> Any:
        """Returns a node of a record; `shape` is that of the objects below, None outside of the contract."""
        if isinstance(node, list):
            return self._raw_list(node, shape, column)
        if isinstance(node, str) or (isinstance(node, int) and not isinstance(node, bool)):
            return _GONE if self._names_person(str(node), is_identity=column in _IDENTITIES) else node
        if not isinstance(node, dict):
            return node
        is_main = shape is self._stream.shape
        is_delete = is_main and self.deletes(node)
        if is_main and (keeps := self._raw_owner(node, is_delete=is_delete)) is not None:
            return self._raw_order(node) if keeps and not self._is_of_people else dict(MARKER)
        fields = {name: self._field(name, shape) for name in node}
        is_record = not is_main or any(field is not None and self._is_key(field) for field in fields.values())
        found = {}
        for name, value in node.items():
            field = fields[name]
            if field is not None and is_main and self._is_key(field):
                found[name] = value
                continue
            below = field.children if field is not None else None if is_record else shape
            if field is not None and below is not None and isinstance(value, dict):
                value = self._raw_listed(value, below, field.column)
            cleaned = self._raw(value, below, field.column if field is not None else name)
            if cleaned is not _GONE:
                found[name] = cleaned
        return found

    def _raw_list(self, nodes: list[Any], shape: Shape | None, column: str) -> list[Any]:
        is_element = shape is not None and shape is not self._stream.shape
        cleaned = [self._raw(node, shape, "value" if is_element else column) for node in nodes]
        if shape is self._stream.shape:
            # Records: the positions of the others stay.
            return [dict(MARKER) if node is _GONE else node for node in cleaned]
        if not is_element or column in self._kept_lists:
            return [node for node in cleaned if node is not _GONE]
        return [node for node, before in zip(cleaned, nodes, strict=True) if node is not _GONE and node == before]

    def _raw_listed(self, value: dict[str, Any], shape: Shape, column: str) -> Any:
        """Returns a list that was written as an object with numbers as names: a list if a person was in it."""
        listed = list_of(value)
        if listed is None:
            return value
        cleaned = self._raw_list(listed, shape, column)
        return value if cleaned == listed else cleaned

    def _raw_owner(self, record: dict[str, Any], *, is_delete: bool) -> bool | None:
        """Returns whether a record of a person is kept; None if it is nobody's."""
        found = []
        for name, value in record.items():
            field = self._field(name, self._stream.shape)
            if is_delete and (field is None or not self._is_key(field)):
                continue
            if field is not None and field.column in self._owners and isinstance(value, (str, int)):
                found.append(self._subjects.in_identity(str(value)))
            elif field is None and self._owners and isinstance(value, str) and is_email_name(name):
                found.append(self._subjects.by_email(value))
        named = [keeps for keeps in found if keeps is not None]
        return all(named) if named else None

    def _raw_order(self, record: dict[str, Any]) -> dict[str, Any]:
        kept = {}
        for name, value in record.items():
            field = self._field(name, self._stream.shape)
            if field is not None and field.column not in _ORDER:
                kept[name] = value if self._is_key(field) else self._raw(value, field.children, field.column)
        return {name: value for name, value in kept.items() if value is not _GONE}

    # -- columns -----------------------------------------------------------------------------------------------

    def suspects(self, block: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Returns which kept records may name an erased person. Each distinct text is looked up once."""
        found = np.zeros(block.num_rows, bool)
        rows = np.arange(block.num_rows)
        for name, column in zip(block.schema.names, block.columns, strict=True):
            if name not in ("position", "operation", "modes"):
                self._note(_short(name), column, rows, found)
        return found

    def _note(self, name: str, values: pa.Array, rows: npt.NDArray[Any], found: npt.NDArray[np.bool_]) -> None:
        kind = values.type
        if pa.types.is_struct(kind):
            for field, inner in zip(kind, values.flatten(), strict=True):
                self._note(field.name, inner, rows, found)
        elif pa.types.is_list(kind):
            self._note(name, values.flatten(), rows[pc.list_parent_indices(values).to_numpy()], found)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            is_identity = name in _IDENTITIES
            look = self._subjects.in_identity if is_identity else self._subjects.in_text
            hits = by_distinct(lambda text: look(text) is not None, values, pa.bool_()).fill_null(False)
            found[rows[hits.to_numpy(zero_copy_only=False)]] = True


def build_eraser(people: ErasedPeople | None, stream: Stream, tenant: str, settings: StreamSettings) -> Eraser | None:
    """Returns the eraser of a tenant's stream; None if nobody was erased there."""
    subjects = None if people is None else people.those_of(scopes_of(stream, tenant, settings.options))
    return None if subjects is None else Eraser(stream, subjects, settings.columns)


def is_email_name(name: str) -> bool:
    """Whether a field that the contract does not know has an email address, by its name."""
    return any(word in folded(name) for word in ("mail", "correo"))


def scopes_of(stream: Stream, tenant: str, options: Any) -> list[tuple[str, str]]:
    """Returns partner and tenant of a stream's people: its own, and those whose customers its records name (O5)."""
    owner = getattr(options, "customers_of", None)
    return [(stream.partner, tenant), *([(owner.partner, owner.tenant)] if owner is not None else [])]


def _unmarked(cell: str) -> str:
    """Returns the text of a cell as it is read: a key without `="..."` and without zero decimals."""
    with suppress(PydanticCustomError):
        return str(read_key(cell, Reading(flat=True)))
    return cell


def _short(column: str) -> str:
    """Returns which identity a column of kept records holds: the parts of a link are columns of their own."""
    return next((part for part in ("external_id", "record_id") if column.endswith(f"_{part}")), column)


def _sentence(code: str) -> str:
    return ALL_CODES.get(code, code)
