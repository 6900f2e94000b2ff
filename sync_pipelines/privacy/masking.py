"""Masks personal values so that their shape, and so an error in it, stays visible.

    maria@x.cl         m***@x.cl
    +56912345678       +56*******78
    María Pérez 742    M**** P**** 7**

A masked value does not change when it is masked again.

Belongs here: masks of single values and of free text. Does not belong here: which field is personal
(`contracts.personal`), records and rows (`personal_data`), secrets (`redaction`).
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any, Final

from sync_pipelines.contracts.personal import Kind
from sync_pipelines.privacy.redaction import redacted

_EMAIL: Final = re.compile(r"([^\s@<>()\[\],;:\"/=]+)@([^\s@<>()\[\]{},;:\"'/|=`]+)")
_PHONE: Final = re.compile(r"\s*\+?[\d*(][\d*\s().\-/]{5,}\s*")
_WORD: Final = re.compile(r"[\w*]+")
_DIGIT: Final = re.compile(r"[\d*]")
_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NUMBER: Final = re.compile(r"\+?\d[\d*.,]*(?:[eE][+-]?\d+|\d{4})[\d*.,]*")
_TELLING: Final = re.compile(r"\d{5}|[^\x00-\x7f]|\s")
_GOT: Final = re.compile(r"(?<=, got ).*?(?=(?: \(and \d+ more in this record\))?\Z)", re.DOTALL)
_JSON_VALUE: Final = re.compile(r"(?P<whole>\"(?:[^\"\\]|\\.)*\")(?P<colon>\s*:)?|\"(?:[^\"\\]|\\.)*$|\d[\w.+*-]*")
"""A string, with its colon if it is a name; a truncated string; a number."""
_SHOWN_OF_PHONE: Final = 2


def masked(value: Any, kind: Kind) -> Any:
    """Returns a masked value. Null and booleans are not personal; lists and objects keep their shape."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        below: Kind = "contact" if kind == "plain" else kind
        return {without_emails(str(name)): masked(inner, below) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, kind) for inner in value]
    if kind == "plain":
        return without_emails(value) if isinstance(value, str) else value
    return _masked_text(str(value), kind)


def _masked_text(text: str, kind: Kind) -> str:
    if _EMAIL.search(text):
        return _EMAIL.sub(_email, text) if kind == "email" or _EMAIL.fullmatch(text.strip()) else _in_words(text)
    if kind == "phone" or (kind == "contact" and _PHONE.fullmatch(text)):
        return _phone(text)
    return _in_words(text)


def without_emails(text: str) -> str:
    """Returns any text with its e-mail addresses masked."""
    return _EMAIL.sub(_email, text) if "@" in text else text


def masked_message(message: str, kind: Kind) -> str:
    """Returns a sentence about a field's value with the quoted value masked."""
    # A record that lacks a field is quoted as a whole, whichever field that is.
    shown = _GOT.sub(lambda found: _got(found[0], kind), message)
    if kind == "plain":
        return without_emails(shown)
    sentence, got, value = shown.partition(", got ")
    sentence = _QUOTED.sub(lambda found: _between_quotes(found[0], kind), sentence)
    return without_emails(_NUMBER.sub(lambda found: _in_words(found[0]), sentence) + got + value)


def _got(json: str, kind: Kind) -> str:
    """Masks a value in JSON, which may be truncated. An object or a list is masked for any field."""
    return _JSON_VALUE.sub(_json_value, json) if kind != "plain" or json[:1] in "[{" else json


def _json_value(found: re.Match[str]) -> str:
    if found["colon"]:
        return found[0]
    text = found[0]
    return text[0] + _masked_text(text[1:-1], "contact") + text[-1] if found["whole"] else _in_words(text)


def masked_error(message: str) -> str:
    """Returns an unexpected error's message without e-mail addresses and quoted values, except names of ours."""
    quoted = _QUOTED.sub(
        lambda found: _between_quotes(found[0], "contact") if _TELLING.search(found[0]) else found[0], message
    )
    return without_emails(quoted)


def masked_trace(error: BaseException) -> str:
    """Returns an error's traceback for a log file: frames unchanged, messages without values and secrets."""
    lines = "".join(traceback.format_exception(error)).splitlines(keepends=True)
    return redacted("".join(line if line.startswith("  ") else _said(line) for line in lines))


def _said(line: str) -> str:
    """Masks a line of an error's message; PostgreSQL quotes rows in DETAIL and CONTEXT."""
    begin, colon, rest = line.partition(": ")
    if begin.strip() in ("DETAIL", "CONTEXT"):
        return f"{begin}{colon}{_in_words(rest)}"
    return masked_error(line)


def _between_quotes(text: str, kind: Kind) -> str:
    return text[0] + _masked_text(text[1:-1], kind) + text[-1]


def _email(found: re.Match[str]) -> str:
    local, domain = found.groups()
    return f"{local[0] if len(local) > 1 and local[0] != '*' else ''}***@{domain}"


def _phone(text: str) -> str:
    """Shows the first and the last two digits; of a short number none. Masks words in it."""
    digits = len(_DIGIT.findall(text))
    if digits < 4 * _SHOWN_OF_PHONE - 1 or re.search(r"[^\W\d_]", text):
        return _in_words(text)
    place = -1

    def hidden(found: re.Match[str]) -> str:
        nonlocal place
        place += 1
        is_shown = place < _SHOWN_OF_PHONE or place >= digits - _SHOWN_OF_PHONE
        return found[0] if is_shown else "*"

    return _DIGIT.sub(hidden, text)


def _in_words(text: str) -> str:
    """Shows the first character of each word, unless it is the only one."""
    return _WORD.sub(lambda found: (found[0][0] if len(found[0]) > 1 else "") + "*" * max(len(found[0]) - 1, 1), text)
