"""Numbers in sentences.

Belongs here: singular and plural. Does not belong here: the sentences.
"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Returns the number with its noun: `1 export`, `1,200 exports`, `2 queries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def is_or_are(number: int) -> str:
    """Returns the verb that goes with the number."""
    return "is" if number == 1 else "are"
