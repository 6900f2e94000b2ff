"""The session with an SFTP server: who it is, who we are, sessions that end, links that are slow or frozen."""

from __future__ import annotations

import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.errors import ConfigurationError, ExportError, LandingUnavailable
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.landing import Landing
from sync_pipelines_tests.sftp_server import SftpServer, sftp_server
from sync_pipelines_tests.slow_link import Link, link_to

STORES = "nilo/t/stores"
PATH = f"{STORES}/a.json"
CONTENT = bytes(range(256)) * 40_000
ROUND_TRIP = 0.04


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A landing with one file of 10 MB."""
    (tmp_path / "landing" / STORES).mkdir(parents=True)
    (tmp_path / "landing" / PATH).write_bytes(CONTENT)
    return tmp_path / "landing"


@pytest.fixture
def server() -> Iterator[SftpServer]:
    """An SFTP server."""
    with sftp_server() as running:
        yield running


def opened(server: SftpServer, root: Path, port: int = 0, **access: Any) -> Landing:
    """The landing behind a server whose key is known, by way of a port."""
    port = port or server.port
    known_hosts = server.known_hosts(root.parent, port)
    return Landing(f"{server.url_at(port)}{root}", access=Access(**{"sftp_known_hosts": known_hosts, **access}))


def paths(landing: Landing) -> list[str]:
    return [file.path for file in landing.list("nilo", "stores")]


def content(landing: Landing) -> bytes:
    with landing.open(PATH) as file:
        return file.read()


# -- who the server is, and who we are -------------------------------------------------------------------------


def test_a_server_that_is_not_known_is_refused(server: SftpServer, root: Path, tmp_path: Path) -> None:
    known_hosts = tmp_path / "none"
    with pytest.raises(ConfigurationError, match=r"^host_key_unknown: the SFTP server 127\.0\.0\.1 ") as caught:
        paths(opened(server, root, sftp_known_hosts=known_hosts))
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {known_hosts}" in caught.value.hint
    assert server.key.fingerprint in caught.value.message


def test_a_server_whose_key_changed_is_refused(server: SftpServer, root: Path, tmp_path: Path) -> None:
    with sftp_server() as other:
        known_hosts = other.known_hosts(tmp_path, server.port)
    with pytest.raises(ConfigurationError, match=r"^host_key_changed: ") as caught:
        paths(opened(server, root, sftp_known_hosts=known_hosts))
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {known_hosts}" in caught.value.hint


def test_servers_that_the_user_knows_are_known(
    server: SftpServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(server.known_hosts(tmp_path).read_text())
    assert paths(opened(server, root, sftp_known_hosts=None)) == [PATH]


def test_a_wrong_password_is_a_sentence(server: SftpServer, root: Path, tmp_path: Path) -> None:
    url = server.url.replace("open", "s3cret")
    landing = Landing(f"{url}{root}", access=Access(sftp_known_hosts=server.known_hosts(tmp_path)))
    with pytest.raises(
        ConfigurationError, match=r"^landing_refused: the SFTP server 127\.0\.0\.1 denied access to ana"
    ) as caught:
        paths(landing)
    assert "s3cret" not in str(caught.value)


def test_a_password_or_a_key_beside_the_url(server: SftpServer, root: Path, tmp_path: Path) -> None:
    url = f"{server.url.replace(':open', '')}{root}"
    known_hosts, key_file = server.known_hosts(tmp_path), tmp_path / "key"
    server.user_key.write_private_key_file(str(key_file), password="open")
    for access in (
        Access(sftp_known_hosts=known_hosts, sftp_password="open"),
        Access(sftp_known_hosts=known_hosts, sftp_password="open", sftp_key_file=key_file),
    ):
        assert paths(Landing(url, access=access)) == [PATH]
    key_file.unlink()
    with pytest.raises(ConfigurationError, match=f"SYNC_SFTP_KEY_FILE={key_file} cannot be read"):
        paths(Landing(url, access=Access(sftp_known_hosts=known_hosts, sftp_key_file=key_file, timeout=59)))


# -- sessions that end -----------------------------------------------------------------------------------------


def test_a_session_that_ended_is_begun_again(server: SftpServer, root: Path) -> None:
    landing = opened(server, root)
    assert paths(landing) == [PATH]
    server.end_sessions()
    assert paths(landing) == [PATH]
    server.end_sessions()
    assert content(landing) == CONTENT


def test_a_server_that_was_away_is_found_again(server: SftpServer, root: Path) -> None:
    landing = opened(server, root)
    assert paths(landing) == [PATH]
    server.close()
    with pytest.raises(LandingUnavailable):
        paths(landing)
    with sftp_server(server.port, server.key):
        assert paths(landing) == [PATH]
        assert content(landing) == CONTENT


def test_a_read_that_breaks_off_is_tried_again(server: SftpServer, root: Path) -> None:
    landing = opened(server, root)
    with landing.open(PATH) as file:
        assert file.read(1_000) == CONTENT[:1_000]
        server.end_sessions()
        with pytest.raises(ExportError, match=r"^file_unreadable: reading nilo/t/stores/a\.json failed"):
            while file.read(1 << 20):
                pass
    assert content(landing) == CONTENT


def test_a_read_from_a_server_that_is_gone_is_no_fault_of_the_file(server: SftpServer, root: Path) -> None:
    landing = opened(server, root)
    with landing.open(PATH) as file:
        server.close()
        with pytest.raises(LandingUnavailable):
            while file.read(1 << 20):
                pass


# -- links that are frozen or slow -----------------------------------------------------------------------------


@pytest.fixture
def link(server: SftpServer) -> Iterator[Link]:
    """A link to the server that can be frozen."""
    with link_to(server.port) as link:
        yield link


def unavailable_within(seconds: float, landing: Landing, path: str = "") -> None:
    begun = time.monotonic()
    with pytest.raises(LandingUnavailable, match=r"^landing_unavailable: "):
        content(landing) if path else paths(landing)
    assert time.monotonic() - begun < seconds


def test_a_server_that_accepts_and_says_nothing(server: SftpServer, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unavailable_within(8, opened(server, root, silent.getsockname()[1], timeout=1))


@pytest.mark.parametrize("after", [200, 1_200, 1_700, 2_000, 2_100, 2_200, 2_300, 2_500])
def test_a_server_that_freezes_while_it_is_connected_to(server: SftpServer, root: Path, link: Link, after: int) -> None:
    link.freeze(after)
    unavailable_within(8, opened(server, root, link.port, timeout=1))


def test_a_server_that_freezes_between_two_looks(server: SftpServer, root: Path, link: Link) -> None:
    landing = opened(server, root, link.port, timeout=1)
    assert paths(landing) == [PATH]
    link.freeze()
    unavailable_within(8, landing)
    link.thaw()
    assert paths(landing) == [PATH]


def test_a_server_that_freezes_in_mid_file(server: SftpServer, root: Path, link: Link) -> None:
    landing = opened(server, root, link.port, timeout=1)
    assert paths(landing) == [PATH]
    link.freeze(1_000_000)
    unavailable_within(8, landing, PATH)
    link.thaw()
    assert content(landing) == CONTENT


def test_a_slow_link_is_read_ahead(server: SftpServer, root: Path) -> None:
    with link_to(server.port, ROUND_TRIP) as link:
        landing = opened(server, root, link.port)
        paths(landing)
        begun = time.monotonic()
        assert content(landing) == CONTENT
        # 32 KB a round trip would take 13 s.
        assert time.monotonic() - begun < 6


def test_a_read_needs_little_memory(server: SftpServer, root: Path) -> None:
    (root / PATH).write_bytes(CONTENT * 4)
    landing = opened(server, root)
    paths(landing)
    tracemalloc.start()
    size = 0
    with landing.open(PATH) as file:
        while block := file.read(1 << 16):
            size += len(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 4 * len(CONTENT)
    assert peak < 16 << 20


def test_threads_share_a_session(server: SftpServer, root: Path) -> None:
    for number in range(300):
        (root / STORES / f"{number}.json").write_bytes(b"%d" % number)
    landing = opened(server, root)
    faults: list[BaseException] = []

    def look() -> None:
        try:
            for _ in range(5):
                assert len(paths(landing)) == 301
                assert content(landing) == CONTENT
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_fork_has_a_session_of_its_own(server: SftpServer, root: Path) -> None:
    assert paths(opened(server, root)) == [PATH]
    child = os.fork()
    if not child:
        try:
            found = paths(opened(server, root))
        except BaseException:
            found = []
        os._exit(0 if found == [PATH] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert paths(opened(server, root)) == [PATH]
