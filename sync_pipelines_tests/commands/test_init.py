"""`init`: what it writes, what it keeps, what it asks for, and that `inspect --write` goes on from there."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.exports_in import TENANT

SOURCE = ("--partner", "replenit", "--tenant", f"{{{TENANT.upper()}}}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    found = tmp_path / "work"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


class Terminal(io.StringIO):
    """Answers typed on a terminal."""

    def isatty(self) -> bool:
        return True


def test_both_files_are_written_and_other_lines_stay(call: Call, folder: Path, settings: Settings) -> None:
    env, landing = folder / ".env", folder / "landing"
    landing.mkdir()
    env.write_text("# ours\nOTHER=1\n")
    env.chmod(0o644)
    done = call("init", "--landing", "landing", *SOURCE)
    assert done.status == 0, done.out + done.err
    assert env.read_text() == f"# ours\nOTHER=1\nSYNC_LANDING='{landing}'\n"
    assert env.stat().st_mode & 0o777 == 0o600
    assert load_sources(settings.sources).listed == {"replenit": {TENANT}}
    assert (landing / "replenit" / TENANT / "orders").is_dir()
    assert f"SYNC_LANDING = {landing} (.env)" in done.out
    (folder / "o.csv").write_text("Order No,Currency,Sku,Qty,Price\nA,EUR,S,1,2\n")
    written = call("inspect", "o.csv", "--stream", "replenit/orders", "--tenant", TENANT, "--write")
    assert load_sources(settings.sources).for_stream("replenit", TENANT, "orders").columns["OrderId"] == "Order No"
    assert "has the block now" in written.out
    before = settings.sources.read_text()
    (folder / "other").mkdir()
    for name in ("landing", "other"):
        again = call("init", "--landing", name, *SOURCE)
        assert again.status == (0 if name == "landing" else 2)
    assert f".env sets SYNC_LANDING to {landing} already; --replace replaces it" in again.err
    assert settings.sources.read_text() == before
    assert call("init", "--landing", "other", *SOURCE, "--replace").status == 0
    assert f"SYNC_LANDING='{folder / 'other'}'" in env.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "init needs --partner and --tenant"),
        (("--partner", "pocketflows", "--tenant", "t"), "init needs --stream"),
        (("--partner", "replenti", "--tenant", TENANT), "unknown partner 'replenti'; did you mean replenit?"),
        (("--partner", "replenit", "--tenant", "acme"), "POST /orders/<GUID>"),
        (("--partner", "nilo", "--tenant", "../acme"), "cannot be the name of a folder"),
        ((*SOURCE, "--database", "localhost"), "bundled or a URL such as postgresql://"),
        ((*SOURCE, "--landing", "/no/such/folder"), "the nearest existing folder is /"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(
    call: Call, folder: Path, options: tuple[str, ...], says: str, settings: Settings
) -> None:
    done = call("init", *options)
    assert done.status == 2
    assert says in done.err
    assert not any(folder.iterdir()) and not settings.sources.exists()


def test_a_terminal_is_asked_again_after_a_wrong_answer(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.delenv("SYNC_DATABASE_URL")
    url = str(settings.database_url)
    answers = ["", "localhost", url, "nill", "nilo", "acme"]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    done = call("init")
    assert done.status == 0, done.out + done.err
    assert done.out.count("did you mean nilo?") == 1
    assert (folder / ".env").read_text() == f"SYNC_DATABASE_URL='{url}'\n"
    assert "SYNC_LANDING" not in (folder / ".env").read_text()
    assert load_sources(settings.sources).listed == {"nilo": {"acme"}}
