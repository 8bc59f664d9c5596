"""Airflow's side of a shared stream, and messages as Event Grid writes them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Self

from airflow.triggers.base import BaseEventTrigger
from airflow.triggers.shared_stream import SharedStreamManager

from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.triggers.receiving import Pace

ACCOUNT = "devstoreaccount1"


class QuickTrigger(BlobArrivalTrigger):
    """The trigger, less patient."""

    pace = Pace(start_delay_s=0.05, visibility_s=30, again_s=1, poll_s=0.1, longest_wait_s=0.3)


def trigger(queue_url: str, kind: type[BlobArrivalTrigger] = QuickTrigger, **changes: Any) -> BlobArrivalTrigger:
    wanted = {"container": changes.pop("container", "incoming"), "prefix": changes.pop("prefix", "")}
    return kind(**{"queue_url": queue_url, "wanted": wanted, "account": ACCOUNT, **changes})


def message(
    path: str,
    *,
    account: str = ACCOUNT,
    container: str = "incoming",
    kind: str = "Microsoft.Storage.BlobCreated",
    base: str = "http://127.0.0.1:10000/",
) -> str:
    event = {
        "topic": f"/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/{account}",
        "subject": f"/blobServices/default/containers/{container}/blobs/{path}",
        "eventType": kind,
        "eventTime": "2026-01-31T18:41:00.9584103Z",
        "id": str(uuid.uuid4()),
        "data": {
            "api": "PutBlob",
            "eTag": "0x8D4BCC2E4835CD0",
            "contentLength": 10,
            "url": f"{base}{account}/{container}/{path}",
            "sequencer": "1",
        },
    }
    return json.dumps(event)


class Listener:
    """What Airflow's triggerer does with one trigger: listen, and number the events that wait for their commit.

    Args:
        at_once: Whether every event is committed as soon as it is there.
    """

    def __init__(
        self, manager: SharedStreamManager, trigger: BaseEventTrigger, number: int = 1, *, at_once: bool = False
    ) -> None:
        self.manager, self.trigger, self.number, self.at_once = manager, trigger, number, at_once
        self.key = trigger.shared_stream_key()
        self.arrivals: list[str] = []
        self.events = 0
        self.waiting: list[int] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        stream = self.manager.subscribe(trigger_id=self.number, trigger=self.trigger, key=self.key)
        try:
            async for event in self.trigger.filter_shared_stream(stream):
                self.events += 1
                self.arrivals += [arrival["path"] for arrival in event.payload]
                bound = self.manager.bind_pending_event(trigger_id=self.number, key=self.key)
                assert bound is not None
                self.waiting.append(bound)
                if self.at_once:
                    self.commit()
        finally:
            await self.manager.unsubscribe(self.number, self.key)

    def commit(self) -> None:
        self.manager.confirm_persisted(self.waiting)
        self.waiting = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def until(condition: Callable[[], object], *, deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)
