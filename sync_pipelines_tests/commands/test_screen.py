"""Text of exports on a terminal, and in messages to Slack: shown, never obeyed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.commands.screen import json_of, notify, print_table, say

ESCAPES = "a\x1b[2Jb\nc\x9b31m\u202ed\x00\udfaa"
SHOWN = "a\\x1b[2Jb\\nc\\x9b31m\\u202ed\\u0000\\udfaa"


def test_no_text_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say(ESCAPES)
    notify(ESCAPES)
    print_table((ESCAPES, "n"), [(ESCAPES, 1)])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [SHOWN, f"{SHOWN}  n", f"{SHOWN}  1"]
    assert printed.err == f"{SHOWN}\n"


@given(st.text(st.characters(exclude_categories=())))
def test_json_is_equal_and_shows_every_character(text: str) -> None:
    written = json_of({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set(written) & set("\x1b\x7f\x9b\u202e\u200b\n\u2028\udfaa")
    written.encode()
