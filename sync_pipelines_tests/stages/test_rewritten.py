"""A file that is written in place while it is read is never loaded as a mixture of old and new."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from typing import BinaryIO, cast

import pytest

from sync_pipelines.exports.landing import Landing
from sync_pipelines.stages import export_stages
from sync_pipelines_tests.loading import Site, order


@pytest.mark.parametrize("at_once", [False, True], ids=["stage by stage", "archived while read"])
def test_a_file_rewritten_in_place_while_it_is_read_waits_for_the_next_look(site: Site, at_once: bool) -> None:
    many = [order(f"A{number:05}", TotalQuantity=1) for number in range(60_000)]
    path = site.put("2026-06-01.ndjson", "\n".join(map(json.dumps, many)))
    new = path.read_bytes().replace(b'"TotalQuantity": 1', b'"TotalQuantity": 2')
    status, workspace = path.stat(), site.workspace()
    (entry,) = export_stages.discover(workspace).pending
    opened = workspace.landing.open
    with path.open("r+b") as writer:

        class Rewritten(Landing):
            def open(self, path: str) -> BinaryIO:
                content = opened(path)
                cast(io.BufferedReader, content).peek()
                writer.write(new)
                writer.flush()
                os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
                return content

        torn = replace(workspace, landing=Rewritten(site.settings.landing))
        if at_once:
            with site.database.connect(autocommit=True) as connection, pytest.raises(Exception, match=r"changed while"):
                export_stages.archive_and_keep(torn, connection, entry)
        else:
            after = export_stages.load_export(torn, entry.id)
            assert (after.status, after.error) == ("pending", None)
    (after,) = site.ledger()
    assert (after.status, after.attempts, after.sha256, after.kept, after.error) == ("pending", 0, None, None, None)
    assert [entry.status for entry in site.sync()] == ["loaded"]
    assert {row["total_quantity"] for row in site.tables()["orders"].values()} == {2}
