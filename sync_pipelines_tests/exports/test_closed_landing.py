"""What a landing never opens, whoever plants it: links, FIFOs, sockets; and folders that may not be read."""

from __future__ import annotations

import io
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipelines.errors import ExportError, LandingUnavailable
from sync_pipelines.exports.file_names import name_on_disk, shown_name
from sync_pipelines.exports.landing import Landing, LandingFile
from sync_pipelines.exports.storage_interface import ChangedWhileRead
from sync_pipelines_tests.unprivileged import as_nobody, reachable_folder

STORES = "nilo/t/stores"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A landing with one export, beside a folder with another file."""
    landing = tmp_path / "landing"
    for folder in (landing / STORES, landing / "nilo/other/stores", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "a.json").write_bytes(b"x")
    return landing


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A landing that every user can reach."""
    with reachable_folder() as folder:
        (folder / STORES).mkdir(parents=True)
        yield folder


def listed(landing: Landing, *tenants: str) -> Iterator[LandingFile]:
    """Nilo's stores of some tenants; files that links lead to lie in the folders of others."""
    return (file for file in landing.list("nilo", "stores") if file.tenant_folder in tenants)


def codes(files: Iterator[LandingFile]) -> dict[str, str]:
    """Path -> code of its fault, or nothing."""
    return {file.path: file.error.code if file.error else "" for file in files}


def following(root: Path) -> Landing:
    """A landing that follows links wherever it may."""
    return Landing(str(root), lambda partner, tenant, stream: True)


def test_everything_that_is_no_regular_file_is_named(root: Path, tmp_path: Path) -> None:
    stores = root / STORES
    (stores / "environ.ndjson").symlink_to("/proc/self/environ")
    (stores / "beside.json").symlink_to(stores / "a.json")
    (stores / "broken.json").symlink_to(tmp_path / "nowhere")
    (stores / "itself").symlink_to(stores / "itself")
    (stores / "linked").symlink_to(tmp_path / "elsewhere")
    (stores / "_passed_over").symlink_to(tmp_path / "elsewhere")
    (stores / "file.json.part").symlink_to(stores / "a.json")
    os.mkfifo(stores / "pipe.json")
    os.chdir(stores)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.json")
    os.chdir("/")
    os.link(stores / "a.json", stores / "hard.json")
    assert codes(listed(Landing(str(root)), "t")) == {
        f"{STORES}/a.json": "",
        f"{STORES}/beside.json": "link_refused",
        f"{STORES}/broken.json": "link_refused",
        f"{STORES}/environ.ndjson": "link_refused",
        f"{STORES}/hard.json": "",
        f"{STORES}/itself": "link_refused",
        f"{STORES}/linked": "link_refused",
        f"{STORES}/pipe.json": "not_a_regular_file",
        f"{STORES}/socket.json": "not_a_regular_file",
    }


def test_links_are_followed_within_the_landing_alone(root: Path, tmp_path: Path) -> None:
    stores = root / STORES
    (root / "shared").mkdir()
    (root / "shared/b.json").write_bytes(b"shared")
    (stores / "file.json").symlink_to("../../../shared/b.json")
    (stores / "folder").symlink_to(root / "shared")
    (stores / "circle").symlink_to(stores)
    (stores / "environ.json").symlink_to("/proc/self/environ")
    (stores / "out").symlink_to(tmp_path / "elsewhere")
    (root / "shared/out").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "shared/pipe.json")
    (stores / "pipe.json").symlink_to(root / "shared/pipe.json")
    found = codes(listed(following(root), "t"))
    assert found == {
        f"{STORES}/a.json": "",
        f"{STORES}/circle": "link_refused",
        f"{STORES}/environ.json": "link_refused",
        f"{STORES}/file.json": "",
        f"{STORES}/folder/b.json": "",
        f"{STORES}/folder/out": "link_refused",
        f"{STORES}/folder/pipe.json": "not_a_regular_file",
        f"{STORES}/out": "link_refused",
        f"{STORES}/pipe.json": "not_a_regular_file",
    }
    del found[f"{STORES}/circle"]
    for path, code in found.items():
        if code:
            with pytest.raises(ExportError, match=f"^{code}"):
                following(root).open(path)
        else:
            following(root).open(path).close()
    with following(root).open(f"{STORES}/file.json") as content:
        assert content.read() == b"shared"


@pytest.mark.parametrize(("place", "target"), [("nilo/linked", "t"), ("nilo/new/stores", "../t/stores"), ("nilo2", "")])
def test_a_link_in_the_place_of_a_folder_above(root: Path, tmp_path: Path, place: str, target: str) -> None:
    link = root / place
    if place == "nilo2":
        (root / "nilo").rename(tmp_path / "nilo")
        (root / "nilo").symlink_to(tmp_path / "nilo")
        assert codes(Landing(str(root)).list("nilo", "stores")) == {"nilo": "link_refused"}
        assert codes(following(root).list("nilo", "stores")) == {"nilo": "link_refused"}
        assert list(Landing(str(root)).streams()) == []
        return
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    expected = {f"{STORES}/a.json": "", "nilo/other/stores/a.json": ""}
    assert codes(Landing(str(root)).list("nilo", "stores")) == {**expected, place: "link_refused"}
    stores = place if place.endswith("stores") else f"{place}/stores"
    with pytest.raises(ExportError, match=r"^link_refused"):
        Landing(str(root)).open(f"{stores}/a.json")
    assert codes(following(root).list("nilo", "stores")) == {**expected, f"{stores}/a.json": ""}


def test_the_landing_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    landing = Landing(str(tmp_path / "link"))
    assert codes(listed(landing, "t")) == {f"{STORES}/a.json": ""}
    landing.open(f"{STORES}/a.json").close()
    assert landing.publish(f"{STORES}/new/b.json", io.BytesIO(b"y")) == f"{STORES}/new/b.json"


@pytest.mark.parametrize("swapped", [STORES, f"{STORES}/a.json", "nilo"])
def test_what_was_swapped_for_a_link_since_it_was_listed_is_not_opened(
    root: Path, tmp_path: Path, swapped: str
) -> None:
    landing = Landing(str(root))
    (file,) = listed(landing, "t")
    (root / swapped).rename(tmp_path / "away")
    (root / swapped).symlink_to(tmp_path / "away")
    with pytest.raises(ExportError, match=r"^link_refused"):
        landing.open(file.path)


def test_a_swap_in_the_very_moment_of_opening_never_reads_the_target(root: Path, tmp_path: Path) -> None:
    file, link, spare = root / STORES / "a.json", tmp_path / "link", tmp_path / "spare"
    spare.write_bytes(b"x")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            link.symlink_to(secret)
            link.rename(file)
            os.link(spare, link)
            link.rename(file)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(3_000):
            try:
                with Landing(str(root)).open(f"{STORES}/a.json") as content:
                    seen.add(content.read())
            except ExportError as error:
                seen.add(error.code.encode())
    finally:
        is_over.set()
        swapping.join()
    assert {b"x", b"link_refused"} <= seen <= {b"x", b"link_refused", b"file_changed", b"file_vanished"}


def test_a_fifo_in_a_files_place_holds_up_nobody(root: Path) -> None:
    file = root / STORES / "a.json"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ExportError, match=r"^not_a_regular_file: .*FIFO"):
        Landing(str(root)).open(f"{STORES}/a.json")


def test_nothing_is_written_through_a_planted_link(root: Path, tmp_path: Path) -> None:
    (root / STORES / "2026-01-01").symlink_to(tmp_path / "elsewhere")
    (root / STORES / "b.json").symlink_to(tmp_path / "elsewhere/b.json")
    for landing in (Landing(str(root)), following(root)):
        with pytest.raises(ExportError, match=r"^link_refused"):
            landing.publish(f"{STORES}/2026-01-01/b.json", io.BytesIO(b"y"))
    assert Landing(str(root)).publish(f"{STORES}/b.json", io.BytesIO(b"y")) == f"{STORES}/b_2.json"
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a.json"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
@pytest.mark.parametrize("locked", ["nilo", "nilo/t", STORES, f"{STORES}/2026"])
def test_a_folder_that_may_not_be_read_is_a_fault_of_its_own(reachable: Path, locked: str, mode: int) -> None:
    for folder in (f"{STORES}/2026", "nilo/other/stores"):
        (reachable / folder).mkdir(parents=True)
        (reachable / folder / "a.json").write_bytes(b"x")
    (reachable / STORES / "z.json").write_bytes(b"x")
    (reachable / locked).chmod(mode)
    with as_nobody():
        found = codes(Landing(str(reachable)).list("nilo", "stores"))
    (reachable / locked).chmod(0o755)
    if mode == 0o111 and locked == "nilo/t":
        assert set(found.values()) == {""}, "a folder that may be passed is enough above the stream's"
        return
    named = {path for path, code in found.items() if code == "folder_unreadable"}
    assert named == {locked}
    others = {"nilo/other/stores/a.json"} if locked != "nilo" else set()
    assert others <= {path for path, code in found.items() if not code}


def test_a_landing_that_may_not_be_read_is_unavailable(reachable: Path) -> None:
    reachable.chmod(0o000)
    with as_nobody(), pytest.raises(LandingUnavailable, match=r"Permission denied"):
        list(Landing(str(reachable)).list("nilo", "stores"))


def test_a_file_that_may_not_be_read_is_a_fault_of_that_file(reachable: Path) -> None:
    (reachable / STORES / "a.json").touch(mode=0o600)
    with as_nobody(), pytest.raises(ExportError, match=r"^file_unreadable"):
        Landing(str(reachable)).open(f"{STORES}/a.json")


def test_folders_nested_deeper_than_a_path_may_be_long(root: Path) -> None:
    here = os.open(root / STORES, os.O_RDONLY)
    for _ in range(2_500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        found = codes(Landing(str(root)).list("nilo", "stores"))
    finally:
        # Python 3.11 cannot remove folders nested as deep, so pytest could not either.
        subprocess.run(["rm", "-rf", root / STORES / "d"], check=True)
    assert list(found.values()).count("folder_unreadable") == 1
    assert {path for path, code in found.items() if not code} == {f"{STORES}/a.json", "nilo/other/stores/a.json"}


@pytest.mark.parametrize(
    "names",
    [
        [b"2026-06-01\xff.json", rb"2026-06-01\xff.json"],
        [b"\xff", rb"\xff", rb"\x5cxff", rb"\\xff", b"\\\xff"],
        [b"\xed\xa0\x80", rb"\xed\xa0\x80", "é".encode(), b"\xe9", rb"\xe9", rb"\xE9", b"\\", rb"\x", rb"\x5c"],
    ],
)
def test_two_names_never_share_a_path(root: Path, names: list[bytes]) -> None:
    for number, name in enumerate(names):
        (root / STORES / os.fsdecode(name)).write_bytes(b"%d" % number)
    landing = Landing(str(root))
    found = [file.path for file in listed(landing, "t") if file.below != "a.json"]
    assert len(set(found)) == len(names)
    read = set()
    for path in found:
        with landing.open(path) as content:
            read.add(content.read())
    assert len(read) == len(names)


@pytest.mark.parametrize("name", ["a b.json", "ñandú.json", "back\\slash", "x5c", "日本.json"])
def test_plain_names_are_their_own_text(name: str) -> None:
    assert shown_name(name) == name == name_on_disk(name)


@pytest.mark.parametrize("size", [-1, 4_096])
def test_a_file_rewritten_in_place_while_it_is_read(root: Path, size: int) -> None:
    file = root / STORES / "a.json"
    file.write_bytes(b"1" * 1_000_000)
    before = file.stat()
    with Landing(str(root)).open(f"{STORES}/a.json") as content:
        content.read(500_000)
        with file.open("r+b") as writer:
            writer.write(b"2" * 1_000_000)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(ChangedWhileRead):
            while content.read(size):
                pass


def test_links_of_folders_to_each_other_end(root: Path) -> None:
    stores = root / STORES
    for here in range(9):
        (stores / f"d{here}").mkdir()
        (stores / f"d{here}/a.json").touch()
        for there in set(range(9)) - {here}:
            (stores / f"d{here}/l{there}").symlink_to(stores / f"d{there}")
    found = codes(itertools.islice(listed(following(root), "t"), 20_000))
    assert len(found) < 20_000
    assert all(found[f"{STORES}/d{here}/l{(here + 1) % 9}/a.json"] == "" for here in range(9))
    assert set(found.values()) == {"", "link_refused"}


@pytest.mark.parametrize("place", ["nilo/u", "nilo/u/stores"])
def test_a_pipe_in_the_place_of_a_folder_is_named(root: Path, place: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    os.mkfifo(root / place)
    assert codes(listed(Landing(str(root)), "t", "u")) == {
        f"{STORES}/a.json": "",
        place: "not_a_regular_file",
    }
    assert place in codes(Landing(str(root)).list("nilo", "stores"))


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_path_that_the_ledger_cannot_hold_has_a_shorter_one_of_its_own(root: Path, letter: str) -> None:
    folder = root / STORES
    for _ in range(5):
        folder /= letter * (250 // len(letter.encode()))
    folder.mkdir(parents=True)
    for name in ("a.json", "b.json"):
        (folder / name).touch()
    found = codes(listed(Landing(str(root)), "t"))
    assert sorted(found.values()) == ["", "path_too_long", "path_too_long"]
    assert all(len(path.encode()) < 1_000 and path.startswith(STORES) for path in found)
