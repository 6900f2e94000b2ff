"""What `make` installs: every package at one version, each of its files by its hash, from no registry in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("pip.txt", "run.txt", "dev.txt")
PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; .*)?")
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def plain(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    lines = [PIN.fullmatch(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {plain(line["name"]): line["version"] for line in lines if line}


def locked(lock: str) -> dict[str, str]:
    """Versions by name; each entry has at least one hash, and nothing but hashes."""
    found: dict[str, str] = {}
    for entry in (ROOT / "locks" / lock).read_text().replace("\\\n", "").splitlines():
        pin, *hashes = re.split(r"\s+(?=--)", entry.strip())
        matched = PIN.fullmatch(pin)
        assert matched, entry
        assert hashes, entry
        assert all(HASH.fullmatch(one) for one in hashes), entry
        found[plain(matched["name"])] = matched["version"]
    return found


def wanted(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    listed += [one for extra in extras for one in project["project"]["optional-dependencies"][extra]]
    return {plain(re.split(r"[\[<>=~! ;]", one)[0]) for one in listed}


def test_the_constraints_are_name_and_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(constraints()) == len(lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_says_what_the_constraints_say(lock: str) -> None:
    assert locked(lock).items() <= constraints().items()


def test_the_locks_hold_all_that_is_needed() -> None:
    assert locked("pip.txt").keys() == {"pip"}
    assert wanted() <= locked("run.txt").keys()
    assert wanted("dev") <= locked("dev.txt").keys()
    assert locked("run.txt").items() <= locked("dev.txt").items()


def test_make_installs_by_hash_alone() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.split("\n$(STAMP):", 1)[1]
    installs = [line for line in recipe.splitlines() if "$(INSTALL)" in line]
    assert [line.split("locks/")[-1] for line in installs if "--require-hashes" in line] == ["pip.txt", "dev.txt"]
    assert [line for line in installs if "--require-hashes" not in line] == ["\t@$(INSTALL) --no-build-isolation -e ."]
    assert re.search(r"^INSTALL := .*--no-deps$", makefile, re.MULTILINE)
