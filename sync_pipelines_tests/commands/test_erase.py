"""`erase` from the command line: one person in the streams of all partners, the receipt, and wrong input."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from backports import zstd

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.erasures import one_at_a_time, rewrite_tables
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.commands.conftest import call
from sync_pipelines_tests.loading import TENANT, item, order

__all__ = ["call"]

KEY, EMAIL = "PERSON-4711", "ana.unica@example.cl"
PERSON = ("--partner", "traede", "--tenant", TENANT, "--customer", KEY, "--also-email", EMAIL)
STORE = {
    "internalCode": "S1", "name": "Shop", "legalName": "L", "legalId": "1", "supportContactEmail": EMAIL.upper(),
    "addresses": [{"address": "x", "zipCode": "1"}], "users": ["other", KEY, EMAIL],
}  # fmt: skip
EXPORTS: dict[str, Any] = {
    f"traede/{TENANT}/customers/2024-01-01.json": {
        "customers": [
            {"customer_number": KEY, "name": "Ana", "currency": "CLP", "email": EMAIL},
            {"customer_number": "9", "name": "Other", "currency": "CLP", "metadata": {"referred_by": EMAIL}},
            {"customer_number": KEY, "name": "", "currency": "?", "email": EMAIL},
        ]
    },
    f"replenit/{TENANT}/orders/2024-01-01.json": [
        order("A", CustomerId=KEY, Email=EMAIL, OrderItems=[item()]),
        order("B", CustomerId="9", Email="b@example.cl", OrderItems=[item()]),
        {"OrderId": "C", "Email": EMAIL, "CustomerId": KEY},
    ],
    f"nilo/{TENANT}/stores/2024-01-01.json": [STORE],
    f"reten/{TENANT}/commerces/2024-01-01.json": {
        "items": [
            {
                "external_id": "M1",
                "name": "Commerce",
                "users": [
                    {"external_id": "U1", "name": "Ana", "contacts": [{"contact_type": "EMAIL", "value": EMAIL}]},
                    {"external_id": "U2", "name": "Bea", "contacts": [{"contact_type": "EMAIL", "value": "b@x.cl"}]},
                ],
            }
        ]
    },
    f"pocketflows/{TENANT}/customers/2024-01-01.json": [
        {"external_id": "P1", "business_id": "B", "full_name": "Ana", "email_address": EMAIL},
        {"external_id": "P2", "business_id": "B", "full_name": "Bea", "email_address": "b@x.cl"},
    ],
}


def put(landing: str, exports: dict[str, Any] = EXPORTS) -> None:
    for path, content in exports.items():
        target = Path(landing) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))


def everything(settings: Settings) -> dict[str, str]:
    """Every table of the database and every file of the state folder, as text."""
    found: dict[str, str] = {}
    with psycopg.connect(settings.database_url or "") as connection:
        tables = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE'"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(f'select t::text from "{schema}"."{table}" t'.encode()).fetchall()
            found[f"{schema}.{table}"] = "\n".join(row for (row,) in rows)
    for path in settings.home.rglob("*"):
        if path.is_file() and not path.is_relative_to(settings.home / "landing"):
            content = path.read_bytes()
            found[str(path.relative_to(settings.home))] = "\n".join(map(repr, [content, *pieces(content)]))
    return found


def pieces(content: bytes) -> list[bytes]:
    """What is compressed somewhere in some bytes."""
    found, start = [], 0
    while (start := content.find(b"\x28\xb5\x2f\xfd", start)) >= 0:
        with suppress(zstd.ZstdError):
            found.append(zstd.ZstdDecompressor().decompress(content[start:], 1 << 24))
        start += 4
    return found


def where(settings: Settings) -> list[str]:
    return [n for n, text in everything(settings).items() if KEY in text or EMAIL in text.lower()]


def test_one_person_in_all_streams_is_nowhere_after(call: Call, settings: Settings, landing: str) -> None:
    sources = {"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": TENANT}}
    source = {"partner": "replenit", "tenant": TENANT, "streams": {"orders": sources}}
    Path(settings.sources).write_text(json.dumps({"sources": [source]}))
    put(landing)
    assert call("sync").status == 3
    assert any("archive/records" in place for place in where(settings))

    preview = call("erase", *PERSON, "--preview", "--json")
    assert preview.status == 0 and preview.json["found"]["rows of customers"] == 3
    assert where(settings)

    done = call("erase", *PERSON, "--reason", "asked", "--json")

    assert (done.status, done.json["found_again"], done.json["errors"]) == (0, {}, [])
    assert len(done.json["raw_exports_rewritten"]) == 5 and not done.json["raw_exports_dropped"]
    assert len(done.json["in_landing"]) == 5
    assert where(settings) == []
    assert call("sql", "select user_ref from sync.store_users", "--format", "json").json == [{"user_ref": "other"}]
    assert call("sql", "select external_id from sync.commerce_users", "--format", "json").json == [
        {"external_id": "U2"}
    ]
    receipt = Path(done.json["receipt"])
    assert receipt.stat().st_mode & 0o777 == 0o600

    for more in ((), ("--archive",)):
        verified = call("verify", *more)
        assert verified.status == 0, verified

    again = call("erase", *PERSON, "--reason", "asked")
    assert again.status == 0 and "erased already" in again.out

    put(landing, {path.replace("-01.json", "-02.json"): content for path, content in EXPORTS.items()})
    assert call("sync").status == 0
    assert call("rejects", "replay").status in (0, 3)
    with psycopg.connect(settings.database_url or "") as connection:
        connection.execute("drop schema sync cascade")
    rebuilt = call("verify", "--repair")
    assert rebuilt.status == 0, rebuilt
    assert where(settings) == []
    assert call("sql", "select count(*) n from sync.erasures", "--format", "json").json == [{"n": 9}]


def test_files_of_the_server_do_not_keep_the_person(
    database: Database, server: Database, settings: Settings, call: Call, landing: str
) -> None:
    put(landing, {path: content for path, content in EXPORTS.items() if path.startswith("traede")})
    call("sync")
    assert in_files(server, database)
    assert call("erase", *PERSON, "--reason", "asked").status == 0

    assert rewrite_tables(replace(database, embedded=True)) is None

    assert in_files(server, database) == []


def in_files(server: Database, database: Database) -> list[str]:
    """The files of a database that have the person, after everything is written to them."""
    with server.connect(autocommit=True) as admin, database.connect() as connection:
        admin.execute("checkpoint")
        (oid,) = connection.execute("select oid from pg_database where datname = current_database()").fetchone() or (0,)
        # A server's working folder is that of its data.
        files = list(Path(f"/proc/{connection.info.backend_pid}/cwd/base/{oid}").iterdir())
        contents = {path.name: path.read_bytes().lower() for path in files}
    return [name for name, content in contents.items() if KEY.lower().encode() in content or EMAIL.encode() in content]


WRONG = [
    (("--partner", "treade", "--tenant", "a", "--customer", "1", "--reason", "x"), "did you mean"),
    (("--partner", "traede", "--tenant", "nobody", "--customer", "1", "--reason", "x"), "unknown tenant"),
    (("--partner", "traede", "--tenant", TENANT, "--customer", "PERSON-4712", "--reason", "x"), "nobody"),
    (("--partner", "traede", "--tenant", TENANT, "--customer", KEY), "reason"),
    (("--partner", "traede", "--tenant", TENANT, "--customer", KEY, "--reason", " "), "reason"),
    (("--partner", "traede", "--tenant", TENANT, "--reason", "x"), "name the person"),
    (("--partner", "traede", "--tenant", TENANT, "--customer", " ", "--reason", "x"), "name the person"),
    (("--partner", "traede", "--tenant", TENANT, "--also-email", "ana", "--reason", "x"), "email"),
    (("--partner", "traede", "--tenant", TENANT, "--customer", KEY, "--lift", "--reason", "x"), "no erasure"),
    ((*PERSON, "--lift", "--preview", "--reason", "x"), "without --preview"),
    ((*PERSON[:6], "--also-email", "", "--reason", "x"), "name the person"),
    ((*PERSON[:6], "--also-email", "ana@@example.cl", "--reason", "x"), "not an email"),
    ((*PERSON[:6], "--also-email", "a@x.cl,b@x.cl", "--reason", "x"), "not an email"),
    ((*PERSON[:6], "--also-email", "Ana <a@x.cl>", "--reason", "x"), "not an email"),
]


def test_wrong_input_is_one_sentence_and_changes_nothing(
    call: Call, settings: Settings, landing: str, database: Database
) -> None:
    put(landing, {path: content for path, content in EXPORTS.items() if path.startswith("traede")})
    call("sync")

    for arguments, said in WRONG:
        done = call("erase", *arguments)
        assert done.status == 2 and said in done.err and "Traceback" not in done.err, (arguments, done)

    with one_at_a_time(database):
        busy = call("erase", *PERSON, "--reason", "x")
    assert busy.status == 1 and "another erasure is running" in busy.err and "Traceback" not in busy.err

    assert not (settings.archive / "erasures.json").exists()
