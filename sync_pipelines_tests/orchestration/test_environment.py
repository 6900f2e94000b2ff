"""What services and runs are given of the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.orchestration.services import build_services

PULL = {"url": "https://nilo.example.com", "api_key": {"env": "NILO_KEY"}, "authorization": {"env": "NILO_TOKEN"}}


def test_services_get_what_they_need_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [
        "AWS_SECRET_ACCESS_KEY",
        "SYNC_LANDING",
        "DAGSTER_X",
        "https_proxy",
        "SSL_CERT_FILE",
        "LC_ALL",
        "PGPASSFILE",
    ]
    others = ["GITHUB_TOKEN", "STRIPE_KEY", "DATABASE_URL", "NPM_TOKEN", "MY_PATH", "XAWS_SECRET"]
    for name in [*needed, *others]:
        monkeypatch.setenv(name, "value")
    settings = Settings(home=tmp_path / "home", sources=tmp_path / "sources.yaml")
    for service in build_services("127.0.0.1", 3000, tmp_path, settings):
        assert {*needed, "PATH", "DAGSTER_HOME"} <= service.environment.keys()
        assert not service.environment.keys() & {*others}


def test_secrets_that_a_source_names_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NILO_TOKEN", "s3cret")
    sources = tmp_path / "sources.yaml"
    settings = Settings(home=tmp_path / "home", sources=sources)
    listed = {"partner": "nilo", "tenant": "acme", "streams": {"stores": {"pull": PULL}}}
    sources.write_text(json.dumps({"sources": [listed]}))
    assert [s.environment.get("NILO_TOKEN") for s in build_services("127.0.0.1", 3000, tmp_path, settings)] == [
        "s3cret"
    ] * 2
    sources.write_text("sources: [")
    assert "NILO_TOKEN" not in build_services("127.0.0.1", 3000, tmp_path, settings)[0].environment
