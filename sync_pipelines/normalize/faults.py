"""Errors of a record as users see them: codes, paths and sentences (F20).

Belongs here: converting exceptions of contracts and partners' functions. Does not belong here: reading records
(`record`), the types (`change`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sync_pipelines.contracts.codes import ALL_CODES, REJECT_CODES
from sync_pipelines.contracts.raw import CellError
from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.normalize.change import Fault, Reject, path_of
from sync_pipelines.normalize.values import displayable, to_json
from sync_pipelines.privacy.untrusted_text import on_one_line

MOST: Final = 20
"""Most errors that are kept of one record."""

REJECTIONS: Final = (RecordRejected, ValidationError, PydanticCustomError)
"""The exceptions that reject a record."""

_PYDANTIC_CODES: Final = {
    "missing": "required",
    "string_type": "not_text",
    "string_too_long": "too_long",
    "string_unicode": "invalid_text",
    "string_pattern_mismatch": "nul_character",
    "int_type": "not_an_integer",
    "bool_type": "not_a_boolean",
    "list_type": "not_a_list",
    "model_type": "not_an_object",
    "dict_type": "not_an_object",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
}


def faults_of(rejection: Exception, key_alias: str) -> list[Fault]:
    """Returns the errors in one of `REJECTIONS`.

    Args:
        rejection: the exception.
        key_alias: the match key in the partner's spelling.
    """
    match rejection:
        case RecordRejected():
            return [Fault(each.code, each.path, each.message) for each in (rejection, *rejection.more)]
        case PydanticCustomError():
            return [Fault(rejection.type, None, rejection.message())]
        case ValidationError():
            return [_fault(detail, key_alias) for detail in rejection.errors(include_url=False)]
    raise rejection


def distinct_faults(found: Iterable[Fault]) -> list[Fault]:
    """Returns each error once, in order of discovery."""
    errors: dict[tuple[str, str | None], Fault] = {}
    for error in found:
        errors.setdefault((error.code, error.path), error)
    return list(errors.values())


def respelled(error: Fault, spelled: Mapping[str, str], within: str = "") -> Fault:
    """Returns an error at another path (F07).

    Args:
        error: the error.
        spelled: record field -> its name in the body; "" if the field is the record itself.
        within: position of the record in the body, such as `upsert[0]`.
    """
    if error.path is None or not (spelled or within):
        return error
    name = re.split(r"[.\[]", error.path, maxsplit=1)[0]
    path = spelled.get(name, name) + error.path[len(name) :]
    path = ".".join(part for part in (within, path) if part)
    rest = error.message.removeprefix(f"{error.path}:")
    return Fault(error.code, path, error.message if rest == error.message else f"{path}:{rest}")


def located(reject: Reject, spelled: Mapping[str, str], within: str) -> Reject:
    """Returns a reject with the paths of its body, see `respelled`."""
    if not (spelled or within):
        return reject
    first = respelled(Fault(reject.code, reject.field_path, reject.message), spelled, within)
    errors = tuple(respelled(error, spelled, within) for error in reject.faults)
    return reject._replace(field_path=first.path, message=first.message, faults=errors)


def code_of(detail: ErrorDetails) -> str:
    """Returns the reject code of a pydantic error; null in a required field is `required` (X1)."""
    if detail["input"] is None:
        return "required"
    if isinstance(detail["input"], CellError):
        return "cell_error"
    if isinstance(detail["input"], str) and "\x00" in detail["input"]:
        return "nul_character"
    return detail["type"] if detail["type"] in ALL_CODES else _PYDANTIC_CODES.get(detail["type"], "invalid")


def sentence_of(detail: ErrorDetails, code: str) -> str:
    """Returns what is wrong with the value, for people."""
    if detail["type"] == code:
        return detail["msg"]
    limit = detail.get("ctx", {}).get("max_length")
    return f"the text is longer than {limit} characters" if code == "too_long" and limit else REJECT_CODES[code]


def _fault(detail: ErrorDetails, key_alias: str) -> Fault:
    code, path = code_of(detail), path_of(detail["loc"])
    if code == "required" and path == key_alias:
        code = "key_missing"
    value = f", got {_shown(detail['input'])}" if code != "required" or detail["input"] is None else ""
    sentence = sentence_of(detail, code)
    return Fault(code, path, f"{path}: {sentence.removesuffix('.')}{value}" if value else f"{path}: {sentence}")


def _shown(value: Any) -> str:
    text = on_one_line(to_json(displayable(value)))
    return text if len(text) <= 120 else text[:120] + "…"
