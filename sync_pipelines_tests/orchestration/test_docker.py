"""Dockerfile and compose.yaml, held against the project without a container engine."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from sync_pipelines.configuration.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name in SERVICES if name != "db"]
WORKSPACE = yaml.safe_load((ROOT / "deploy/docker/workspace.yaml").read_text())
CODE = WORKSPACE["load_from"][0]["grpc_server"]
IN_IMAGE = {"python", "sync-pipelines", "dagster", "dagster-daemon"}

SERVICE_KEYS = {
    "image", "build", "environment", "volumes", "init", "restart", "stop_grace_period", "security_opt", "cap_drop",
    "command", "depends_on", "healthcheck", "ports", "shm_size",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "start_period", "retries"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "RUN", "ENV", "COPY", "USER", "VOLUME", "EXPOSE", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with the rest of its line; continued lines are joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def environment_of_image() -> dict[str, str]:
    pairs = [pair.split("=", 1) for name, rest in instructions() if name == "ENV" for pair in shlex.split(rest)]
    return {name: value for name, value in pairs}


def parse(words: list[str]) -> dict[str, Any]:
    """The options of a command line, parsed by the command itself, which is not run."""
    program, *rest = words
    if program == "python":
        assert rest[0] == "-m", words
        module = importlib.import_module(rest[1])
        name = re.search(r"^    (?:sys\.exit\()?(\w+)\(\)", (module.__doc__ and _source(module)) or "", re.MULTILINE)
        assert name, rest[1]
        command: click.Command = getattr(module, name[1])
        rest = rest[2:]
    else:
        (point,) = entry_points(group="console_scripts", name=program)
        command = importlib.import_module(point.value.partition(":")[0]).cli
    context = command.make_context(program, rest)
    while isinstance(command, click.Group):
        name_of, command_of, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command_of is not None, words
        command, context = command_of, command_of.make_context(name_of, rest, parent=context)
    return context.params


def _source(module: Any) -> str:
    return Path(module.__file__).read_text().rpartition("__main__")[2]


def variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", text))


def test_the_dockerfile_has_instructions_that_exist_and_ends_as_a_user_of_its_own() -> None:
    parsed = instructions()

    assert {name for name, _ in parsed} <= INSTRUCTIONS
    assert [rest for name, rest in parsed if name == "USER"] == ["sync"]
    assert re.search(r"useradd --uid 10001 .* sync ", " ".join(rest for _, rest in parsed))
    (command,) = [json.loads(rest) for name, rest in parsed if name == "CMD"]
    assert command[0] in IN_IMAGE
    # Hashes of every package, and nothing built from source.
    installs = " ".join(rest for name, rest in parsed if name == "RUN")
    assert "--require-hashes -r locks/pip.txt" in installs
    assert re.search(r"--require-hashes --no-deps --only-binary :all: -r locks/run.txt", installs)
    assert "compileall" in installs


def test_every_file_that_is_copied_exists_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in [word for word in rest.split() if not word.startswith("--")][:-1]
    }

    assert all((ROOT / source).exists() for source in copied)
    assert "*" in ignored
    assert {source for source in copied if source not in sent and source.split("/")[0] not in sent} == set()
    assert sent <= copied, "sent without need"


def test_compose_has_the_keys_that_compose_knows() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTH_KEYS, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[needed]
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("./"), volume
            assert not source.startswith("./deploy") or (ROOT / source).is_file(), volume
    assert {name for name in SERVICES if "healthcheck" not in SERVICES[name]} == {"prepare"}


def test_commands_of_containers_parse() -> None:
    parsed = {name: parse(SERVICES[name]["command"]) for name in OURS}

    assert all(parsed[name]["workspace"] for name in ("daemon", "web"))
    assert (parsed["code"]["port"], parsed["code"]["location_name"]) == (CODE["port"], CODE["location_name"])
    assert parsed["web"]["allow_remote"]
    with pytest.raises(click.ClickException):
        parse(["dagster", "code-server", "begin"])
    with pytest.raises(click.ClickException):
        parse(["python", "-m", "sync_pipelines.orchestration.web_server", "--doors"])


@pytest.fixture(autouse=True)
def _workspace_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that name files of the image are checked against the files that are copied there."""
    convert = click.Path.convert

    def in_project(self: click.Path, value: Any, *rest: Any) -> Any:
        copied = {Path(value).name: value} if isinstance(value, str) and value.startswith("/opt/dagster/") else {}
        here = str(ROOT / "deploy/docker" / Path(value).name) if copied else value
        return convert(self, here, *rest)

    monkeypatch.setattr(click.Path, "convert", in_project)


def test_health_checks_parse_and_ask_the_ports_that_are_served() -> None:
    probe = {name: SERVICES[name]["healthcheck"]["test"] for name in SERVICES if name != "prepare"}

    assert {test[0] for test in probe.values()} == {"CMD"}
    assert parse(probe["code"][1:])["port"] == CODE["port"]
    parse(probe["daemon"][1:])
    compile(probe["web"][3], "healthcheck", "exec")
    url = re.search(r"http://[^']+", probe["web"][3])
    assert url
    port = parse(SERVICES["web"]["command"])["port"]
    assert urlsplit(url[0]).port == port
    assert SERVICES["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"localhost:{port}" in SERVICES["web"]["environment"]["SYNC_UI_URL"]
    assert {str(port), str(CODE["port"])} == {
        word for name, r in instructions() if name == "EXPOSE" for word in r.split()
    }


def test_services_find_each_other() -> None:
    assert CODE["host"] in SERVICES
    assert COMPOSE["x-sync"]["volumes"][0].split(":")[1] == environment_of_image()[PREFIX + "HOME"]
    in_containers = {volume.split(":")[-1] for volume in map(_without_mode, COMPOSE["x-sync"]["volumes"])}
    assert environment_of_image()[PREFIX + "LANDING"] in in_containers
    assert str(Path(environment_of_image()[PREFIX + "SOURCES"]).parent) in in_containers
    (url,) = {SERVICES[name]["environment"][PREFIX + "DATABASE_URL"] for name in OURS}
    parts = urlsplit(re.sub(r"\$\{.*?\}", "secret", url))
    script = (ROOT / "deploy/docker/create_database.sh").read_text()
    assert parts.hostname in SERVICES
    assert re.search(rf"create role {parts.username} login", script)
    assert re.search(rf"create database {parts.path[1:]} owner {parts.username} ", script)
    assert set(re.findall(r"\$(\w+)", script)) <= set(SERVICES["db"]["environment"])


def _without_mode(volume: str) -> str:
    return volume.removesuffix(":ro")


def test_variables_are_settings_and_documented() -> None:
    page = (ROOT / "docs/docker.md").read_text()
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for service in OURS for name in SERVICES[service]["environment"]} | set(environment_of_image())

    assert {name for name in given if name.startswith(PREFIX)} <= known
    assert variables((ROOT / "compose.yaml").read_text()) <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) >= set(SERVICES)


def test_the_script_of_the_database_is_a_shell_script() -> None:
    shell = shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n", ROOT / "deploy/docker/create_database.sh"], check=True)
