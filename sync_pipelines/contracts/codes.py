"""The closed lists of codes users meet: why a file failed, why a record was refused, what was forgiven.

Each code has one sentence for users; `docs/codes.md` is held against these lists by a test.
Does not belong here: where the codes are raised.
"""

from __future__ import annotations

from typing import Final

FILE_CODES: Final[dict[str, str]] = {
    "empty_file": "The file holds nothing at all; an export without records is `[]` or a header line.",
    "bad_compression": "The compressed file is cut off or damaged.",
    "bad_encoding": "The bytes are not the promised encoding (UTF-8 unless `encoding` says otherwise).",
    "not_json": "The file is not JSON where JSON was expected.",
    "wrong_envelope": "The JSON is neither records, nor a documented body, nor a request log of this stream.",
    "bad_header": "The header line is unusable: a column name is missing or stands twice.",
    "bad_sheet": "The Excel or Parquet file is damaged.",
    "format_unknown": "The file's extension is none of the formats read, and the source names no `format`.",
    "tenant_invalid": "The tenant's folder is not named as this partner names its tenants.",
    "tenant_unknown": "The tenant is not among those listed in `sources.yaml`.",
    "date_out_of_range": "The date is before `SYNC_FIRST_DATE` or after tomorrow.",
    "file_vanished": "The file was listed but is no longer there.",
    "file_unreadable": "The file may not be read, or reading it broke off.",
    "storage_full": "The disk of the archive is full.",
    "storage_unwritable": "The archive can't be written.",
    "archive_incomplete": "Kept records that a late export needs are gone from the archive.",
    "raw_export_gone": "The archived bytes of the export are gone.",
    "raw_export_damaged": "The archived bytes of the export are damaged.",
    "unforeseen": "A fault of sync_pipelines itself; the full trace is in a log file.",
}

REJECT_CODES: Final[dict[str, str]] = {
    "not_json": "The line is no whole JSON value.",
    "line_too_long": "One line is larger than 64 MB.",
    "too_many_cells": "The row has more cells than the header.",
    "bad_quotes": "The row's quotes are broken or never closed.",
    "truncated_line": "The file ends in the middle of this row.",
    "nesting_too_deep": "The record is nested deeper than 200 levels.",
    "not_an_object": "A record, or a field that holds an object, is something else.",
    "key_missing": "The record has no key, or an empty one.",
    "required": "A required field is absent or null.",
    "too_long": "A text is longer than the partner allows.",
    "not_text": "A text field holds something that is not text.",
    "invalid_text": "A text is not valid Unicode.",
    "nul_character": "A text holds a NUL character, which is never stripped.",
    "scientific_notation": "A key is written as a number with an exponent, so its digits are lost.",
    "not_a_number": "A number field holds something that is not a number.",
    "not_an_integer": "An integer field holds a fraction.",
    "not_finite": "A number is NaN or infinite.",
    "out_of_range": "A number or a time does not fit.",
    "not_a_boolean": "A yes/no field holds something else.",
    "not_a_date": "A time is not ISO 8601, nor in the source's `date_format`.",
    "not_a_list": "A field that holds a list is something else.",
    "currency_unknown": "The currency is no ISO 4217 code.",
    "field_conflict": "One field stands twice with different values.",
    "key_mismatch": "A line names another record than the one it is in.",
    "log_time_invalid": "The request log's `at` is missing or no time.",
    "date_out_of_range": "The date is before `SYNC_FIRST_DATE` or after tomorrow.",
    "route_unknown": "The request log names an endpoint that does not write here.",
    "tenant_mismatch": "The request names another tenant than its folder.",
    "not_a_choice": "The value is none of the words the partner knows.",
    "country_invalid": "The country is no code of two letters.",
    "list_mode_missing": "A list was sent without saying how it is to be taken.",
    "duplicate_in_list": "Two elements of one list have the same key.",
    "payment_term_missing": "The payment term has neither id nor code.",
    "store_in_two_lists": "The store stands in two lists of one batch.",
    "store_unknown": "The store to update is unknown or removed.",
    "id_conflict": "The external id belongs to a record with another id.",
    "external_id_conflict": "The id and the external id belong to two records.",
    "record_unknown": "No record, or more than one, has this id.",
    "delete_blocked": "Live rows refer to the record, so it is not deleted.",
    "invalid": "The value breaks the partner's contract.",
}

LENIENCY_CODES: Final[dict[str, str]] = {
    "coerced_number_to_text": "A number stood where text is asked; its digits were taken.",
    "coerced_date_to_text": "A date cell stood where text is asked; it was taken as ISO 8601.",
    "coerced_boolean_to_text": "A true/false cell stood where text is asked.",
    "dropped_zero_decimals": "An integral number was written with decimals (`6.0`).",
    "number_from_text": "A number was written as text.",
    "rounded": "A number had more decimals than are kept; it was rounded half up.",
    "boolean_from_text": "A yes/no was written as text or as 1/0.",
    "trimmed_text": "White space around a value was removed.",
    "upper_cased_code": "A code was not in capitals.",
    "customer_identifier_absent": "The order has no customer identifier; it is loaded without a customer.",
    "folded_case": "A word was not in the case the partner lists it in.",
    "incomplete_coordinates": "One of latitude and longitude stood alone; neither was taken.",
    "stripped_degree_sign": "A degree sign was removed from a coordinate.",
    "decimal_comma": "A coordinate was written with a decimal comma.",
    "compass_letter": "A coordinate was written with N, S, E, W or O.",
    "degrees_minutes_seconds": "A coordinate was written in degrees, minutes and seconds.",
    "empty_object_ignored": "An element of a list had no field at all.",
    "several_primaries": "Several elements of one list were primary; the last won.",
    "create_of_existing": "A store to create was there already; it was updated.",
    "payment_term_id_rules": "A payment term had id and code; both are kept, the id rules.",
    "line_conflict": "Lines of one order disagree on an order field; the last non-empty value won.",
}

ALL_CODES: Final = {**FILE_CODES, **REJECT_CODES, **LENIENCY_CODES}
