"""Lines looked at all at once are told as each would be by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.normalize.plain_text import Texts, candidates

pieces = st.sampled_from([b"{", b"}", b"n", b"nul", b"null", b"\\", b'\\"', b"u0041", b'"a"', b" ", b"x" * 5])
line = st.builds(lambda parts, is_object: b"{%s}" % parts if is_object else parts,
                 st.lists(pieces, max_size=5).map(b"".join), st.booleans())  # fmt: skip


@given(st.lists(line, max_size=5))
def test_lines_are_told_together_as_each_by_itself(lines: list[bytes]) -> None:
    texts = Texts(lines)
    assert texts.are_objects == all(one.startswith(b"{") and one.endswith(b"}") and len(one) > 1 for one in lines)
    if lines:
        assert texts.hold_null == (b"null" in b"\n".join(lines))
    alone = [row for row, one in enumerate(lines) if len(candidates(Texts([one])))]
    assert candidates(texts).tolist() == alone
