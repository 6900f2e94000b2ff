"""The rooms of the package: what `docs/architecture.md` says about them holds for the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "sync_pipelines"
FOR_ALL: Final = ("errors", "command_line")
ROOMS: Final = re.findall(
    r"^\*\*`(\w+)/`: .*\*\*$", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)
"""From the top; the root of the package is above all."""


def room_of(parts: tuple[str, ...]) -> str | None:
    """Returns the room of a module, given its path below the package; None for modules of the root."""
    return parts[0] if parts and parts[0] in ROOMS else None


def imported(module: Path) -> Iterator[tuple[str, ...]]:
    """Yields the paths below the package of everything that a module imports from it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            for name in node.names:
                yield (*node.module.split(".")[1:], name.name)
        elif isinstance(node, ast.Import):
            yield from (tuple(n.name.split(".")[1:]) for n in node.names if n.name.startswith(f"{PACKAGE.name}."))


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_rooms_below_it(room: str) -> None:
    above = set(ROOMS[: ROOMS.index(room)])
    found = [
        f"{module.relative_to(PACKAGE)}: {'.'.join(parts)}"
        for module in sorted((PACKAGE / room).rglob("*.py"))
        for parts in imported(module)
        if (room_of(parts) is None and parts[0] not in FOR_ALL) or room_of(parts) in above
    ]
    assert not found
