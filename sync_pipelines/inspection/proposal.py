"""Proposes a block of `sources.yaml` for a file: its stream, its columns, and the format of its values.

Belongs here: the content of the block, and what may be wrong with it. Does not belong here: names (`column_names`),
values (`values`), damage that no setting can fix (`risks`), writing the block (`configuration.sources_writer`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sync_pipelines.configuration.layouts import Layout, recognized_layout, with_layout
from sync_pipelines.configuration.sources_writer import scalar
from sync_pipelines.contracts.contract import FieldShape, folded
from sync_pipelines.contracts.currencies import known_currencies
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.inspection.column_names import LOOSE, OWN, WITHIN, assigned
from sync_pipelines.inspection.sight import Seen, SeenColumn
from sync_pipelines.inspection.values import (
    Dates,
    Numbers,
    WordsFound,
    dates_in,
    is_scientific,
    looks_like_date,
    looks_like_number,
    numbers_in,
)
from sync_pipelines.partners import STREAMS

_SYMBOLS: Final = {"€": "EUR", "£": "GBP", "R$": "BRL", "US$": "USD", "MX$": "MXN", "S/": "PEN"}
_CODE: Final = re.compile(r"\b([A-Z]{3})\b")
_SPANISH: Final = frozenset("fecha cantidad precio pedido cliente venta correo producto nombre unidades moneda".split())
_PORTUGUESE: Final = frozenset("data quantidade preco preço cliente venda produto nome moeda qtd pedido valor".split())


@dataclass
class Proposal:
    """A guess about a file.

    Attributes:
        stream: its most likely stream.
        is_certain: whether the stream is certain, from the content or from the user.
        layout: the layout of its header, or None.
        fields: field -> its column, including columns found by their own names.
        keys: keys of the block, as in `sources.yaml`.
        notes: comments of the block.
        look_at: possible problems, for people.
        dates: how dates are written, or None if there are none.
        numbers: how numbers are written, or None if none is text.
    """

    stream: Stream
    is_certain: bool = True
    layout: Layout | None = None
    fields: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    look_at: list[str] = field(default_factory=list)
    dates: Dates | None = None
    numbers: Numbers | None = None

    @property
    def block(self) -> str:
        """The keys as YAML, one per line, with the notes above them."""
        lines = [f"# {note}" for note in self.notes]
        for key, value in self.keys.items():
            if key == "columns":
                lines += ["columns:", *(f"  {scalar(name)}: {scalar(column)}" for name, column in value.items())]
            else:
                lines.append(f"{key}: {scalar(value)}")
        return "\n".join(lines) + "\n" if lines else ""


def propose(seen: Seen, stream: Stream | None = None) -> Proposal:
    """Returns a guess about a file.

    Args:
        seen: its content.
        stream: its stream, if the user named it.
    """
    columns = [name for name, column in seen.columns.items() if column.within is None]
    layout = recognized_layout(columns) if seen.is_flat else None
    if layout is not None and stream is not None and stream.full_name not in layout.streams:
        layout = None
    if stream is None and layout is not None:
        stream = next(known for known in STREAMS if known.full_name in layout.streams)
    likeliest = stream or _likeliest(seen)
    is_certain = stream is not None or seen.is_log or bool(_held(likeliest, assigned(likeliest, seen.columns), seen))
    found = Proposal(likeliest, is_certain, layout)
    _say_how_it_is_read(found, seen)
    if seen.is_log:
        found.notes.append("a request log: its calls name their fields themselves")
        return found
    _say_columns(found, seen)
    _say_values(found, seen)
    _say_lines(found, seen)
    if stream_has_customers(found.stream) and "Email" not in found.fields and "CustomerId" in found.fields:
        found.keys["customer_identifier"] = "customer_id"
    _say_currency(found, seen)
    return found


def _likeliest(seen: Seen) -> Stream:
    """Returns the stream with the most matching columns, preferring streams whose key is there."""
    names = list(seen.columns)

    def score(stream: Stream) -> tuple[bool, float]:
        matched = _held(stream, assigned(stream, names), seen)
        keys = {stream.key_alias, *(_alias(stream, stream.record_id) if stream.record_id else ())}
        sure = [score for field, (_, score) in matched.items()]
        return bool(keys & matched.keys()), sum(sure)

    return max(STREAMS, key=score)


def _alias(stream: Stream, attribute: str) -> tuple[str, ...]:
    return (stream.contract.model_fields[attribute].alias or attribute,)


def stream_has_customers(stream: Stream) -> bool:
    """Whether a source of the stream has a setting for the names of customers."""
    return "customer_identifier" in stream.options.model_fields


def _say_how_it_is_read(found: Proposal, seen: Seen) -> None:
    if not seen.is_named:
        found.keys["format"] = seen.format
    if seen.encoding not in (None, "utf-8"):
        found.keys["encoding"] = seen.encoding
    if seen.record is not None:
        found.keys["record"] = seen.record
    if found.layout is not None:
        found.keys["layout"] = found.layout.key


def _say_columns(found: Proposal, seen: Seen) -> None:
    """Assigns columns to fields: by the layout, and otherwise by their names."""
    stream, names = found.stream, list(seen.columns)
    mapped: dict[str, str] = {}
    if found.layout is not None:
        try:
            keys = with_layout(_with_currency(seen), found.layout.keys_of(stream.full_name))
        except KeyError:
            keys = {"columns": {}}
        mapped = {name: column for name, column in keys["columns"].items() if column in seen.columns}
    rest = [name for name in names if name not in mapped.values()]
    by_name = _held(stream, assigned(stream, rest), seen)
    if mapped:
        # A layout's names are known; a weak match is not needed.
        by_name = {name: match for name, match in by_name.items() if match[1] > WITHIN}
    own = {name: column for name, (column, _) in by_name.items() if name not in mapped}
    both = mapped | own
    found.fields = {name: both[name] for name in (*stream.flat_fields, *both) if name in both}
    _share_product(found)
    # A column with a field's own name needs no setting, unless it is also another field.
    shared = Counter(found.fields.values())
    columns = {
        name: column
        for name, column in found.fields.items()
        if name not in mapped and (folded(name) != folded(column) or shared[column] > 1)
    }
    if columns:
        found.keys["columns"] = columns
    for name, (column, score) in by_name.items():
        if found.fields.get(name) == column and score <= LOOSE:
            found.look_at.append(f"check that {column!r} is {name}: its name only suggests it")
    if stream.key_alias not in found.fields and stream.record_id is None:
        found.look_at.append(
            f"no column looks like {stream.key_alias}, the key of {stream.full_name}: map one in `columns`"
        )


def _share_product(found: Proposal) -> None:
    """Uses a single product code as both the product's id and its SKU."""
    fields = found.fields
    if "Sku" in fields and "ProductId" not in fields:
        fields["ProductId"] = fields["Sku"]
    elif "ProductId" in fields and "Sku" not in fields:
        fields["Sku"] = fields["ProductId"]


def _held(stream: Stream, matched: dict[str, tuple[str, float]], seen: Seen) -> dict[str, tuple[str, float]]:
    """Returns the matches that the columns' values do not contradict."""
    return {
        name: (column, score)
        for name, (column, score) in matched.items()
        if score == OWN
        or (
            _fits(kind_of(stream, name), seen.columns[column])
            and _may_be_key(stream, name, score, seen.columns[column])
        )
    }


def _may_be_key(stream: Stream, name: str, score: float, column: SeenColumn) -> bool:
    """Whether a column may be the key: its values are distinct, unless lines are grouped."""
    if name != stream.key_alias:
        return True
    values = column.values[:2_000]
    is_unique = stream.flat is not None or len({str(value) for value in values}) * 20 >= len(values) * 19
    return score > LOOSE and is_unique


def kind_of(stream: Stream, name: str) -> str:
    """Returns the kind of a field: `number`, `date`, `email`, `flag`, `key` or `text`."""
    shape = field_named(stream, name)
    if shape is None:
        return "text"
    annotation = f"{shape.annotation} {shape.metadata}"
    if "read_instant" in annotation or "datetime" in annotation:
        return "date"
    if any(word in annotation for word in ("Decimal", "read_money", "read_number", "read_integer", "read_percentage")):
        return "number"
    if "'email'" in annotation:
        return "email"
    if "bool" in annotation:
        return "flag"
    return "key" if "read_key" in annotation else "text"


def field_named(stream: Stream, name: str) -> FieldShape | None:
    """Returns a field of the record, or of the lines that it groups."""
    shapes = [stream.shape, *(below.children for below in stream.shape.nested if below.children is not None)]
    return next((found for shape in shapes if (found := shape.by_folded.get(folded(name))) is not None), None)


def _fits(kind: str, column: SeenColumn) -> bool:
    texts = column.texts[:500]
    if not texts:
        return bool(column.values) or kind in ("text", "number")
    if kind == "number":
        return _most(looks_like_number(text.strip()) for text in texts)
    if kind == "date":
        return _most(looks_like_date(text) or text.strip().isdigit() for text in texts)
    if kind == "email":
        return _most("@" in text for text in texts)
    if kind == "flag":
        return len(set(texts)) <= 6 and all(len(text) <= 12 for text in texts)
    return not (kind == "key" and _most(looks_like_date(text) for text in texts))


def _most(answers: Iterable[bool]) -> bool:
    given = list(answers)
    return sum(given) * 2 > len(given)


def _say_lines(found: Proposal, seen: Seen) -> None:
    """Adds `fill_down` if lines with items but without a key follow a line with a key."""
    stream = found.stream
    if stream.flat is None or not seen.is_flat or found.layout is not None:
        return
    key, product = (found.fields.get(name) for name in (stream.key_alias, "ProductId"))
    if key is None or product is None:
        return
    own = set(seen.columns[key].positions)
    without = [position for position in seen.columns[product].positions if position not in own]
    if without:
        found.keys["fill_down"] = [stream.key_alias]
        found.look_at.append(f"{len(without):,} lines have no {key!r}: they are read as part of the order above")


def _columns_of(found: Proposal, seen: Seen, kind: str) -> list[SeenColumn]:
    names = [column for name, column in found.fields.items() if kind_of(found.stream, name) == kind]
    return [seen.columns[name] for name in dict.fromkeys(names)]


def _say_values(found: Proposal, seen: Seen) -> None:
    words, language = WordsFound(), _language(seen)
    for column in seen.columns.values():
        if seen.is_flat:
            words.note(column.name, (text for text in set(column.texts)))
    if words.by_word:
        found.keys["null_values"] = sorted(words.by_word)
        places = sorted({column for columns in words.by_word.values() for column in columns})
        shown = ", ".join(sorted(words.by_word))
        found.look_at.append(f"{shown} in {', '.join(map(repr, places[:4]))} is read as null: check that this is right")
    texts = [t for c in _columns_of(found, seen, "number") for t in c.texts if t.strip() not in words.by_word]
    if texts:
        _say_numbers(found, numbers_in(t for t in texts if not is_scientific(t)), language)
    dated = [v for c in _columns_of(found, seen, "date") for v in c.values if str(v).strip() not in words.by_word]
    if dated:
        _say_dates(found, dates_in(list(dict.fromkeys(dated))[:2_000], language), language)
    _say_flags(found, seen, set(words.by_word))


def _say_numbers(found: Proposal, numbers: Numbers, language: str | None) -> None:
    found.numbers = numbers
    if numbers.mixed:
        found.look_at.append(
            "numbers contradict each other: one mark is decimal in some, separates thousands in others"
        )
        return
    if numbers.decimal == "," or (numbers.decimal is None and numbers.thousands == "."):
        found.keys["decimal"] = ","
    if numbers.thousands is None:
        return
    if not numbers.doubtful:
        found.keys["thousands"] = numbers.thousands
        return
    mark = "point" if numbers.thousands == "." else "comma"
    what = f"the {mark} in {numbers.doubtful[0]} may separate decimals or thousands, and no value shows which"
    if language is not None and numbers.thousands == ".":
        found.keys["thousands"] = "."
        found.look_at.append(f"{what}; it is read as thousands, as usual in this language")
        return
    found.notes.append(f"thousands: {scalar(numbers.thousands)}   # if {numbers.doubtful[0]} has no decimals")
    other = "decimal: '.'" if numbers.thousands == "." else "decimal: ','"
    found.look_at.append(f"{what}: set `thousands: {scalar(numbers.thousands)}` or `{other}`; rejected until then")


def _say_dates(found: Proposal, dates: Dates, language: str | None) -> None:
    found.dates = dates
    if dates.locale:
        found.keys["locale"] = dates.locale
    if dates.unread:
        shown = ", ".join(dates.unread[:3])
        found.look_at.append(f"{len(dates.unread)} dates have an unknown format, such as {shown}")
    if not dates.formats:
        return
    one = dates.formats[0]
    if dates.also is not None and language is None:
        found.notes.append(f"date_format: {scalar(one)}   # or {scalar(dates.also)}: every date fits both")
        what = f"every date fits two formats, {one} and {dates.also}: set `date_format`; rejected until then"
        found.look_at.append(what)
        return
    found.keys["date_format"] = one if len(dates.formats) == 1 else list(dates.formats)
    if dates.also is not None:
        found.look_at.append(f"every date fits two formats; it is read as {one}, as usual in this language")


def _say_flags(found: Proposal, seen: Seen, nulls: set[str]) -> None:
    from sync_pipelines.inspection.flags import unknown_flags

    for column in _columns_of(found, seen, "flag"):
        unknown = unknown_flags([text for text in column.texts if text.strip() not in nulls])
        if unknown and found.layout is None:
            shown = ", ".join(unknown[:6])
            found.look_at.append(
                f"{column.name!r} holds words other than yes and no: {shown}; set `true_values`, `false_values`"
            )


def _language(seen: Seen) -> str | None:
    words = {word for name in seen.columns for word in re.findall(r"\w+", name.lower())}
    spanish, portuguese = len(words & _SPANISH), len(words & _PORTUGUESE)
    return None if not spanish and not portuguese else "es" if spanish >= portuguese else "pt"


def _with_currency(seen: Seen) -> dict[str, Any]:
    """Returns a block's `constants` with the currency in a column's name, if there is one."""
    codes = {code for name in seen.columns for code in _CODE.findall(name) if code in known_currencies()}
    return {"constants": {"Currency": codes.pop()}} if len(codes) == 1 else {}


def _say_currency(found: Proposal, seen: Seen) -> None:
    """Orders without a currency are rejected: guesses it from names or signs, or asks for it."""
    if "currency_default" not in found.stream.options.model_fields or "Currency" in found.fields:
        return
    guess = _with_currency(seen)
    signs = {
        code for column in _columns_of(found, seen, "number") for text in column.texts[:200] for code in _signs(text)
    }
    if not guess and len(signs) == 1:
        guess = {"constants": {"Currency": signs.pop()}}
    if guess:
        found.keys |= guess
        found.look_at.append(
            f"no column has the currency; {guess['constants']['Currency']} is guessed from names or signs"
        )
    else:
        found.notes.append("no column has the currency, and orders without it are rejected: set it, for example")
        found.notes.append("constants: {Currency: EUR}")
        found.look_at.append("no column has the currency: set `constants: {Currency: ...}`, or orders are rejected")


def _signs(text: str) -> list[str]:
    found = [code for code in _CODE.findall(text) if code in known_currencies()]
    return found or [code for sign, code in _SYMBOLS.items() if sign in text][:1]
