"""Orders of flat files are whole or not at all (E2): damaged lines, lines without a key, totals cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import ExportError
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.normalize.keeping_in import Keeping

HEADER = "OrderId,ProductId,Sku,Quantity,Price,Description"
Kept = tuple[dict[str, list[str]], list[tuple[str, str | None, str]]]
Read = Callable[..., Kept]


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path / "kept")


@pytest.fixture
def read(keeping: Keeping) -> Read:
    """Reads lines below a header: products of each order, and position, key and code of each reject."""

    def read_lines(*lines: str, header: str = HEADER, **options: Any) -> Kept:
        text = "\n".join([header, *lines]) + "\n"
        return products_and_rejects(keeping, text, **options)

    return read_lines


def products_and_rejects(keeping: Keeping, text: str | bytes, **options: Any) -> Kept:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    kept = keeping.keep_bytes(content, name="x.csv", **{"constants": {"Currency": "USD"}, **options})
    orders = {
        row["external_id"]: [item["product_id"] for item in row["order_items"] or ()]
        for block in kept.blocks()
        for row in block.to_pylist()
    }
    return orders, [(r["position"], r["external_id"], r["code"]) for r in kept.rejects()]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("A,p2,s,2,20,Silla, azul", "too_many_cells"),
        ('A,p2,s,2,20,"Silla "azul" x"', "bad_quotes"),
        ('A,p2,s,2,20,"Silla', "bad_quotes"),
        ('"A",p2,s,2,20,"Silla "azul" x"', "bad_quotes"),
        (" A ,p2,s,2,20,Silla, azul", "too_many_cells"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_an_order_of_which_a_line_is_damaged_is_refused_whole_wherever_its_lines_are(
    line: str, code: str, place: int, read: Read
) -> None:
    lines = ["A,p1,s,1,10,x", "B,p1,s,1,10,x", "A,p3,s,1,10,x"]
    lines.insert(place, line)
    orders, rejects = read(*lines)
    assert orders == {"B": ["p1"]}
    assert (str(place + 2), "A", code) in rejects
    first = 2 + next(n for n, sent in enumerate(lines) if sent.startswith("A,p1"))
    assert (str(first), "A", "order_incomplete") in rejects
    assert len(rejects) == 2


def test_the_last_line_cut_off_refuses_its_order(keeping: Keeping) -> None:
    text = f"{HEADER}\nA,p1,s,1,10,x\nB,p1,s,1,10,x\nB,p2,s,1"
    orders, rejects = products_and_rejects(keeping, text)
    assert orders == {"A": ["p1"]}
    assert rejects == [("3", "B", "order_incomplete"), ("4", "B", "truncated_line")]


def test_the_message_names_line_and_damage(keeping: Keeping) -> None:
    kept = keeping.keep(
        f"{HEADER}\nA,p1,s,1,10,x\nA,p2,s,2,20,Silla, azul\n", name="x.csv", constants={"Currency": "USD"}
    )
    (first, _) = kept.rejects()
    assert first["message"] == "the line at 3 is damaged (too_many_cells), so the whole order is rejected"


def test_an_order_whose_only_line_is_damaged_takes_no_other_with_it(read: Read) -> None:
    orders, rejects = read("A,p1,s,1,10,x", "B,p2,s,2,20,Silla, azul", "C,p3,s,1,10,x")
    assert orders == {"A": ["p1"], "C": ["p3"]}
    assert rejects == [("3", "B", "too_many_cells")]


NAME_FIRST = "Description,OrderId,ProductId,Sku,Quantity,Price"


def test_a_key_behind_the_damage_is_looked_for_near_its_column(read: Read) -> None:
    orders, rejects = read(
        "x,A,p1,s,1,10", "x,B,p1,s,1,10", "Silla, azul,A,p2,s,2,20", "x,C,p1,s,1,10", header=NAME_FIRST
    )
    assert orders == {"B": ["p1"], "C": ["p1"]}
    assert rejects == [("2", "A", "order_incomplete"), ("4", None, "too_many_cells")]


@pytest.mark.parametrize("line", ["Silla, azul,Z,p2,s,2,20", '"Silla "azul",Z,p2,s,2,20', '"Silla,Z,p2,s,2,20'])
def test_where_the_key_cannot_be_read_the_orders_before_and_after_are_refused(line: str, read: Read) -> None:
    orders, rejects = read(
        "x,A,p1,s,1,10", "x,B,p1,s,1,10", line, "x,C,p1,s,1,10", "x,D,p1,s,1,10", "x,B,p2,s,1,10", header=NAME_FIRST
    )
    assert orders == {"A": ["p1"], "D": ["p1"]}
    assert [(position, code) for position, _, code in rejects if code == "order_incomplete"] == [
        ("3", "order_incomplete"),
        ("5", "order_incomplete"),
    ]


def test_a_bad_byte_refuses_the_order_of_its_line_alone(keeping: Keeping) -> None:
    text = f"{HEADER}\nA,p1,s,1,10,x\nB,p1,s,1,10,Caf\udce9\nC,p1,s,1,10,x\nB,p2,s,1,10,x\n"
    orders, rejects = products_and_rejects(keeping, text.encode("utf-8", "surrogateescape"))
    assert orders == {"A": ["p1"], "C": ["p1"]}
    assert rejects == [("3", "B", "bad_encoding"), ("5", "B", "order_incomplete")]


def test_a_bad_byte_in_a_key_refuses_the_orders_before_and_after(keeping: Keeping) -> None:
    text = f"{HEADER}\nA,p1,s,1,10,x\nB\udce9,p1,s,1,10,x\nC,p1,s,1,10,x\nD,p2,s,1,10,x\n"
    orders, rejects = products_and_rejects(keeping, text.encode("utf-8", "surrogateescape"))
    assert orders == {"D": ["p2"]}
    assert [code for _, _, code in rejects] == ["order_incomplete", "bad_encoding", "order_incomplete"]


def test_damaged_lines_one_after_the_other_refuse_the_orders_around_them(read: Read) -> None:
    bad = '"Silla "azul",?,p2,s,2,20'
    orders, rejects = read("x,A,p1,s,1,10", bad, bad, "x,C,p1,s,1,10", "x,D,p1,s,1,10", header=NAME_FIRST)
    assert orders == {"D": ["p1"]}
    assert sorted(code for _, _, code in rejects) == ["bad_quotes"] * 2 + ["order_incomplete"] * 2


def test_without_cells_of_items_a_damaged_line_is_one_reject(read: Read) -> None:
    orders, rejects = read("A,a@x.cl", '"B,b@x.cl', "C,c@x.cl", header="OrderId,Email")
    assert (set(orders), rejects) == ({"A", "C"}, [("3", None, "bad_quotes")])


# -- lines without a key ---------------------------------------------------------------------------------------

ODOO = "OrderId,Email,ProductId,Sku,Quantity,Price,Description"
ODOO_LINES = ("A,ana@x.cl,p1,s,1,10,", ",,p2,s,2,20,", ",,p3,s,3,30,", "B,bob@x.cl,p1,s,1,10,")


def test_lines_without_a_key_refuse_the_order_above_and_name_the_setting(read: Read, keeping: Keeping) -> None:
    orders, rejects = read(*ODOO_LINES, header=ODOO)
    assert orders == {"B": ["p1"]}
    assert rejects == [("2", "A", "order_incomplete"), ("3", None, "key_missing"), ("4", None, "key_missing")]
    kept = keeping.keep("\n".join([ODOO, *ODOO_LINES]), name="x.csv", constants={"Currency": "USD"})
    assert "`fill_down: [OrderId]`" in next(iter(kept.rejects()))["message"]


@pytest.mark.parametrize("fields", [["OrderId"], ["OrderId", "Email"], ["order_id"]])
@pytest.mark.parametrize("empty_is", ["absent", "null"])
def test_fill_down_reads_lines_without_a_key_as_those_of_the_order_above(
    fields: list[str], empty_is: str, read: Read
) -> None:
    orders, rejects = read(*ODOO_LINES, header=ODOO, fill_down=fields, empty_is=empty_is)
    assert (orders, rejects) == ({"A": ["p1", "p2", "p3"], "B": ["p1"]}, [])


def test_a_number_with_a_decimal_comma_and_one_without_are_one_key(keeping: Keeping) -> None:
    text = f"{HEADER}\n22423,p1,s,1,10,x\n22424,p1,s,1,10,x\n22423,p2,s,1,10,x\n".replace(",", ";")
    text = text.replace("22423;p2", "22423,0;p2")
    orders, rejects = products_and_rejects(keeping, text, decimal=",")
    assert (orders, rejects) == ({"22423": ["p1", "p2"], "22424": ["p1"]}, [])


def test_fill_down_by_the_name_of_a_column(read: Read) -> None:
    header = ODOO.replace("OrderId", "Order Reference")
    columns = {"OrderId": "Order Reference"}
    orders, rejects = read(*ODOO_LINES, header=header, columns=columns, fill_down=["Order Reference"])
    assert (orders, rejects) == ({"A": ["p1", "p2", "p3"], "B": ["p1"]}, [])


def test_fill_down_takes_nothing_from_one_order_into_another(keeping: Keeping) -> None:
    text = f"{ODOO}\nA,ana@x.cl,p1,s,1,10,\nB,,p1,s,1,10,\n,,p2,s,1,10,\n"
    kept = keeping.keep(text, name="x.csv", constants={"Currency": "USD"}, fill_down=["OrderId", "Email"])
    rows = [row for block in kept.blocks() for row in block.to_pylist()]
    assert [(row["external_id"], row["email"]) for row in rows] == [("A", "ana@x.cl"), ("B", None)]


def test_fill_down_of_groups_above_the_orders(keeping: Keeping) -> None:
    text = (
        "Date,OrderId,ProductId,Sku,Quantity,Price\n2024-01-01,A,p1,s,1,1\n,,p2,s,1,1\n,B,p1,s,1,1\n"
        "2024-01-02,,p9,s,1,1\n2024-01-02,C,p1,s,1,1\n"
    )
    options: dict[str, Any] = {"columns": {"OrderDate": "Date"}, "fill_down": ["OrderDate", "OrderId"]}
    kept = keeping.keep(text, name="x.csv", constants={"Currency": "USD"}, **options)
    rows = [row for block in kept.blocks() for row in block.to_pylist()]
    found = [(row["external_id"], row["ordered_at"].day, len(row["order_items"])) for row in rows]
    assert found == [("A", 1, 2), ("C", 2, 1)]
    assert [(r["position"], r["code"]) for r in kept.rejects()] == [("4", "order_incomplete"), ("5", "key_missing")]


@pytest.mark.parametrize("fill_down", [[], ["OrderId"]])
def test_a_line_without_a_key_and_without_an_item_belongs_to_no_order(fill_down: list[str], read: Read) -> None:
    orders, rejects = read(
        ",p0,s,1,1,", "A,p1,s,1,10,", ",,,,,thank you", "B,p1,s,1,10,", ", , ,,,  ", fill_down=fill_down
    )
    assert orders == {"A": ["p1"], "B": ["p1"]}
    assert [(position, code) for position, _, code in rejects if code != "key_missing"] == []


def test_below_a_damaged_line_nothing_is_filled_from_above_it(read: Read) -> None:
    bad = '"x "y",Z,p0,s,1,1'
    orders, rejects = read(
        "x,A,p1,s,1,10", bad, ",,p2,s,1,10", "x,B,p1,s,1,10", "x,C,p1,s,1,1", header=NAME_FIRST, fill_down=["OrderId"]
    )
    assert orders == {"C": ["p1"]}
    assert ("4", None, "key_missing") in rejects
    orders, _ = read("A,p1,s,1,1,", "B,p2,s,1,1,x,y", ",p3,s,1,1,", "C,p1,s,1,1,", fill_down=["OrderId"])
    assert orders == {"A": ["p1"], "C": ["p1"]}
    orders, _ = read("A,p1,s,1,1,", ",p2,s,1,1,x,y", "C,p1,s,1,1,", fill_down=["OrderId"])
    assert orders == {"C": ["p1"]}


def test_fill_down_of_records_that_are_one_line_each(tmp_path: Path) -> None:
    kept = Keeping(tmp_path / "traede", "traede/customers").keep(
        "Country,customer_number,name,currency\nCL,1,a,CLP\n,2,b,CLP\nPE,3,c,PEN\n", name="x.csv", fill_down=["Country"]
    )
    rows = [row for block in kept.blocks() for row in block.to_pylist()]
    assert [row["extra"] for row in rows] == ['{"Country":"CL"}', '{"Country":"CL"}', '{"Country":"PE"}']


@examples(60)
@given(data=st.data())
def test_no_order_is_kept_with_fewer_lines_than_were_sent(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is done to some lines, each order comes whole or is refused."""
    header = data.draw(st.sampled_from([HEADER, NAME_FIRST]))
    keys = data.draw(st.lists(st.sampled_from(["A-1", "B-2", "C-3", "1"]), min_size=1, max_size=8))
    cells = [
        dict(OrderId=key, ProductId=f"p{n}", Sku="s", Quantity="1", Price="10", Description=f"d{n}")
        for n, key in enumerate(keys)
    ]
    lines = [",".join(row[name] for name in header.split(",")) for row in cells]
    harm = st.sampled_from([("d", "d,"), ("d", 'd"'), ("d", '"d'), ("d", '"d"d'), ("d", "d,e,")])
    for place in data.draw(st.lists(st.sampled_from(range(len(lines))), max_size=2, unique=True)):
        lines[place] = lines[place].replace(*data.draw(harm), 1)
    sent: dict[str, list[str]] = {}
    for row in cells:
        sent.setdefault(row["OrderId"], []).append(row["ProductId"])
    keeping = Keeping(tmp_path_factory.mktemp("kept") / "kept")
    orders, _ = products_and_rejects(keeping, "\n".join([header, *lines]))
    assert {key: products for key, products in orders.items() if key in sent and products != sent[key]} == {}


# -- totals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constants", [{}, {"UniqueQuantity": 7}])
def test_a_total_whose_own_cell_is_empty_is_computed_from_the_lines(
    keeping: Keeping, constants: dict[str, Any]
) -> None:
    text = (
        "OrderId,ProductId,Sku,Quantity,Price,TotalRevenue,TotalQuantity\n"
        "A,p,s,2,10,,\nA,q,s,1,5,,\nB,p,s,1,10,99,\nB,q,s,1,10,,9\nC,p,s,3,1.5,,\n"
    )
    kept = keeping.keep(text, name="x.csv", constants={"Currency": "USD", **constants})
    rows = [row for block in kept.blocks() for row in block.to_pylist()]
    unique = constants.get("UniqueQuantity")
    assert [
        (row["external_id"], row["total_revenue"], row["total_quantity"], row["unique_quantity"]) for row in rows
    ] == [
        ("A", Decimal("25.0000"), 3, unique or 2),
        ("B", Decimal("99.0000"), 9, unique or 2),
        ("C", Decimal("4.5000"), 3, unique or 1),
    ]


def test_fill_down_of_a_column_that_is_not_there_fails_the_file(keeping: Keeping) -> None:
    with pytest.raises(ExportError, match="`fill_down` fills the column 'Pedido', which is missing"):
        keeping.keep("\n".join([ODOO, *ODOO_LINES]), name="x.csv", fill_down=["Pedido"])
