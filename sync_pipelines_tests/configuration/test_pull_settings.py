"""What `sources.yaml` may say of a pull, and what a wrong word is told (N11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.errors import ConfigurationError

SOURCE = """\
sources:
  - partner: nilo
    tenant: acme
    streams:
      stores:
        pull:
          url: https://api.example.com/dev/
          api_key: {env: NILO_API_KEY}
          authorization: {env: NILO_TOKEN}
          scheme: Bearer
          take: 50
          enabled: true
          timeout: 2.5
"""


def test_N11_the_settings_of_a_pull(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCE)
    sources = load_sources(tmp_path / "sources.yaml")
    found = sources.for_stream("nilo", "acme", "stores").pull
    assert found is not None
    shown = found.model_dump()
    assert shown == {
        "url": "https://api.example.com/dev",
        "api_key": {"env": "NILO_API_KEY"},
        "authorization": {"env": "NILO_TOKEN"},
        "scheme": "Bearer",
        "take": 50,
        "enabled": True,
        "timeout": 2.5,
        "attempts": 5,
        "wait": 1,
        "longest_wait": 60,
        "seconds": 3600,
        "page_bytes": 256_000_000,
    }
    assert sources.pulled("nilo", "stores") == ["acme"] and sources.pulled("replenit", "orders") == []


def test_N11_how_a_listing_is_pulled_does_not_change_how_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(SOURCE)
    pulled = load_sources(path).for_stream("nilo", "acme", "stores")
    path.write_text(SOURCE[: SOURCE.index("        pull:")] + "        strict: false\n")
    assert pulled.fingerprint == load_sources(path).for_stream("nilo", "acme", "stores").fingerprint


@pytest.mark.parametrize(
    ("was", "becomes", "line", "key", "says"),
    [
        ("url: https://api.example.com/dev/", "uri: x", 7, ".pull.uri", "did you mean url?"),
        ("          url: https://api.example.com/dev/\n", "", 6, ".pull.url", "this key is missing"),
        ("https://api.example.com/dev/", "api.example.com", 7, ".pull.url", "invalid URL"),
        ("https://api.example.com/dev/", "https://u:hunter2@example.com", 7, ".pull.url", "no password"),
        ("https://api.example.com/dev/", "https://example.com/?key=hunter2", 7, ".pull.url", "no parameters"),
        ("          api_key: {env: NILO_API_KEY}\n", "", 6, ".pull.api_key", "this key is missing"),
        ("{env: NILO_TOKEN}", "hunter2", 9, ".pull.authorization", "a secret must not be in the file"),
        ("{env: NILO_TOKEN}", "{evn: X}", 9, ".pull.authorization", "env"),
        ("scheme: Bearer", "scheme: Bearer hunter2", 10, ".pull.scheme", "a scheme is one word"),
        ("take: 50", "take: 0", 11, ".pull.take", "invalid value 0"),
        ("enabled: true", "enabled: 7", 12, ".pull.enabled", "invalid value 7"),
        ("timeout: 2.5", "timeout: 0", 13, ".pull.timeout", "invalid value 0"),
        ("timeout: 2.5", "attempts: 0", 13, ".pull.attempts", "invalid value 0"),
        (
            "        pull:\n",
            "        path: '*.csv'\n        pull:\n",
            7,
            ".stores.pull",
            "does not match pulled exports",
        ),
        ("        pull:\n", "        format: csv\n        pull:\n", 7, ".stores.pull", "remove `format`"),
        ("tenant: acme", "tenant: ../acme", 6, ".stores.pull", "cannot be a folder name"),
    ],
)
def test_N11_a_wrong_setting_is_told_with_line_and_key(
    tmp_path: Path, was: str, becomes: str, line: int, key: str, says: str
) -> None:
    assert was in SOURCE
    (tmp_path / "sources.yaml").write_text(SOURCE.replace(was, becomes, 1))
    with pytest.raises(ConfigurationError) as caught:
        load_sources(tmp_path / "sources.yaml")
    message = str(caught.value)
    assert f"sources.yaml line {line}, " in message and key in message and says in message
    assert "hunter2" not in message


def test_N11_a_stream_without_a_listing_is_not_pulled(tmp_path: Path) -> None:
    text = SOURCE.replace("nilo", "reten").replace("stores", "commerces")
    (tmp_path / "sources.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match="reten/commerces has no listing to pull"):
        load_sources(tmp_path / "sources.yaml")


def test_N11_the_page_of_nilo_tells_every_key_and_its_example_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/partners/nilo.md").read_text()
    pulling = page[page.index("## Pulling") : page.index("## Your own CSV")]
    (example,) = re.findall(r"```yaml\n(.*?)```", pulling, re.DOTALL)
    (tmp_path / "sources.yaml").write_text(example)
    found = load_sources(tmp_path / "sources.yaml").for_stream("nilo", "acme", "stores").pull
    assert found is not None
    assert re.findall(r"^\| `(\w+)` \|", pulling, re.MULTILINE) == [
        *("url", "api_key", "authorization", "scheme", "take", "enabled", "timeout", "attempts", "wait"),
        *("longest_wait", "seconds", "page_bytes"),
    ]
    assert set(re.findall(r"^\| `(\w+)` \|", pulling, re.MULTILINE)) == type(found).model_fields.keys()
