from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.privacy.untrusted_text import on_one_line, slack_escaped, storable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_whatever_is_storable_is_utf8_without_nul(text: str) -> None:
    assert b"\x00" not in storable(text).encode()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_what_postgresql_can_store_stays_as_it_is(text: str) -> None:
    assert storable(text) == text


@given(ANY_TEXT)
def test_one_line_stays_one_line_and_moves_no_cursor(text: str) -> None:
    shown = on_one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or character in "\x7f\x9b\u202e\u200b" for character in shown)
    assert storable(shown) == shown


def test_invisible_characters_are_named() -> None:
    assert on_one_line("a\nb\x1b[31m\u202ec\u00e9\x00\udfaa") == "a\\nb\\x1b[31m\\u202ecé\\u0000\\udfaa"


def test_slack_sees_no_link_and_no_mention() -> None:
    assert slack_escaped("<!channel> <http://a|b> *x* & y") == (
        "&lt;!channel&gt; &lt;http://a|b&gt; \u200b*x\u200b* &amp; y"
    )
    assert slack_escaped("_a_ b_c not_json") == "\u200b_a\u200b_ b_c not_json"
