"""`sources.yaml`: what may stand there, and that every fault names line and key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from sync_pipelines.configuration.pull_settings import Secret
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.partners.replenit import CustomersOf, OrderOptions
from sync_pipelines.sample_data import sample_sources

TENANT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
EXAMPLE = f"""\
sources:
  - partner: replenit
    tenant: {TENANT}
    streams:
      orders:
        columns: {{OrderId: InvoiceNo, Quantity: Quantity, Price: UnitPrice}}
        constants: {{Currency: GBP}}
        customer_identifier: customer_id
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sources.yaml"


def load(path: Path, text: str) -> Sources:
    path.write_text(text)
    return load_sources(path)


def fault(path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path, text)
    assert caught.value.exit_status == 2
    return str(caught.value)


def settings(path: Path, *lines: str) -> StreamSettings:
    text = EXAMPLE + "".join(f"        {line}\n" for line in lines)
    return load(path, text).for_stream("replenit", TENANT, "orders")


def test_the_example_of_the_readme(path: Path) -> None:
    sources = load(path, EXAMPLE)
    assert sources.tenants("replenit") == frozenset({TENANT})
    found = sources.for_stream("replenit", TENANT, "orders")
    assert found.columns["OrderId"] == "InvoiceNo"
    assert found.constants == {"Currency": "GBP"}
    assert found.options == OrderOptions(customer_identifier="customer_id")


def test_any_other_tenant(path: Path) -> None:
    sources = load(path, EXAMPLE + "  - partner: replenit\n    tenant: '*'\n    streams: {orders: {strict: true}}\n")
    assert sources.tenants("replenit") is None
    named, other = (sources.for_stream("replenit", tenant, "orders") for tenant in (TENANT, TENANT[:-1] + "0"))
    assert (named.constants, named.strict) == ({"Currency": "GBP"}, False)
    assert (other.constants, other.strict) == ({}, True)


def test_a_tenant_listed_by_name_takes_nothing_from_any_other(path: Path) -> None:
    text = "sources:\n- {partner: nilo, tenant: a}\n- {partner: nilo, tenant: '*', streams: {stores: {strict: true}}}\n"
    sources = load(path, text)
    assert [sources.for_stream("nilo", tenant, "stores").strict for tenant in "ab"] == [False, True]


def test_the_sources_of_the_sample(path: Path) -> None:
    sources = load(path, sample_sources())
    assert sources.tenants("replenit") is None
    (options,) = [settings.options for settings in sources.streams.values()]
    assert options == OrderOptions(
        customer_identifier="customer_id", customers_of=CustomersOf(partner="traede", tenant="casa-telar")
    )


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "sources:\n", "sources: []\n"])
def test_nothing_listed(path: Path, text: str | None) -> None:
    sources = Sources() if text is None else load(path, text)
    assert load_sources(path.with_name("missing.yaml")) == Sources()
    assert sources.tenants("replenit") is None
    assert sources.for_stream("replenit", "anything", "orders") == StreamSettings(options=OrderOptions())


@pytest.mark.parametrize("written", [TENANT, TENANT.upper(), f"'{{{TENANT}}}'"])
def test_a_tenant_is_normalized_as_its_partner_does(path: Path, written: str) -> None:
    assert load(path, EXAMPLE.replace(TENANT, written)).tenants("replenit") == frozenset({TENANT})


@pytest.mark.parametrize(
    ("was", "becomes", "line", "where", "says"),
    [
        ("columns:", "colums:", 6, "sources[0].streams.orders.colums", "did you mean columns?"),
        ("OrderId:", "OrdrId:", 6, "sources[0].streams.orders.columns.OrdrId", "did you mean OrderId?"),
        ("Currency:", "Curency:", 7, "sources[0].streams.orders.constants.Curency", "did you mean Currency?"),
        ("customer_identifier:", "customer_idetifier:", 8, "customer_idetifier", "did you mean customer_identifier?"),
        ("customer_id\n", "customer\n", 8, "sources[0].streams.orders.customer_identifier", "invalid value 'customer'"),
        ("replenit", "replenti", 2, "sources[0].partner", "did you mean replenit?"),
        ("- partner: replenit\n    ", "- ", 2, "sources[0].partner", "missing"),
        (
            TENANT,
            "acme",
            3,
            "sources[0].tenant",
            "'acme' is not a tenant id of replenit; its tenant ids are GUIDs (32 hexadecimal digits), such as 7d444840",
        ),
        (f"tenant: {TENANT}", "streams: {}", 4, "sources[0].streams", "duplicate key"),
        ("orders:", "ordrs:", 5, "sources[0].streams.ordrs", "did you mean orders?"),
        ("sources:", "source:", 1, "source", "did you mean sources?"),
        ("{Currency: GBP}", "[GBP]", 7, "sources[0].streams.orders.constants", "expected keys and values"),
        ("InvoiceNo", "[a]", 6, "sources[0].streams.orders.columns.OrderId", "a valid string"),
        ("customer_identifier: customer_id", "strict: 7", 8, "sources[0].streams.orders.strict", "invalid value 7"),
        ("customer_identifier: customer_id", "timezone: Mars/X", 8, "timezone", "unknown time zone 'Mars/X'"),
        ("customer_identifier: customer_id", "encoding: utf-9", 8, "encoding", "unknown text encoding 'utf-9'"),
        ("customer_identifier: customer_id", "date_format: yyyy", 8, "date_format", "must have year"),
        ("customer_identifier: customer_id", "decimal: ;", 8, "decimal", "invalid value ';'"),
        ("customer_identifier: customer_id", "format: doc", 8, "format", "invalid value 'doc'"),
        ("customer_identifier: customer_id", "customers_of: acme", 8, "customers_of", "expected keys and values"),
        (
            "customer_identifier: customer_id",
            "customers_of: {partner: a, tenat: b}",
            8,
            "sources[0].streams.orders.customers_of.tenat",
            "did you mean tenant?",
        ),
    ],
)
def test_a_fault_names_line_and_key(path: Path, was: str, becomes: str, line: int, where: str, says: str) -> None:
    assert was in EXAMPLE
    message = fault(path, EXAMPLE.replace(was, becomes, 1))
    assert f"sources.yaml line {line}, " in message
    assert f"{where}: " in message
    assert says in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sources:\n\t- a\n", 2),
        ("sources: {\n", 2),
        ("sources:\n  - a: [1\n    b: 2\n", 3),
        ("a: *b\n", 1),
        ("a: !x 1\n", 1),
    ],
)
def test_broken_yaml_names_its_line(path: Path, text: str, line: int) -> None:
    assert f"sources.yaml line {line}: " in fault(path, text)


@pytest.mark.parametrize(
    "text", ["- a\n", "text\n", "sources: 3\n", "sources: [3]\n", "3\n", "sources: {a: b}\n", "[]\n"]
)
def test_the_wrong_shape_is_no_crash(path: Path, text: str) -> None:
    assert "sources.yaml line 1" in fault(path, text)


def test_a_document_that_contains_itself(path: Path) -> None:
    assert "nested too deeply" in fault(path, "sources: &a [*a]\n")


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"sources: \xff\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_sources(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_sources(tmp_path)


def test_one_tenant_listed_twice(path: Path) -> None:
    again = EXAMPLE.partition("\n")[2].replace(TENANT, TENANT.upper())
    assert "listed twice" in fault(path, EXAMPLE + again)


def test_the_same_key_twice(path: Path) -> None:
    assert "line 9, sources[0].streams.orders.columns: duplicate key" in fault(path, EXAMPLE + "        columns: {}\n")


def test_scalars_mean_what_they_look_like(path: Path) -> None:
    text = EXAMPLE.replace("Currency: GBP", "Currency: GBP, Color: NO, Price: 1.10, OrderDate: 2010-12-01, Quantity: 2")
    constants = load(path, text).for_stream("replenit", TENANT, "orders").constants
    assert constants["Color"] == "NO"
    assert constants["OrderDate"] == "2010-12-01"
    assert constants["Quantity"] == 2
    assert isinstance(constants["Price"], Decimal)
    assert str(constants["Price"]) == "1.10"


@pytest.mark.parametrize("written", ["null", "'null'", "", "~"])
def test_empty_is_null(path: Path, written: str) -> None:
    assert settings(path, f"empty_is: {written}").empty_is == "null"


def test_field_names_fold_case_and_underscores(path: Path) -> None:
    assert load(path, EXAMPLE.replace("OrderId:", "order_id:")).streams


def test_the_fingerprint_tells_settings_apart(path: Path) -> None:
    plain = settings(path)
    assert plain.fingerprint == settings(path).fingerprint
    assert plain.fingerprint != settings(path, "strict: true").fingerprint
    assert plain.fingerprint != settings(path, "currency_default: GBP").fingerprint


class Credentials(BaseModel):
    token: Secret


def test_a_secret_stands_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Credentials.model_validate({"token": {"env": "TOKEN_OF_ACME"}}).token
    with pytest.raises(ConfigurationError, match="TOKEN_OF_ACME is not set"):
        secret.reveal()
    monkeypatch.setenv("TOKEN_OF_ACME", "s3cret")
    assert secret.reveal() == "s3cret"
    assert "s3cret" not in repr(secret)


def test_a_secret_written_down_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not be in the file; write"):
        Credentials.model_validate({"token": "s3cret"})
