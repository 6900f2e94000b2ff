"""A block put into `sources.yaml`: everything else stays, comments too, and what comes out is read as it should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.configuration.sources_writer import add_stream
from sync_pipelines.errors import ConfigurationError

TENANT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
BLOCK = '# made by inspect\ncolumns:\n  OrderId: "No: 1"  # the key\n  Sku: Artículo\ndecimal: ","\n'
OTHER = "11111111-2222-3333-4444-555555555555"

FILES = {
    "missing": None,
    "empty": "",
    "a comment alone": "# ours\n",
    "no source": "sources: []  # none yet\n# end\n",
    "null": "sources:\n",
    "another partner": "# top\nsources:\n- partner: nilo\n  tenant: acme\n  streams: {stores: {strict: true}}  # x\n",
    "another tenant, indented": f"""\
sources:
    - partner: replenit
      tenant: {OTHER}
      streams:
        orders:
          columns: {{OrderId: A}}
          # a last word

# end
""",
    "the tenant without streams": f"sources:\n  - tenant: {TENANT}\n    # why\n    partner: replenit\n",
    "the tenant with empty streams": f"""\
sources:
  - partner: replenit
    tenant: {TENANT}
    streams: {{}}
  - partner: nilo
    tenant: acme
""",
    "the stream with nothing said": f"""\
sources:
  - partner: replenit
    tenant: {TENANT}
    streams:
      orders: {{}}  # to come
  - partner: nilo
    tenant: acme
""",
    "the stream with null": f"sources:\n- partner: replenit\n  tenant: {TENANT}\n  streams:\n    orders:\n",
    "keys in another order": f"sources:\n  - tenant: {TENANT}\n    streams:\n    partner: replenit\n",
    "a text over lines": """\
sources:
  - partner: nilo
    tenant: acme
    streams:
      stores:
        path: |-
          a*
""",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_a_block_is_put_in_and_all_else_stays(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "sources.yaml"
    if text is not None:
        path.write_text(text)
    before = load_sources(path)

    add_stream(path, "replenit", TENANT, "orders", BLOCK)

    after = load_sources(path)
    added = after.streams["replenit", TENANT, "orders"]
    assert (added.columns, added.decimal) == ({"OrderId": "No: 1", "Sku": "Artículo"}, ",")
    others, others_before = ({k: v for k, v in found.streams.items() if k[1] != TENANT} for found in (after, before))
    assert others == others_before
    written = path.read_text().splitlines()
    kept = [line for line in (text or "").splitlines() if "#" in line]
    assert [line for line in kept if line.partition("#")[2] not in "".join(written)] == []
    assert "  # the key" in path.read_text()
    assert os.listdir(tmp_path) == ["sources.yaml"]


def test_a_second_stream_goes_beside_the_first(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    add_stream(path, "pocketflows", "acme", "businesses", "strict: true\n")
    add_stream(path, "pocketflows", "acme", "customers", "")
    assert yaml.safe_load(path.read_text()) == {
        "sources": [
            {"partner": "pocketflows", "tenant": "acme", "streams": {"businesses": {"strict": True}, "customers": {}}}
        ]
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"sources: [{{partner: replenit, tenant: {TENANT}, streams: {{orders: {{}}}}}}]", "in brackets"),
        (f"sources:\n- partner: replenit\n  tenant: '{TENANT.upper()}'\n  streams:\n"
         "    orders: {strict: true}\n", " already"),
        ("sources: [{partner: nilo, tenant: acme}]", "in brackets"),
        (f"sources:\n- {{partner: replenit, tenant: {TENANT}}}", "in braces"),
        ("sources: 7", "expected a list of sources"),
    ],
)  # fmt: skip
def test_a_file_that_takes_no_block_is_left_as_it_is(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=why) as caught:
        add_stream(path, "replenit", TENANT, "orders", BLOCK)
    assert caught.value.exit_status == 2
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["sources.yaml"]


def test_a_link_stays_one_and_rights_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, path = tmp_path / "real" / "s.yaml", tmp_path / "sources.yaml"
    real.write_text("sources: []\n")
    real.chmod(0o640)
    path.symlink_to(real)
    add_stream(path, "nilo", "acme", "stores", "")
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert ("nilo", "acme", "stores") in load_sources(path).streams
