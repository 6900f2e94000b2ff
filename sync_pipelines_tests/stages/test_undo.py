"""Undo equals never loaded: any set of exports in any order, several at once, between loads, redo after (U).

Histories are those of the law tests. The oracle is a clean load of what is left; for Replenit's orders also the plain
fold of `test_laws`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.stages.withdrawal import Decided, Undone, redo, undo
from sync_pipelines_tests import test_laws, test_laws_identity, test_laws_partners, test_laws_references
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, lines

WHY = Decided("a wrong file", "ana")


@dataclass(frozen=True)
class Put:
    """An export as a file of the landing."""

    path: str
    content: str


def withdraw(site: Site, *paths: str, is_preview: bool = False) -> Undone:
    ids = [entry.id for entry in site.ledger() if entry.path in paths]
    return undo(site.workspace(), ids, WHY, is_preview=is_preview)


def put_back(site: Site, *paths: str) -> None:
    for entry in redo(site.workspace(), [e.id for e in site.ledger() if e.path in paths], WHY):
        assert entry.status == "loaded", entry.error


def load(site: Site, exports: Sequence[Put]) -> None:
    for export in exports:
        site.put_at(export.path, export.content)
    for entry in site.sync():
        assert entry.status == "loaded", entry.error


def contents(site: Site) -> Any:
    """Rows without ids and last writes, and the rejects that are neither resolved nor withdrawn."""
    names = ("path", "position", "code", "field_path", "status")
    rejects = [[r[name] for name in names] for r in site.rejects() if r["status"] not in ("resolved", "withdrawn")]
    if site.query("select from sync.export_files where partner = 'pocketflows'"):
        return test_laws_identity.comparable(site, "commerces", "customers")[0], rejects
    return site.tables(), rejects


@st.composite
def history(draw: st.DrawFn) -> list[Put]:
    kind = draw(st.sampled_from(["orders", "stores", "commerces", "customers", "businesses", "named"]))
    if kind == "orders":
        folder = f"replenit/{TENANT}/orders"
        return [Put(f"{folder}/{export.name}", export.content) for export in draw(test_laws.history())]
    if kind in ("commerces", "customers"):
        record, path, body, folder = {
            "commerces": (test_laws_partners.commerce, "/api/commerces/sync", "items", "reten/acme/commerces"),
            "customers": (test_laws_partners.customer, "/customers/sync", "customers", "traede/acme/customers"),
        }[kind]
        exports = draw(test_laws_partners.history(record, path, body))
        return [Put(f"{folder}/{export.name}", lines(*export.entries)) for export in exports]
    identity = test_laws_identity
    if kind == "stores":
        entry = st.one_of(identity.whole_store, identity.part_store, identity.store_call(), identity.store_call())
        found = draw(identity.history("nilo/acme/stores", entry))
    elif kind == "businesses":
        found = draw(identity.history("pocketflows/acme/businesses", identity.business))
    else:
        found = draw(test_laws_references.history())
    return [Put(export.path, lines(*export.entries)) for export in found]


@examples(60, at_least=12)
@given(data=st.data())
def test_undo_equals_never_loaded(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    exports = data.draw(history())
    arriving = list(data.draw(st.permutations(exports)))
    site, loaded, gone = fresh_site(), list[Put](), list[Put]()
    while arriving:
        some = [arriving.pop() for _ in range(data.draw(st.integers(1, len(arriving))))]
        load(site, some)
        loaded += some
        if wrong := data.draw(st.lists(st.sampled_from(loaded), unique=True, max_size=3)):
            withdraw(site, *(export.path for export in wrong))
            loaded, gone = [e for e in loaded if e not in wrong], gone + wrong
        if gone and (right := data.draw(st.lists(st.sampled_from(gone), unique=True, max_size=2))):
            put_back(site, *(export.path for export in right))
            loaded, gone = loaded + right, [e for e in gone if e not in right]
    clean = fresh_site()
    for export in sorted(loaded, key=lambda export: export.path):
        load(clean, [export])
    assert contents(site) == contents(clean)
    assert not disowned(site, gone)


def disowned(site: Site, gone: Sequence[Put]) -> list[Any]:
    """Rows whose last writer is a withdrawn export."""
    paths = [export.path for export in gone]
    return [
        row
        for table in ("orders", "customers", "commerces", "stores")
        for row in site.query(f"select * from sync.{table} where source_file = any(%s)", [paths])
    ]
