"""SQL of the set-based way, made by pure functions from a stream's declaration.

Records that are the newest word on their keys are staged in temporary tables, classified by one join with the table,
and only what differs is written:

    stage              one row a record, each of another key
    stage_<child>      its children
    plan               per staged row: its id, whether it was live, whether it differs

Column lists come from the declarations and are quoted as identifiers; values are always parameters. Belongs here:
text of statements. Does not belong here: running them (`load`), rows that are folded (`write`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from psycopg import sql
from psycopg.sql import SQL, Composed, Identifier, Literal

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Children, Identity, Reference, Stream
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.fold import named_defaults, spoken_name

Fragment = sql.Composable
_NUMBER: Final = "line_no"
_NUMBER_NAME: Final = Identifier(_NUMBER)


@dataclass(frozen=True)
class Presence:
    """Which columns the staged rows speak of: `always` in every row, `ever` in at least one (bit masks)."""

    always: int
    ever: int


@dataclass(frozen=True)
class Statements:
    """The statements of one stream's loads.

    Args:
        stream: the declaration.
        layout: of its kept records.
        presence: narrows the expressions to what the staged rows speak of.
    """

    stream: Stream
    layout: Layout
    presence: Presence

    @property
    def _main(self) -> Identifier:
        return Identifier(SCHEMA, self.stream.table)

    @property
    def _has_defaults(self) -> bool:
        return self.stream.lists_defaults

    # -- staging -----------------------------------------------------------------------------------------------

    def create_stage(self) -> list[Composed]:
        """Empty temporary tables with the column types of the tables they are for."""
        columns = _list(Identifier(name) for name in self._copied_types)
        links = _list(SQL("null::text as {}").format(Identifier(name)) for name in self._link_columns)
        statements = [
            SQL(
                "create temp table stage on commit drop as select 0::bigint as seq, null::text as position,"
                " effective_at, null::text as operation, 0::bigint as present, {columns}{comma}{links}"
                " from {main} with no data"
            ).format(columns=columns, comma=SQL(", " if self._link_columns else ""), links=links, main=self._main),
        ]
        for children, child in zip(self.stream.children, self.layout.children, strict=True):
            statements.append(
                SQL(
                    "create temp table {stage} on commit drop as"
                    " select 0::bigint as seq, {columns} from {t} with no data"
                ).format(
                    stage=_stage_of(child.table),
                    columns=_list(map(Identifier, self.child_columns(children, child))),
                    t=Identifier(SCHEMA, child.table),
                )
            )
        return statements

    @property
    def _link_columns(self) -> list[str]:
        return [f"{link}_{part}" for link in self.layout.links for part in Identity._fields]

    @property
    def _copied_types(self) -> list[str]:
        return ["external_id", *self.layout.columns, "extra"]

    @property
    def stage_columns(self) -> list[str]:
        """The columns of `stage` in the order of its COPY."""
        head = ["seq", "position", "effective_at", "operation", "present", "external_id"]
        return [*head, *self.layout.columns, *self._link_columns, "extra"]

    def child_columns(self, children: Children, child: ChildLayout) -> list[str]:
        """The columns of a child table that are staged, `seq` aside."""
        return [_NUMBER, *child.columns, "extra"]

    def copy_stage(self) -> Composed:
        """COPY of the records' own rows, as CSV."""
        return _copy(Identifier("stage"), self.stage_columns)

    def copy_children(self, children: Children, child: ChildLayout) -> Composed:
        """COPY of the rows of one child table, as CSV."""
        return _copy(_stage_of(child.table), ["seq", *self.child_columns(children, child)])

    def analyze(self) -> list[Composed]:
        """Statistics, without which the joins are planned for empty tables; of rows like these few samples tell all."""
        tables = [Identifier("stage"), *(_stage_of(child.table) for child in self.layout.children)]
        few = SQL("set local default_statistics_target = 10").format()
        return [few, *(SQL("analyze {}").format(table) for table in tables)]

    # -- references --------------------------------------------------------------------------------------------

    def make_placeholders(self, reference: Reference) -> Composed:
        """Rows for references to what is not there yet (X7). Parameters: file, run."""
        parts = [Identifier(f"{reference.column}_{part}") for part in Identity._fields]
        return SQL(
            "insert into {table} (tenant, partner, external_id, is_placeholder, effective_at, source_file,"
            " source_position, run_id) select distinct on (r.tenant, r.partner, r.external_id)"
            " r.tenant, r.partner, r.external_id, true, r.effective_at, %(path)s, r.position, %(run)s"
            " from (select {partner} as partner, {tenant} as tenant, {external_id} as external_id,"
            " effective_at, position from stage where {external_id} is not null) r"
            " where not exists (select from {table} t where t.tenant = r.tenant and t.partner = r.partner"
            " and t.external_id = r.external_id{unscoped}) order by r.tenant, r.partner, r.external_id"
        ).format(
            table=Identifier(SCHEMA, reference.table),
            unscoped=unscoped(reference, Identifier("t")),
            partner=parts[0],
            tenant=parts[1],
            external_id=parts[2],
        )

    # -- classifying -------------------------------------------------------------------------------------------

    def create_plan(self) -> Composed:
        """The join that tells each staged row's id and what it comes to. Parameters: tenant, partner."""
        return SQL(
            "create temp table plan on commit drop as select s.seq, s.present, t.id as old_id,"
            " coalesce(t.id, nextval(pg_get_serial_sequence({name}, 'id'))) as id,"
            " t.id is not null and t.deleted_at is null as was_live,"
            " t.id is null or t.deleted_at is not null or t.is_placeholder as is_new,"
            " s.operation = 'delete' as is_delete{links}, {differs} as differs"
            " from stage s left join {main} t on t.tenant = %(tenant)s and t.partner = %(partner)s"
            " and t.external_id = s.external_id{joins}"
        ).format(
            name=Literal(f"{SCHEMA}.{self.stream.table}"),
            links=_each(SQL(", {r}.id as {c}"), self._references),
            differs=self._row_differs(),
            main=self._main,
            joins=_each(
                SQL(
                    " left join {t} {r} on {r}.tenant = s.{tenant} and {r}.partner = s.{partner}"
                    " and {r}.external_id = s.{external_id}{unscoped}"
                ),
                self._references,
            ),
        )

    @property
    def _references(self) -> list[dict[str, Fragment]]:
        return [
            {
                "r": Identifier(f"r{index}"),
                "c": Identifier(reference.column),
                "t": Identifier(SCHEMA, reference.table),
                "unscoped": unscoped(reference, Identifier(f"r{index}")),
                **{part: Identifier(f"{reference.column}_{part}") for part in Identity._fields},
            }
            for index, reference in enumerate(self.stream.references)
        ]

    def _row_differs(self) -> Composed:
        """Whether the row itself would change; its children are looked at apart."""
        changes: list[Fragment] = [
            SQL("({spoken} and s.{c} is distinct from t.{c})").format(spoken=self._spoken(c), c=Identifier(c))
            for c in self.layout.columns
            if self._ever(c)
        ]
        changes += [
            SQL("({spoken} and {r}.id is distinct from t.{c})").format(
                spoken=self._spoken(reference.column), r=parts["r"], c=parts["c"]
            )
            for reference, parts in zip(self.stream.references, self._references, strict=True)
        ]
        changes.append(SQL("s.extra is not null and {new} is distinct from t.extra").format(new=self._new_extra()))
        if self._has_defaults:
            changes.append(SQL("{} is distinct from t.defaulted_fields").format(self._new_defaulted()))
        return SQL(
            "case when s.operation = 'delete' then t.id is null or t.deleted_at is distinct from s.effective_at"
            " else t.id is null or t.deleted_at is not null or t.is_placeholder or {} end"
        ).format(SQL(" or ").join(changes))

    def _bit(self, name: str) -> int:
        return 1 << self.layout.bits[name]

    def _ever(self, name: str) -> bool:
        return bool(self.presence.ever & self._bit(name))

    def _spoken(self, name: str, row: str = "s") -> Composed:
        """Whether a staged row, or its line of the plan, speaks of a column, link or child table (X1)."""
        bit = self._bit(name)
        if self.presence.always & bit:
            return SQL("true").format()
        if not self.presence.ever & bit:
            return SQL("false").format()
        return SQL("({}.present & {}) <> 0").format(Identifier(row), Literal(bit))

    def _new_extra(self) -> Composed:
        return SQL(
            "case when t.extra is null then s.extra when s.extra is null then t.extra else t.extra || s.extra end"
        ).format()

    def _new_defaulted(self) -> Composed:
        """Fields that still hold their default: those not sent, now or since the row was made (O3)."""
        parts: list[Fragment] = []
        for default, alias in named_defaults(self.stream):
            spoken = self._spoken(spoken_name(self.stream, default))
            parts.append(
                SQL(
                    "case when not ({spoken}) and (t.id is null or t.deleted_at is not null or t.is_placeholder"
                    " or {alias} = any(t.defaulted_fields)) then {alias} end"
                ).format(spoken=spoken, alias=Literal(alias))
            )
        return SQL("array_remove(array[{}]::text[], null)").format(SQL(", ").join(parts))

    def find_changed_children(self, children: Children, child: ChildLayout) -> list[Composed]:
        """Which live rows' lists differ from the staged ones; marks them in `plan`."""
        changed = _changed(child.table)
        fields: dict[str, Fragment] = {
            "changed": changed,
            "t": Identifier(SCHEMA, child.table),
            "stage": _stage_of(child.table),
            "parent": Identifier(children.parent),
            "number": _NUMBER_NAME,
            "spoken": self._spoken(child.table, "p"),
            "stored": _list(SQL("t.{}").format(Identifier(c)) for c in (*child.columns, "extra")),
            "old": _list(SQL("t.{}").format(Identifier(c)) for c in (*child.columns, "extra")),
            "new": _list(SQL("c.{}").format(Identifier(c)) for c in (*child.columns, "extra")),
        }
        find = SQL(
            "create temp table {changed} on commit drop as"
            " with old as materialized (select p.seq, t.{number}, {stored} from plan p join {t} t on t.{parent} = p.id"
            " where p.was_live and not p.is_delete and {spoken}),"
            " sent as (select c.* from {stage} c join plan p using (seq) where p.was_live and not p.is_delete)"
            " select coalesce(c.seq, t.seq) as seq, bool_or(c.seq is null) as is_shorter"
            " from sent c full join old t on t.seq = c.seq and t.{number} = c.{number}"
            " where c.seq is null or t.seq is null or ({new}) is distinct from ({old}) group by 1"
        )
        mark = SQL("update plan p set differs = true from {changed} c where c.seq = p.seq and not p.differs")
        return [find.format(**fields), SQL("analyze {changed}").format(**fields), mark.format(**fields)]

    # -- writing -----------------------------------------------------------------------------------------------

    def insert_rows(self) -> Composed:
        """New rows, tombstones of unknown keys among them. Parameters: tenant, partner, path, run."""
        columns = [*self.layout.columns, *self.layout.links]
        defaulted = ["defaulted_fields"] if self._has_defaults else []
        return SQL(
            "insert into {main} (id, tenant, partner, external_id, deleted_at, effective_at, source_file,"
            " source_position, run_id, {columns}, extra{defaulted_names})"
            " overriding system value select p.id, %(tenant)s, %(partner)s, s.external_id,"
            " case when p.is_delete then s.effective_at end, s.effective_at, %(path)s, s.position, %(run)s,"
            " {values}, s.extra{defaulted} from plan p join stage s using (seq)"
            " {no_row} where p.old_id is null"
        ).format(
            main=self._main,
            columns=_list(map(Identifier, columns)),
            values=_list(self._created(name) for name in columns),
            defaulted_names=_each_name(defaulted),
            defaulted=SQL(", case when not p.is_delete then {} end").format(self._new_defaulted())
            if defaulted
            else SQL(""),
            no_row=self._no_row() if defaulted else SQL(""),
        )

    def _no_row(self) -> Composed:
        """A row of nulls named `t`, for expressions that look at the stored row."""
        return SQL(
            "cross join (select null::bigint as id, null::timestamptz as deleted_at, false as is_placeholder,"
            " null::text[] as defaulted_fields) t"
        ).format()

    def _created(self, name: str) -> Composed:
        value: Fragment = SQL("p.{}" if name in self.layout.links else "s.{}").format(Identifier(name))
        default = next((d for d in self.stream.defaults if d.column == name), None)
        if default is None:
            return SQL("{}").format(value)
        fallback: Fragment = SQL("s.effective_at") if default.value is EFFECTIVE_TIME else Literal(default.value)
        return SQL("case when {spoken} then {value} when not p.is_delete then {fallback} end").format(
            spoken=self._spoken(name), value=value, fallback=fallback
        )

    def update_rows(self) -> Composed:
        """Stored rows that differ. Parameters: path, run."""
        assignments: list[Fragment] = [
            SQL("{c} = {new}").format(c=Identifier(name), new=self._updated(name))
            for name in (*self.layout.columns, *self.layout.links)
        ]
        if self._has_defaults:
            assignments.append(SQL("defaulted_fields = {}").format(self._new_defaulted()))
        return SQL(
            "update {main} t set {assignments}, extra = {extra}, is_placeholder = false, deleted_at = null,"
            " {provenance} from plan p join stage s using (seq)"
            " where t.id = p.old_id and p.differs and not p.is_delete"
        ).format(
            main=self._main,
            assignments=SQL(", ").join(assignments),
            extra=self._new_extra(),
            provenance=_PROVENANCE,
        )

    def _updated(self, name: str) -> Composed:
        value: Fragment = SQL("p.{}" if name in self.layout.links else "s.{}").format(Identifier(name))
        stored = SQL("t.{}").format(Identifier(name))
        default = next((d for d in self.stream.defaults if d.column == name), None)
        if default is not None:
            fallback: Fragment = SQL("s.effective_at") if default.value is EFFECTIVE_TIME else Literal(default.value)
            stored = SQL("case when p.is_new then {} else {} end").format(fallback, stored)
        return SQL("case when {spoken} then {value} else {stored} end").format(
            spoken=self._spoken(name), value=value, stored=stored
        )

    def bury_rows(self) -> list[Composed]:
        """Stored rows that become tombstones: key and `deleted_at` stay, children go (X5). Parameters: path, run."""
        columns = [*self.layout.columns, *self.layout.links, "extra"]
        columns += ["defaulted_fields"] if self._has_defaults else []
        buried = SQL(
            "update {main} t set {nulls}, is_placeholder = false, deleted_at = s.effective_at, {provenance}"
            " from plan p join stage s using (seq) where t.id = p.old_id and p.differs and p.is_delete"
        ).format(
            main=self._main,
            nulls=_list(SQL("{} = null").format(Identifier(name)) for name in columns),
            provenance=_PROVENANCE,
        )
        orphaned = [
            SQL("delete from {t} t using plan p where t.{parent} = p.old_id and p.is_delete and p.was_live").format(
                t=Identifier(SCHEMA, children.table), parent=Identifier(children.parent)
            )
            for children in self.stream.children
        ]
        return [buried, *orphaned]

    def write_children(self, children: Children, child: ChildLayout) -> list[Composed]:
        """The lists of new rows and of rows whose list differs, line by line what differs (O7)."""
        columns = (*child.columns, "extra")
        fields: dict[str, Fragment] = {
            "t": Identifier(SCHEMA, child.table),
            "stage": _stage_of(child.table),
            "changed": _changed(child.table),
            "parent": Identifier(children.parent),
            "number": _NUMBER_NAME,
            "columns": _list(map(Identifier, columns)),
            "values": _list(SQL("c.{}").format(Identifier(c)) for c in columns),
            "stored": _list(SQL("t.{}").format(Identifier(c)) for c in columns),
            "sent": _list(SQL("excluded.{}").format(Identifier(c)) for c in columns),
            "set": _list(SQL("{c} = excluded.{c}").format(c=Identifier(c)) for c in columns),
        }
        surplus = SQL(
            "delete from {t} t using plan p where p.seq in (select seq from {changed} where is_shorter)"
            " and t.{parent} = p.id"
            " and not exists (select from {stage} c where c.seq = p.seq and c.{number} = t.{number})"
        )
        new = SQL(
            "insert into {t} ({parent}, {number}, {columns}) select p.id, c.{number}, {values}"
            " from {stage} c join plan p using (seq) where not p.was_live and not p.is_delete"
        )
        changed = SQL(
            "insert into {t} as t ({parent}, {number}, {columns}) select p.id, c.{number}, {values}"
            " from {stage} c join plan p using (seq) where p.seq in (select seq from {changed})"
            " on conflict ({parent}, {number}) do update set {set} where ({sent}) is distinct from ({stored})"
        )
        return [statement.format(**fields) for statement in (surplus, new, changed)]

    # -- counting ----------------------------------------------------------------------------------------------

    def count(self) -> Composed:
        """Outcomes of the staged records: (outcome, how many) (X11)."""
        return SQL(
            "select case when is_delete then case when was_live then 'deleted' else 'not_found' end"
            " when not was_live then 'created' when differs then 'updated' else 'unchanged' end, count(*)"
            " from plan group by 1"
        ).format()


_PROVENANCE: Final = SQL(
    "effective_at = s.effective_at, source_file = %(path)s, source_position = s.position,"
    " run_id = %(run)s, updated_at = now()"
)


def unscoped(reference: Reference, row: Identifier) -> Composed:
    """Where external ids are unique in a scope, a reference means the rows that have none."""
    scope = metadata.tables[f"{SCHEMA}.{reference.table}"].info.get("scope")
    return SQL(" and {}.{} is null").format(row, Identifier(scope)) if scope else SQL("").format()


def _stage_of(table: str) -> Identifier:
    return Identifier(f"stage_{table}")


def _changed(table: str) -> Identifier:
    return Identifier(f"changed_{table}")


def _list(parts: Iterable[Fragment]) -> Composed:
    return SQL(", ").join(parts)


def _each(template: SQL, fields: list[dict[str, Fragment]]) -> Composed:
    return SQL("").join(template.format(**field) for field in fields)


def _each_name(names: list[str]) -> Composed:
    return SQL("").join(SQL(", {}").format(Identifier(name)) for name in names)


def _copy(table: Identifier, columns: list[str]) -> Composed:
    return SQL("copy {table} ({columns}) from stdin (format csv)").format(
        table=table, columns=_list(map(Identifier, columns))
    )
