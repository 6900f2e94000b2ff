"""What the project uses of Dagster without documentation: in one module, and as the installed Dagster has it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from dagster._annotations import is_public

import sync_pipelines
from sync_pipelines.orchestration import private_dagster, storage_schema
from sync_pipelines.orchestration.private_dagster import (
    EVENTS,
    STORED_DOCUMENTS,
    STORED_TEXTS,
    BatchingEventLog,
    BatchingStorage,
    DagsterPostgresStorage,
)
from sync_pipelines.stages.export_stages import Workspace

PACKAGE: Final = Path(sync_pipelines.__file__).parent
PRIVATE: Final = Path(private_dagster.__file__)
PRIVATE_MODULES: Final = ("dagster._", "dagster_postgres", "dagster_webserver", "dagster_shared")

_FUNCTIONS: Final = {
    "dagster._cli.utils": {
        "get_instance_for_cli": "(instance_ref=..., logger=...)",
    },
    "dagster._core.events.log": {
        "EventLogEntry.get_dagster_event": "(self)",
    },
    "dagster._core.instance.ref": {
        "InstanceRef.from_dir": "(base_dir, *, config_dir=..., config_filename=..., overrides=...)",
    },
    "dagster._core.remote_origin": {
        "ManagedGrpcPythonEnvCodeLocationOrigin.__new__": "(cls, loadable_target_origin, location_name=...)",
        "RemoteRepositoryOrigin.get_job_origin": "(self, job_name)",
    },
    "dagster._core.storage.event_log.sql_event_log": {
        "SqlEventLogStorage._has_asset_key_col_on_connection": "(self, conn, column_name)",
        "SqlEventLogStorage.index_connection": "(self)",
        "SqlEventLogStorage.prepare_insert_event_batch": "(self, events)",
        "SqlEventLogStorage.store_asset_check_event": "(self, event, event_id)",
    },
    "dagster._core.storage.event_log": {
        "EventLogStorage.get_asset_check_execution_history": (
            "(self, check_key, limit, cursor=..., status=..., partition_filter=...)"
        ),
        "EventLogStorage.get_latest_asset_check_execution_by_key": "(self, check_keys, partition_filter=...)",
        "EventLogStorage.set_concurrency_slots": "(self, concurrency_key, num)",
    },
    "dagster._core.storage.local_compute_log_manager": {
        "LocalComputeLogManager.__init__": "(self, base_dir, polling_timeout=..., inst_data=...)",
    },
    "dagster._core.storage.runs.sql_run_storage": {
        "SqlRunStorage.has_backfill_id_column": "(self)",
        "SqlRunStorage.has_run_stats_index_cols": "(self)",
    },
    "dagster._core.storage.schedules.sql_schedule_storage": {
        "SqlScheduleStorage._has_instigators_table": "(self, conn)",
        "SqlScheduleStorage.has_built_index": "(self, migration_name)",
        "SqlScheduleStorage.has_instigators_table": "(self)",
    },
    "dagster._core.storage.schedules": {
        "ScheduleStorage.get_ticks": "(self, origin_id, selector_id, before=..., after=..., limit=..., statuses=...)",
        "ScheduleStorage.purge_ticks": "(self, origin_id, selector_id, before, tick_statuses=...)",
    },
    "dagster._core.remote_representation.grpc_server_registry": {
        "GrpcServerRegistry.clear_all_grpc_endpoints": "(self)",
    },
    "dagster._core.utils": {
        "make_new_run_id": "()",
    },
    "dagster._core.workspace.context": {
        "WorkspaceProcessContext.__init__": (
            "(self, instance, workspace_load_target, version=..., read_only=..., grpc_server_registry=..., "
            "code_server_log_level=..., server_command=...)"
        ),
        "WorkspaceProcessContext.reload_workspace": "(self)",
    },
    "dagster._core.workspace.load_target": {
        "WorkspaceFileTarget": "(*args, **kwargs)",
    },
    "dagster._utils.interrupts": {
        "setup_interrupt_handlers": "()",
    },
    "dagster._utils.log": {
        "configure_loggers": "(handler=..., formatter=..., log_level=...)",
    },
    "dagster": {
        "DagsterInstance.add_run_tags": "(self, run_id, new_tags)",
        "DagsterInstance.all_instigator_state": (
            "(self, repository_origin_id=..., repository_selector_id=..., instigator_type=..., instigator_statuses=...)"
        ),
        "DagsterInstance.create_run_for_job": (
            "(self, job_def, execution_plan=..., run_id=..., run_config=..., resolved_op_selection=..., status=..., "
            "tags=..., root_run_id=..., parent_run_id=..., op_selection=..., asset_selection=..., "
            "remote_job_origin=..., job_code_origin=..., repository_load_data=...)"
        ),
        "DagsterInstance.from_ref": "(instance_ref)",
        "DagsterInstance.get_backfills": "(self, filters=..., cursor=..., limit=..., status=...)",
        "DagsterInstance.get_records_for_run": "(self, run_id, cursor=..., of_type=..., limit=..., ascending=...)",
        "DagsterInstance.get_tick_retention_settings": "(self, instigator_type)",
        "DagsterInstance.optimize_for_webserver": "(self, statement_timeout, pool_recycle, max_overflow)",
        "DagsterInstance.report_run_failed": "(self, dagster_run, message=..., job_failure_data=...)",
    },
    "dagster_postgres": {
        "DagsterPostgresStorage.__init__": (
            "(self, postgres_url, should_autocreate_tables=..., inst_data=..., token_provider=...)"
        ),
        "DagsterPostgresStorage.config_type": "(cls)",
        "DagsterPostgresStorage.from_config_value": "(cls, inst_data, config_value)",
        "PostgresEventLogStorage.__init__": (
            "(self, postgres_url, should_autocreate_tables=..., inst_data=..., token_provider=...)"
        ),
        "PostgresEventLogStorage._connect": "(self)",
        "PostgresEventLogStorage._store_asset_event": "(self, conn, event, event_id)",
        "PostgresEventLogStorage.dispose": "(self)",
        "PostgresEventLogStorage.has_table": "(self, table_name)",
        "PostgresEventLogStorage.index_transaction": "(self)",
        "PostgresEventLogStorage.store_event": "(self, event)",
        "PostgresEventLogStorage.store_event_batch": "(self, events)",
        "PostgresRunStorage.__init__": (
            "(self, postgres_url, should_autocreate_tables=..., inst_data=..., token_provider=...)"
        ),
        "PostgresScheduleStorage.__init__": (
            "(self, postgres_url, should_autocreate_tables=..., inst_data=..., token_provider=...)"
        ),
    },
    "dagster_webserver.app": {
        "create_app_from_workspace_process_context": (
            "(workspace_process_context, path_prefix=..., live_data_poll_rate=..., **kwargs)"
        ),
    },
}
SIGNATURES: Final = {f"{module}:{name}": there for module, names in _FUNCTIONS.items() for name, there in names.items()}
"""Functions, and classes that are called: `module:name`, with their parameters; `=...` may be left out."""

VALUES: Final = {
    *("dagster._core.events:ASSET_CHECK_EVENTS", "dagster._core.events:ASSET_EVENTS"),
    *("dagster._core.events:PIPELINE_EVENTS", "dagster._core.events:DagsterEventType"),
    "dagster._core.definitions.repository_definition:SINGLETON_REPOSITORY_NAME",
    "dagster._core.remote_representation.grpc_server_registry:GrpcServerRegistry",
    "dagster._core.remote_representation.grpc_server_registry:ServerRegistryEntry",
    "dagster._daemon.cli:main",
    "dagster._core.execution.backfill:BulkActionStatus",
    "dagster._core.storage.dagster_run:FINISHED_STATUSES",
    "dagster._core.storage.dagster_run:NOT_FINISHED_STATUSES",
    "dagster._core.storage.event_log.schema:SqlEventLogStorageTable",
    "dagster._core.storage.noop_compute_log_manager:NoOpComputeLogManager",
    "dagster._core.storage.tags:MAX_RETRIES_TAG",
    "dagster._core.types.loadable_target_origin:LoadableTargetOrigin",
    "dagster._core.scheduler.instigation:SensorInstigatorData.last_tick_start_timestamp",
    "dagster._core.storage.tags:RETRY_ON_ASSET_OR_OP_FAILURE_TAG",
    "dagster._serdes:ConfigurableClassData",
    "dagster_postgres.utils:DagsterPostgresException",
    "dagster_webserver.version:__version__",
    *(f"dagster:DagsterInstance.{name}" for name in ("event_log_storage", "schedule_storage")),
    "dagster._core.events.log:EventLogEntry.dagster_event_type",
    *(
        f"dagster._core.scheduler.instigation:InstigatorState.{name}"
        for name in (
            "instigator_data",
            "instigator_name",
            "instigator_origin_id",
            "instigator_type",
            "origin",
            "selector_id",
        )
    ),
}
"""What is used of Dagster besides functions and classes that are called: `module:name`."""


def found(name: str) -> Any:
    """What a dotted name of Dagster leads to; properties as they are."""
    module, _, path = name.partition(":")
    node: Any = import_module(module)
    for part in path.split("."):
        node = inspect.getattr_static(node, part)
    return node.__func__ if isinstance(node, classmethod | staticmethod) else node


def signature(function: Any) -> str:
    """Names and kinds of parameters, and which of them may be left out; no annotations."""
    bare = [
        parameter.replace(annotation=parameter.empty, default=parameter.empty if is_needed else ...)
        for parameter in inspect.signature(function).parameters.values()
        for is_needed in [parameter.default is parameter.empty]
    ]
    return str(inspect.Signature(bare)).replace("Ellipsis", "...")


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def private_uses(path: Path) -> Iterator[str]:
    """Private modules of Dagster that a file imports or names in a text that is no docstring, and such attributes."""
    for node in nodes(path):
        match node:
            case ast.ImportFrom(module=str(module)) if module.startswith(PRIVATE_MODULES):
                yield from (f"{module}:{alias.name}" for alias in node.names)
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name.startswith(PRIVATE_MODULES))
            case ast.Constant(value=str(text)) if text.startswith(PRIVATE_MODULES) and " " not in text:
                yield text
            case ast.Attribute(value=ast.Name(id=base) | ast.Attribute(attr=base), attr=attribute):
                if base in ("instance", "DagsterInstance") and not is_documented(attribute):
                    yield f"dagster:DagsterInstance.{attribute}"


def is_documented(attribute: str) -> bool:
    there = inspect.getattr_static(dg.DagsterInstance, attribute, None)
    return is_public(there.fget if isinstance(there, property) else there)


def test_what_dagster_does_not_document_is_used_in_one_module() -> None:
    elsewhere = {
        str(path.relative_to(PACKAGE)): uses
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PRIVATE and (uses := list(private_uses(path)))
    }
    assert elsewhere == {}


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_dagster_has_this_function_with_these_parameters(name: str) -> None:
    assert signature(found(name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", sorted(VALUES))
def test_dagster_has_this_name(name: str) -> None:
    found(name)


def test_every_use_of_that_module_is_checked_here() -> None:
    checked = {*SIGNATURES, *VALUES}
    parts = {part for name in checked for part in (name, name.rpartition(".")[0], name.split(":")[0])}
    assert [use for use in private_uses(PRIVATE) if use not in parts] == []


KINDS: Final = [
    kind
    for kind in vars(private_dagster).values()
    if isinstance(kind, type) and kind.__module__ == private_dagster.__name__ and kind.__bases__ != (object,)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_that_is_overridden_is_checked_here(kind: type) -> None:
    overridden = [name for name in vars(kind) if callable(vars(kind)[name]) and hasattr(kind.__base__, name)]
    used = [
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(kind)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        and callable(getattr(kind.__base__, node.attr, None))
    ]  # fmt: skip
    checked = {name.rpartition(".")[2] for name in SIGNATURES}
    assert overridden
    assert {*overridden, *used} - checked == set()


def test_what_is_set_on_dagsters_storage_is_what_it_reads(postgres_instance: dg.DagsterInstance) -> None:
    storage = postgres_instance.get_ref().storage
    assert isinstance(storage, BatchingStorage)
    plain = DagsterPostgresStorage(storage.postgres_url)
    for part in ("_run_storage", "_event_log_storage", "_schedule_storage"):
        assert "_engine" in vars(vars(plain)[part])
    assert storage.event_log_storage is vars(storage)["_event_log_storage"]
    assert isinstance(storage.event_log_storage, BatchingEventLog)


def test_dagster_has_the_tables_and_columns_that_are_named(
    postgres_instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    with workspace.connection() as connection:
        columns = set(
            connection.execute(
                "select table_name::text, column_name::text from information_schema.columns"
                " where table_schema = 'public'"
            ).fetchall()
        )
    named = {*STORED_DOCUMENTS.items(), *STORED_TEXTS.items()}
    named |= {(table, "id") for table in (*STORED_DOCUMENTS, *STORED_TEXTS)}
    named |= {(EVENTS.name, "run_id"), (EVENTS.name, "dagster_event_type")}
    named |= {("runs", "start_time"), ("runs", "end_time"), ("runs", "backfill_id")}
    assert named - columns == set()
    tables = {table for table, _ in columns}
    assert private_dagster._TABLES | {"daemon_heartbeats", "alembic_version"} <= tables
    assert all(table in storage_schema.SET_SCHEMA for table in ("event_logs", "daemon_heartbeats", "alembic_version"))
