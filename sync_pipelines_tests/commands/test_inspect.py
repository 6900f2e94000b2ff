"""`inspect`: what is seen, what would happen, what is proposed; nothing is loaded, and no database is asked."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from sync_pipelines import cli
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines_tests.loading import TENANT

ORDERS = "Nº Pedido;Fecha;Correo;Código;Cantidad;Precio Unitario;Moneda\n"


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def block(self) -> Any:
        """The proposed block."""
        text = self.out[self.out.index("\nsources:") :].replace("<tenant>", "any")
        (source,) = yaml.safe_load(text)["sources"]
        ((stream, keys),) = source["streams"].items()
        return f"{source['partner']}/{stream}", keys


Inspect = Callable[..., Done]


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command in an empty folder, with a database that nobody answers at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    def run(name: str, content: str | bytes | None = None, *options: str) -> Done:
        if content is not None:
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        monkeypatch.setattr("sys.argv", ["sync-pipelines", "inspect", name, *options])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return run


def workbook(*rows: list[Any]) -> bytes:
    book: Any = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def test_a_semicolon_file_of_a_spreadsheet_in_spanish(inspect: Inspect, tmp_path: Path) -> None:
    text = f"Reporte de ventas\n\n{ORDERS}007;25/01/2024 10:30;ana@x.cl;P-1;2;1250,50;CLP\n"
    done = inspect("ventas.csv", text.encode("cp1252"))
    assert "csv, encoding cp1252, delimiter semicolon, header in line 3" in done.out
    assert "1 records: 1 would be accepted, 0 rejected. Nothing was loaded." in done.out
    assert "25/01/2024 10:30 reads as 2024-01-25 10:30:00 UTC (%d/%m/%Y %H:%M)" in done.out
    assert "numbers: decimal mark ','" in done.out
    stream, keys = done.block
    assert stream == "replenit/orders"
    assert keys == {
        "encoding": "cp1252",
        "columns": {
            "OrderId": "Nº Pedido", "Email": "Correo", "OrderDate": "Fecha", "Currency": "Moneda", "Sku": "Código",
            "ProductId": "Código", "Quantity": "Cantidad", "Price": "Precio Unitario",
        },
        "decimal": ",",
        "date_format": "%d/%m/%Y %H:%M",
    }  # fmt: skip
    assert done.status == 0
    assert sorted(os.listdir(tmp_path)) == ["ventas.csv"]


def test_personal_values_are_masked_unless_asked_for(inspect: Inspect, tmp_path: Path) -> None:
    text = "OrderId,Currency,Email,Note\nA,EUR,ana@x.cl,Calle Mayor 7\n"
    done = inspect("o.csv", text)
    assert "a***@x.cl" in done.out
    assert "Mayor" not in done.out
    shown = inspect("o.csv", None, "--unmasked")
    assert "ana@x.cl" in shown.out
    assert "Calle Mayor 7" in shown.out
    assert '"command": "inspect"' in (tmp_path / ".sync" / "logs" / "unmasked.log").read_text()


def test_refusals_are_told_by_reason_with_their_lines(inspect: Inspect) -> None:
    rows = "".join(f"{n},EUR,P,S,{quantity},2\n" for n, quantity in enumerate(["1", "many", "1.5", "x"]))
    done = inspect("o.csv", f"OrderId,Currency,ProductId,Sku,Quantity,Price\n{rows}")
    assert done.status == 3
    assert "4 records: 1 would be accepted, 3 rejected" in done.out
    told = {line.split()[0]: line.split()[1:4] for line in done.out.splitlines() if line.startswith("not_a")}
    assert told == {"not_a_number": ["2", "3,", "5"], "not_an_integer": ["1", "4", "OrderItems[0].Quantity:"]}


def test_a_file_that_would_fail_is_told_with_its_code(inspect: Inspect) -> None:
    done = inspect("o.json", '[{"OrderId": "A"},')
    assert done.status == 4
    assert "The file would fail and nothing would be loaded: not_json" in done.out


def test_dates_and_marks_that_read_two_ways_are_left_to_the_user(inspect: Inspect) -> None:
    done = inspect("o.csv", 'OrderId,Order Date,Currency,Sku,Qty,Price\n1,03/04/2024,USD,S,1,"1,500"\n')
    assert {"date_format", "thousands"}.isdisjoint(done.block[1])
    assert "# date_format: '%d/%m/%Y'   # or '%m/%d/%Y': every date fits both" in done.out
    assert '# thousands: ","   # if 1,500 has no decimals' in done.out
    assert "A guard would hold the file, and nothing would be loaded: 1 of 1 records would be rejected" in done.out
    assert done.status == 5


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        ("OrderId,Currency\n7.89E+12,EUR\n", "'OrderId' has numbers with an exponent, such as 7.89E+12 at 2"),
        ("OrderId,Currency,Sku,Qty,Price\nA,EUR,S,1,2\nTotal,,,1,2\n", "row 3 looks like a total: exclude it with"),
        ("OrderId,Currency,Zip\n" + "".join(f"{n},EUR,{z}\n" for n, z in enumerate([8320, 8321, 8322, 8323, 832])),
         "most values of 'Zip' have 4 digits, some 3, and none begins with 0: leading zeros may be lost"),
        ("OrderId,Sku,Qty,Price\nA,S,1,2\n", "no column has the currency: set"),
        ("OrderId,Currency,Note\nA,EUR,CafÃ© con leche\n", "'Note' looks decoded twice"),
        ("OrderId,Currency,Sku,Qty,Price\nA,EUR,S,1,2\n,,T,1,3\n", "1 lines have no 'OrderId'"),
    ],
)  # fmt: skip
def test_what_looks_risky_is_named(inspect: Inspect, text: str, risk: str) -> None:
    assert risk in inspect("o.csv", text).out


def test_null_words_become_a_setting(inspect: Inspect) -> None:
    done = inspect("o.csv", "OrderId,Currency,Email\nA,EUR,NULL\nB,EUR,nan\nC,EUR,ana@x.cl\n")
    assert done.block[1]["null_values"] == ["NULL", "nan"]


def test_known_layouts_are_told_by_their_headers(inspect: Inspect) -> None:
    header = "Name,Email,Financial Status,Currency,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price"
    header, line = f"{header},Lineitem sku", "#1,a@x.cl,paid,EUR,10,2024-01-05 10:00:00 -0300,1,Mug,10,M"
    done = inspect("orders_export.csv", f"{header}\n{line}\n")
    assert "It looks like Shopify orders (layout shopify_orders), for replenit/orders." in done.out
    assert done.block == ("replenit/orders", {"layout": "shopify_orders"})


def test_a_workbook_and_a_parquet_file(inspect: Inspect) -> None:
    rows: list[list[Any]] = [
        ["codigo cliente", "nombre cliente", "moneda"],
        [1001, "Ana", "CLP"],
        [1002, "Luis", "CLP"],
    ]
    done = inspect("clientes.xlsx", workbook(*rows))
    assert done.block[0] == "traede/customers"
    assert "workbook, sheet 'Sheet', header in row 1" in done.out
    assert "'codigo cliente' holds numbers, not text: leading zeros" in done.out
    written = io.BytesIO()
    pq.write_table(
        pa.table({"order_id": ["A"], "qty": [1], "price": [1.5], "currency": ["EUR"], "sku": ["x"]}), written
    )
    done = inspect("o.parquet", written.getvalue())
    assert done.block[1]["columns"]["Quantity"] == "qty"
    assert done.status == 0


def test_json_of_a_partner_needs_no_columns(inspect: Inspect) -> None:
    done = inspect("s.json", '{"stores": [{"internalCode": "S1", "name": "La Esquina"}]}')
    assert done.block == ("nilo/stores", {})
    assert done.status == 0


def test_a_file_without_a_known_ending_is_read_by_its_content(inspect: Inspect) -> None:
    done = inspect("export", "OrderId,Currency\nA,EUR\n")
    assert done.block[1]["format"] == "csv"


def test_write_puts_the_block_into_the_sources_file_once(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("# ours\nsources:\n  - partner: nilo\n    tenant: acme\n")
    text = "Order No,Currency,Sku,Qty,Price\nA,EUR,S,1,2\n"
    assert "--write needs --tenant" in inspect("o.csv", text, "--write").err
    done = inspect("o.csv", text, "--write", "--tenant", TENANT.upper())
    assert f"Put the file at replenit/{TENANT}/orders/ of the landing, then run: " in done.out
    found = load_sources(tmp_path / "sources.yaml").for_stream("replenit", TENANT, "orders")
    assert found.columns["OrderId"] == "Order No"
    assert "# ours" in (tmp_path / "sources.yaml").read_text()
    again = inspect("o.csv", None, "--write", "--tenant", TENANT)
    assert again.status == 2
    assert f"already has replenit/{TENANT}/orders" in again.err


def test_a_stream_that_is_listed_is_read_under_its_keys(inspect: Inspect, tmp_path: Path) -> None:
    source = f"partner: replenit, tenant: {TENANT}, streams: {{orders: {{columns: {{OrderId: Code}}}}}}"
    (tmp_path / "sources.yaml").write_text(f"sources: [{{{source}}}]")
    folder = tmp_path / ".sync" / "landing" / "replenit" / TENANT / "orders"
    folder.mkdir(parents=True)
    (folder / "o.csv").write_text("Code,Currency\nA,EUR\n")
    done = inspect(str(folder / "o.csv"))
    assert "has this stream already; the file was read under its keys" in done.out
    assert "1 records: 1 would be accepted" in done.out
    assert "\nsources:" not in done.out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--stream", "replenit/order"), "unknown stream 'replenit/order'; did you mean replenit/orders?"),
        (
            ("--stream", "replenit/orders", "--tenant", "acme"),
            "'acme' is not a tenant id of replenit; its tenant ids are GUIDs (32 hexadecimal digits), such as 7d444840",
        ),
    ],
)
def test_wrong_usage_is_told(inspect: Inspect, options: tuple[str, ...], why: str) -> None:
    done = inspect("o.csv", "OrderId\nA\n", *options)
    assert done.status == 2
    assert why in done.err


def test_a_file_of_no_stream_one_can_tell_is_said_to_be_so(inspect: Inspect) -> None:
    done = inspect("o.csv", "left,right\nana@x.cl,2\n")
    assert done.status == 4
    assert "Its columns do not identify a stream. Name one, as in --stream replenit/orders." in done.out
    assert "a***@x.cl" in done.out
    assert "\nsources:" not in done.out
    assert "none of its columns tells the key" not in inspect("o.csv", None, "--stream", "nilo/stores").out


def test_messages_of_tools_are_unwrapped(inspect: Inspect) -> None:
    lines = "".join(
        f'{{"_airbyte_ab_id": "{n}", "_airbyte_data": {{"OrderId": "{n}", "Currency": "EUR"}}}}\n' for n in "AB"
    )
    done = inspect("o.jsonl", lines)
    assert done.block == ("replenit/orders", {"record": "_airbyte_data"})
    assert "2 records: 2 would be accepted" in done.out


def test_a_compressed_file_under_a_plain_name_is_told(inspect: Inspect) -> None:
    done = inspect("o.csv", gzip.compress(b"OrderId,Currency\nA,EUR\n"))
    assert done.status == 4
    assert "it looks like gzip: rename the file to .gz" in done.out


def test_columns_that_reach_into_lists_are_told_from_extras(inspect: Inspect) -> None:
    done = inspect("s.csv", "internalCode,addresses[0].address,addresses[0].zipCode,mood\nS1,Av. 1,123,fine\n")
    told = {line.split()[0]: line.split()[1] for line in done.out.splitlines() if "100 %" in line}
    assert told["addresses[0].zipCode"] == "addresses[0].zipCode"
    assert told["mood"] == "extra"


def test_of_a_large_file_the_first_values_are_looked_at_and_all_records_read(
    inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("inspection.sight", "commands.inspect"):
        monkeypatch.setattr(f"sync_pipelines.{module}.LOOKED_AT", 200)
    lines = "".join(f"{n},EUR,S{n % 50},1,2.50\n" for n in range(300))
    done = inspect("o.csv", "OrderId,Currency,Sku,Qty,Price\n" + lines)
    assert "(of the first 200 records)" in done.out
    assert "300 records: 300 would be accepted" in done.out


def test_a_file_that_is_not_there_or_empty(inspect: Inspect) -> None:
    assert inspect("none.csv").status == 2
    done = inspect("o.csv", b"")
    assert done.status == 4
    assert "empty_file" in done.out + done.err
    assert "Traceback" not in done.out + done.err
