"""When the daemon replaces its code server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.constants import GrpcServerCommand

from sync_pipelines.orchestration import daemon
from sync_pipelines.orchestration.private_dagster import keep_code_servers


@pytest.fixture(autouse=True)
def _keeping_code_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = GrpcServerRegistry.clear_all_grpc_endpoints
    monkeypatch.setattr(GrpcServerRegistry, "clear_all_grpc_endpoints", own)
    keep_code_servers(daemon.are_fresh)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GrpcServerRegistry]:
    """The daemon's own kind."""
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with GrpcServerRegistry(
        instance_ref=None,
        server_command=GrpcServerCommand.API_GRPC,
        heartbeat_ttl=30,
        startup_timeout=120,
        wait_for_processes_on_shutdown=True,
    ) as registry:
        yield registry


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python of the code server's own."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o700)
    return script


@pytest.fixture
def origin(tmp_path: Path, python: Path) -> ManagedGrpcPythonEnvCodeLocationOrigin:
    """A code location of nothing."""
    code = tmp_path / "nothing.py"
    code.write_text("import dagster as dg\n\ndefinitions = dg.Definitions()\n")
    target = LoadableTargetOrigin(executable_path=str(python), python_file=str(code), working_directory=str(tmp_path))
    return ManagedGrpcPythonEnvCodeLocationOrigin(target, "nothing")


def replace_spent(registry: Any) -> None:
    """What the daemon asks every minute."""
    registry.clear_all_grpc_endpoints()


def test_a_code_server_lives_until_it_ends_or_has_lived_long(
    registry: GrpcServerRegistry,
    origin: ManagedGrpcPythonEnvCodeLocationOrigin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = registry.get_grpc_endpoint(origin)
    replace_spent(registry)
    assert registry.get_grpc_endpoint(origin) == first
    (process,) = registry._all_processes
    process.server_process.kill()
    process.server_process.wait()
    replace_spent(registry)
    second = registry.get_grpc_endpoint(origin)
    assert second != first
    monkeypatch.setattr(daemon, "LONGEST_LIFE", 0.0)
    replace_spent(registry)
    assert registry.get_grpc_endpoint(origin) != second


def test_one_that_failed_to_start_is_started_again(
    registry: GrpcServerRegistry, origin: ManagedGrpcPythonEnvCodeLocationOrigin, python: Path
) -> None:
    python.chmod(0o600)
    with pytest.raises(DagsterUserCodeProcessError, match="Permission denied"):
        registry.get_grpc_endpoint(origin)
    python.chmod(0o700)
    replace_spent(registry)
    assert registry.get_grpc_endpoint(origin)
