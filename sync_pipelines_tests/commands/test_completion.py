"""Shell completion: what bash completes, and the scripts of all three shells."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from sync_pipelines.cli import COMPLETE_VARIABLE, cli
from sync_pipelines.commands import completion
from sync_pipelines_tests.exports_in import OTHER, TENANT


def completed(*words: str) -> list[str]:
    """What the last word may become."""
    return [item.value for item in ShellComplete(cli, {}, "x", "X").get_completions([*words[:-1]], words[-1])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sta",), ["status"]),
        (("sync", "--partner", "re"), ["reten", "replenit"]),
        (("sync", "--partner", "pocketflows", "--stream", "b"), ["businesses"]),
        (("rejects", "list", "--stream", "pocketflows/"), ["pocketflows/businesses", "pocketflows/customers"]),
        (("rejects", "list", "--code", "currency_u"), ["currency_unknown"]),
        (("sql", "select * from sync.live_o"), ["select * from sync.live_orders"]),
        (("sql", "select 1 from sync.order_"), ["select 1 from sync.order_items"]),
    ],
)
def test_names_are_completed(words: tuple[str, ...], expected: list[str]) -> None:
    assert completed(*words) == expected


def test_tenants_are_those_of_the_sources_file_and_the_landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for partner, tenant in (("replenit", OTHER), ("nilo", "acme"), ("nilo", ".hidden")):
        (tmp_path / ".sync" / "landing" / partner / tenant).mkdir(parents=True)
    (tmp_path / "sources.yaml").write_text(f"sources:\n  - {{partner: replenit, tenant: {TENANT}}}\n")
    assert completed("sync", "--partner", "replenit", "--tenant", "") == [TENANT, OTHER]
    assert completed("sync", "--stream", "nilo/stores", "--tenant", "a") == ["acme"]
    (tmp_path / "sources.yaml").write_text("sources: 7\n")
    assert completed("sync", "--tenant", "") == []


def test_the_scripts_call_the_program_as_it_was_typed(tmp_path: Path) -> None:
    for shell in ("zsh", "fish"):
        source = completion.script(cli, shell, COMPLETE_VARIABLE)
        assert ("sync-pipelines" in source and "words[1]" in source) or "-opc)[1]" in source
        assert "commands[sync-pipelines]" not in source and "_complete sync-pipelines" not in source
    program = tmp_path / "sync-pipelines"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sync_pipelines "$@"\n')
    program.chmod(0o755)
    typed = (
        "source <(./sync-pipelines completion bash)\nCOMP_WORDS=(./sync-pipelines sync --partner tra) COMP_CWORD=3\n"
        '_sync_pipelines_completion ./sync-pipelines\necho "${COMPREPLY[@]}"; complete -p sync-pipelines'
    )
    done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "traede", done.stderr
    assert "-F _sync_pipelines_completion" in done.stdout
