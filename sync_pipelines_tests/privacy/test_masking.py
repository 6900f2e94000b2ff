"""Masks: the shape stays, the value does not, and a mask of a mask is itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.personal import Kind
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.privacy.masking import masked, masked_error, masked_message, masked_trace, without_emails
from sync_pipelines.privacy.personal_data import masked_reason, masked_record, masked_row

KINDS: tuple[Kind, ...] = ("plain", "text", "email", "phone", "contact")


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("email", "maria@x.cl", "m***@x.cl"),
        ("email", "no address", "n* a******"),
        ("phone", "+56912345678", "+56*******78"),
        ("phone", "12345", "1****"),
        ("phone", 56912345678, "56*******78"),
        ("contact", "+56 2 2345 6789", "+56 * **** **89"),
        ("text", "María Pérez 742", "M**** P**** 7**"),
        ("contact", {"a": ["ana@x.cl", None, True]}, {"a": ["a***@x.cl", None, True]}),
        ("plain", "order of ana@x.cl", "order of a***@x.cl"),
    ],
)
def test_masks(kind: Kind, value: object, shown: object) -> None:
    assert masked(value, kind) == shown


@given(st.text(), st.sampled_from(KINDS))
def test_a_mask_of_a_mask_is_itself(text: str, kind: Kind) -> None:
    once = masked(text, kind)
    assert masked(once, kind) == once
    assert masked_message(masked_message(text, kind), kind) == masked_message(text, kind)


@given(st.emails().filter(lambda address: not set(address) & set("/=")))
def test_no_address_stays(address: str) -> None:
    assert address not in without_emails(f"Key (email)=({address}) exists") or address[0] == "*"


def test_a_record_quoted_whole_is_masked_whichever_field_lacks() -> None:
    message = 'customer_number: no key, got {"name":"Ana Rojas","phone":"+56912345678"}'
    assert masked_message(message, "plain") == (
        'customer_number: no key, got {"name":"A** R****","phone":"+56*******78"}'
    )


def test_traces_keep_frames_and_lose_values() -> None:
    try:
        raise ValueError("row 'Ana Rojas' of ana@x.cl at postgresql://u:p@ss@h/db\nDETAIL:  Key (name)=(Ana)")
    except ValueError as error:
        trace = masked_trace(error)
    assert "test_traces_keep_frames" in trace
    assert "Ana Rojas" not in trace.split("ValueError: ")[-1] and "(Ana)" not in trace.split("DETAIL")[-1]
    assert masked_error("column 'external_id' is gone") == "column 'external_id' is gone"


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)
def test_what_no_contract_knows_is_personal(stream: object) -> None:
    assert masked_record(stream, {"nickname": "Anita Rojas"}) == {"nickname": "A**** R****"}  # type: ignore[arg-type]
    assert masked_row(stream, {"extra": {"nick": "Anita"}}) == {"extra": {"nick": "A****"}}  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["legalId", "upsert[1].legalId"])
def test_F07_a_field_within_a_batch_is_masked_as_it_is_elsewhere(path: str) -> None:
    stores = find_stream("nilo", "stores")
    assert stores is not None
    message = f'{path}: The value of a text field is not text, got "30-12345678-9" (and 1 more in this record)'
    assert masked_reason(stores, path, message) == message.replace("30-12345678-9", "30-*******8-9")
