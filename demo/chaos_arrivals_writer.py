"""Whoever writes and deletes blobs as a plan says, until each is acknowledged, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections.abc import Sequence
from typing import Self

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from demo.agenda import Agenda
from demo.azure import ACCOUNT, ACCOUNT_KEY, INCOMING
from demo.chaos_arrivals_plan import Write

#: How many write at the same time; the writes of one path are always one after the other.
WRITERS = 3
AGAIN_S = 0.3


class Writer:
    """Writes in threads of its own; use it with ``with``.

    Args:
        blob_url: The blob service whose writes cause events, without the account.
        writes: What, in order.
        agenda: The clock by which each write has its time.
    """

    def __init__(self, blob_url: str, writes: Sequence[Write], agenda: Agenda) -> None:
        self._url = f"{blob_url}/{ACCOUNT}"
        self._agenda = agenda
        self._stopped = threading.Event()
        lanes = [[write for write in writes if _lane(write) == lane] for lane in range(WRITERS)]
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in lanes]
        self._lock = threading.Lock()
        #: How many were acknowledged, and how many requests had no answer or a bad one.
        self.acknowledged = self.unanswered = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def is_done(self) -> bool:
        """Whether all is written, and acknowledged."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, writes: Sequence[Write]) -> None:
        credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        with BlobServiceClient(
            self._url, credential=credential, retry_total=0, connection_timeout=5, read_timeout=30
        ) as service:
            for write in writes:
                while self._agenda.now < write.at_s and not self._stopped.is_set():
                    time.sleep(0.05)
                while not self._stopped.is_set() and not self._try(service, write):
                    time.sleep(AGAIN_S)

    def _try(self, service: BlobServiceClient, write: Write) -> bool:
        """Write once; one that was not answered may have been done, and is done again."""
        blob = service.get_blob_client(INCOMING, write.path)
        try:
            if write.content is None:
                with contextlib.suppress(ResourceNotFoundError):
                    blob.delete_blob()
            else:
                blob.upload_blob(write.content, overwrite=True)
        except AzureError:
            with self._lock:
                self.unanswered += 1
            return False
        with self._lock:
            self.acknowledged += 1
        return True


def _lane(write: Write) -> int:
    return zlib.crc32(write.path.encode()) % WRITERS
