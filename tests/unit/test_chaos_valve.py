"""The valve before Azurite: what was acknowledged outlives a kill, and what is shut is shut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from demo.azure import ACCOUNT, ACCOUNT_KEY
from demo.valve import Valve, ValvedAzurite

CREDENTIAL = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}


def _echo(listening: socket.socket) -> None:
    """Answer everything with itself, until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_repeat, args=(connection,), daemon=True).start()


def _repeat(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while data := connection.recv(100):
            connection.sendall(data)


def test_an_open_valve_passes_both_ways_a_shut_one_cuts_and_refuses_and_it_opens_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_echo, args=(listening,), daemon=True).start()
        with Valve({"echo": listening.getsockname()[1]}) as valve:
            place = ("127.0.0.1", valve.ports["echo"])
            with socket.create_connection(place, timeout=5) as first:
                first.sendall(b"one")
                assert first.recv(100) == b"one"
                valve.shut()
                with pytest.raises(ConnectionResetError):
                    first.recv(100)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(place, timeout=5)
            valve.open()
            with socket.create_connection(place, timeout=5) as again:
                again.sendall(b"two")
                assert again.recv(100) == b"two"


def test_azurite_forgets_nothing_that_it_acknowledged_before_it_was_killed_behind_its_valve(tmp_path: Path) -> None:
    kept: dict[str, str] = {}
    messages: set[str] = set()
    stopped = threading.Event()
    with ValvedAzurite(tmp_path) as azurite:
        blobs = BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=CREDENTIAL, retry_total=0)
        queues = QueueServiceClient(f"{azurite.queue_url}/{ACCOUNT}", credential=CREDENTIAL, retry_total=0)
        blobs.create_container("kept")
        queue = queues.create_queue("kept")

        def write() -> None:
            for number in range(10**6):
                if stopped.is_set():
                    return
                try:
                    answer = blobs.get_blob_client("kept", str(number)).upload_blob(str(number).encode())
                    kept[str(number)] = str(answer["etag"])
                    messages.add(str(queue.send_message(str(number)).id))
                except AzureError:
                    time.sleep(0.05)

        writing = threading.Thread(target=write)
        writing.start()
        time.sleep(1)
        # What Azurite leaves where the first write of a file of contents was cut.
        (tmp_path / "data/__blobstorage__/7a1c3776-0000-0000-0000-000000000000").touch()
        azurite.fall()
        acknowledged = len(kept)
        azurite.rise()
        stopped.set()
        writing.join()

        there = {blob.name: str(blob.etag) for blob in blobs.get_container_client("kept").list_blobs()}
        queued = {str(message.id) for message in queue.receive_messages(messages_per_page=32, visibility_timeout=600)}
        read = blobs.get_blob_client("kept", max(kept)).download_blob().readall().decode()

    assert acknowledged > 0
    assert kept.items() <= {name: _quoted(etag) for name, etag in there.items()}.items()
    assert messages <= queued
    assert read == max(kept)


def _quoted(etag: str) -> str:
    return etag if etag.startswith('"') else f'"{etag}"'
