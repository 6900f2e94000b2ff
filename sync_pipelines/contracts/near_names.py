"""Finds the known name that is most similar to a word.

Belongs here: comparing words, and the suggestion. Does not belong here: the list of known names.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

LIKE: Final = 0.6
VERY_LIKE: Final = 0.85


def near_name(word: str, names: Iterable[str], likeness: float = LIKE) -> str | None:
    """Returns the most similar name, ignoring case, blanks, hyphens and underscores; None if no name is similar."""
    by_folded = {_folded(name): name for name in reversed(list(names))}
    near = difflib.get_close_matches(_folded(word), list(by_folded), n=1, cutoff=likeness)
    return by_folded[near[0]] if near else None


def suggestion(word: str, names: Iterable[str]) -> str:
    """Returns the most similar known name as a question, or else all of them."""
    known = list(names)
    near = near_name(word, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(known)}"


def _folded(word: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", word)).casefold()
