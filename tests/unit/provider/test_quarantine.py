"""Versions of blobs in quarantine, on a real Azurite behind a real emulator: nothing is lost, nothing is doubled."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen
from azure.storage.blob import BlobServiceClient, ContainerClient
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.client import quarantine, versions
from airflow_azureml.client.versions import GoneError, ReplacedError
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.quarantine import CONTAINER, LONGEST, Cell
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from demo.azure import ACCOUNT, Emulator
from demo.stack import airflow_environment

ACME = "https://acme.blob.core.windows.net"


@frozen
class World:
    """A container of blobs, and a place for quarantine."""

    emulator: Emulator
    incoming: ContainerClient
    settings: ConnectionSettings

    def put(self, path: str, content: bytes = b"a,b\n1,2\n") -> tuple[str, str]:
        """Write a blob; its address and its eTag."""
        written = self.incoming.upload_blob(path, content, overwrite=True)
        return written.url, str(written.get_blob_properties().etag).strip('"')

    def cell(self, url: str, etag: str) -> Cell:
        kept = f"{StorageUrl.parse(url).blob_base}/kept{self.incoming.container_name}"
        return Cell.of(StorageUrl.parse(url), etag, quarantine=kept)

    def kept(self) -> dict[str, bytes]:
        """Read all that is in quarantine."""
        with BlobServiceClient.from_connection_string(self.emulator.connection_string) as service:
            container = service.get_container_client(f"kept{self.incoming.container_name}")
            if not container.exists():
                return {}
            return {str(name): container.download_blob(name).readall() for name in container.list_blob_names()}


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        incoming = service.create_container(f"in{uuid.uuid4().hex[:12]}")
        yield World(emulator=emulator, incoming=incoming, settings=AzureMLHook().settings)


@pytest.mark.parametrize("path", ["a.csv", "2026/11/ü #%?.csv", "no ending", "a//b.csv"])
def test_a_version_is_copied_with_its_report_beside_it_and_stays_where_it_was(world: World, path: str) -> None:
    url, etag = world.put(path, b"x,y\n1,2\n")
    cell = world.cell(url, etag)

    addresses = quarantine.put_away(
        world.settings, url, etag, cell=cell, written={cell.report: b"<p>", cell.verdict: b"{}"}
    )

    assert world.kept() == {cell.copy: b"x,y\n1,2\n", cell.report: b"<p>", cell.verdict: b"{}"}
    assert versions.version_now(world.settings, url).etag == etag
    assert versions.version_now(world.settings, addresses[cell.copy]).size_bytes == 8


def test_a_blob_that_is_named_as_azure_names_it_is_copied_through_the_emulator(world: World) -> None:
    _, etag = world.put("a.csv", b"x,y\n")
    url = f"https://{ACCOUNT}.blob.core.windows.net/{world.incoming.container_name}/a.csv"
    cell = world.cell(url, etag)

    quarantine.put_away(world.settings, url, etag, cell=cell, written={})

    assert world.kept() == {cell.copy: b"x,y\n"}


def test_again_changes_nothing_and_finishes_what_a_death_between_copy_and_report_left(world: World) -> None:
    url, etag = world.put("a.csv")
    cell = world.cell(url, etag)
    quarantine.copy(world.settings, url, etag, cell)
    before = versions.version_now(world.settings, cell.address(cell.copy))

    for _ in range(2):
        quarantine.put_away(world.settings, url, etag, cell=cell, written={cell.report: b"<p>"})

    assert versions.version_now(world.settings, cell.address(cell.copy)) == before
    assert set(world.kept()) == {cell.copy, cell.report}


def test_a_version_that_was_replaced_is_not_mistaken_for_the_new_one(world: World) -> None:
    url, etag = world.put("a.csv", b"old")
    world.put("a.csv", b"new")

    with pytest.raises(ReplacedError, match=f"Copy version {etag} of .*a.csv into quarantine"):
        quarantine.put_away(world.settings, url, etag, cell=world.cell(url, etag), written={"report.html": b"<p>"})

    assert world.kept() == {}


def test_what_was_copied_before_the_blob_was_replaced_counts(world: World) -> None:
    url, etag = world.put("a.csv", b"old")
    cell = world.cell(url, etag)
    quarantine.copy(world.settings, url, etag, cell)
    world.put("a.csv", b"new")

    quarantine.put_away(world.settings, url, etag, cell=cell, written={cell.report: b"<p>"})

    assert world.kept() == {cell.copy: b"old", cell.report: b"<p>"}


def test_what_somebody_else_put_in_the_place_of_a_copy_is_neither_deleted_nor_taken_for_it(world: World) -> None:
    url, etag = world.put("a.csv")
    cell = world.cell(url, etag)
    versions.write_blob(world.settings, cell.address(cell.copy), b"mine")

    with pytest.raises(UnavailableError, match="into quarantine"):
        quarantine.copy(world.settings, url, etag, cell)

    assert world.kept() == {cell.copy: b"mine"}


def test_a_container_that_cannot_be_made_is_an_error_that_names_the_copy(world: World) -> None:
    url, etag = world.put("a.csv")
    cell = evolve(world.cell(url, etag), container="No_Container")

    with pytest.raises(RefusedError, match=r"Copy version .* into quarantine .*No_Container.*\[request "):
        quarantine.copy(world.settings, url, etag, cell)


def test_a_version_is_read_whole_in_pieces(world: World, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # more than two pieces
    url, etag = world.put("big.csv", content)

    versions.download(world.settings, url, tmp_path / "file", etag=etag)

    assert (tmp_path / "file").read_bytes() == content
    versions.check_same(world.settings, url, etag)


def test_an_empty_blob_is_read_as_an_empty_file(world: World, tmp_path: Path) -> None:
    url, etag = world.put("empty.csv", b"")

    versions.download(world.settings, url, tmp_path / "file", etag=etag)

    assert (tmp_path / "file").read_bytes() == b""


def test_another_version_is_never_read_in_place_of_the_one_that_was_asked_for(world: World, tmp_path: Path) -> None:
    url, etag = world.put("a.csv", b"old")
    world.put("a.csv", b"new")

    with pytest.raises(ReplacedError, match=f"Read version {etag} of blob"):
        versions.download(world.settings, url, tmp_path / "file", etag=etag)
    with pytest.raises(ReplacedError, match="was replaced: its version was"):
        versions.check_same(world.settings, url, etag)


def test_a_worker_without_room_on_its_disk_says_so_and_writes_nothing(world: World, tmp_path: Path) -> None:
    url, etag = world.put("a.csv")
    most = shutil.disk_usage(tmp_path).total

    with pytest.raises(ConfigError, match=r"Give the worker a larger disk .*run_on='job'"):
        versions.download(world.settings, url, tmp_path / "file", etag=etag, spare=most)

    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("path", ["missing.csv", "no/such/folder.csv"])
def test_a_blob_that_is_not_there_is_a_clear_error(world: World, tmp_path: Path, path: str) -> None:
    url = f"{world.incoming.url}/{path}"

    with pytest.raises(GoneError, match=r"404 .*There is no such blob"):
        versions.version_now(world.settings, url)
    with pytest.raises(GoneError, match=r"404 .*There is no such blob"):
        versions.download(world.settings, url, tmp_path / "file", etag="0x1")


def place(path: str, base: str = ACME) -> StorageUrl:
    return evolve(StorageUrl.parse(f"{base}/in"), path=f"in/{path}")


@pytest.mark.parametrize(
    ("path", "kept", "told"),
    [
        ("a.csv", "https://other.blob.core.windows.net/q", "in account other, and the data in acme"),
        ("a.csv", f"{ACME}/", "it must name a container"),
        ("a.csv", f"{ACME}/in", "is in the quarantine in already"),
        ("q/a.csv", f"{ACME}/in/q/", "is in the quarantine in/q/ already"),
        ("a.csv", f"{ACME}/q?sig=secret", "must carry no user, no query"),
    ],
)
def test_a_place_that_cannot_be_a_quarantine_is_refused(path: str, kept: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        Cell.of(place(path), "0x1", quarantine=kept)

    assert "secret" not in str(error.value)


def test_a_folder_beside_the_quarantine_is_none_of_it() -> None:
    cell = Cell.of(place("quarantined/a.csv"), "0x1", quarantine=f"{ACME}/in/quarantine")

    assert cell.copy == "quarantine/in/quarantined/a.csv/0x1/data/a.csv"
    assert (cell.base, cell.container) == (ACME, "in")


paths = st.text(min_size=1, max_size=1024) | st.lists(
    st.sampled_from(["a", "b.csv", ".", "..", "", "x.", "data", "\\", "\x00", "y" * 300]), min_size=1, max_size=300
).map("/".join).filter(bool)


etags = st.text(min_size=1, max_size=40)


@given(st.lists(paths, min_size=1, max_size=2, unique=True), st.lists(etags, min_size=1, max_size=2, unique=True))
def test_no_two_versions_share_a_place_and_every_place_has_a_name_that_all_clients_keep(
    names: list[str], versions_of: list[str]
) -> None:
    kept = [(path, etag) for path in names for etag in versions_of]
    cells = [Cell.of(place(path), etag) for path, etag in kept]

    assert len({cell.folder for cell in cells}) == len(kept)
    for cell in cells:
        assert cell.container == CONTAINER
        assert not {"", ".", ".."} & set(cell.copy.split("/"))
        assert len(cell.copy) <= LONGEST
        assert not any(
            one != other and f"{one.folder}/".startswith(f"{other.folder}/data/") for one in cells for other in cells
        )
