"""What Event Grid says of a workspace, written to the storage queues that asked for it.

The events, their subjects and their fields are those of
https://learn.microsoft.com/azure/event-grid/event-schema-machine-learning, in the Event Grid schema: a version of a
model was registered, models were deployed to a batch endpoint, a run's status changed, a run has completed. What Azure
writes of a batch endpoint is not documented; here ``ServiceName`` is the endpoint. Drift is never detected here.

The store says what has changed after it has kept it, and the message follows: as with Event Grid, whoever made the
change has long had the answer. A job that goes as a script says has no process, so its changes are told when the
emulator's clock has come to them; those of a scripted job that began before a restart are not.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from azureml_emulator.clock import CLOCK
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes.experiments import experiment_id
from azureml_emulator.routes.history import run_type
from azureml_emulator.settings import MLEventQueue
from azureml_emulator.store import Run
from azureml_emulator.watched_store import WatchedStore

log = logging.getLogger(__name__)

Json = dict[str, Any]
Tell = Callable[[Json, Sequence[str]], Awaitable[bool]]

#: How often scripted jobs are looked at, in real seconds, and how many of them at once.
TICK_S, AT_ONCE = 0.1, 100
_MODEL = re.compile(
    r"(?P<workspace>.+/workspaces/[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE
)
_DEPLOYMENT = re.compile(r"(?P<workspace>.+)/batchEndpoints/(?P<endpoint>[^/]+)/deployments/[^/]+", re.IGNORECASE)

_ONLINE = re.compile(r"(?P<workspace>.+)/onlineEndpoints/(?P<endpoint>[^/]+)/deployments/[^/]+", re.IGNORECASE)


# the events


def event(workspace: str, kind: str, subject: str, *, data: Json, at_s: float) -> Json:
    """Write an event.

    Args:
        workspace: The workspace's ARM id, which is the event's topic.
        kind: The type, without what all types begin with.
        subject: What it is about.
        data: What is particular to the type.
        at_s: When it happened, by the emulator's clock: Unix time in seconds.
    """
    return {
        "topic": workspace,
        "subject": subject,
        "eventType": f"{PROVIDER}.{kind}",
        "eventTime": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
        "id": str(uuid.uuid4()),
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    }


def of_resource(arm_id: str, body: Mapping[str, Any], *, is_new: bool, at_s: float) -> Json | None:
    """Write the event of a resource that was put; None where Event Grid has none for it."""
    properties = body.get("properties") or {}
    if is_new and (found := _MODEL.fullmatch(arm_id)):
        name, version = found["name"], found["version"]
        data = {
            "ModelName": name,
            "ModelVersion": version,
            "ModelTags": properties.get("tags") or {},
            "ModelProperties": properties.get("properties") or {},
        }
        return event(found["workspace"], "ModelRegistered", f"models/{name}:{version}", data=data, at_s=at_s)
    if (found := _DEPLOYMENT.fullmatch(arm_id)) and (model := (properties.get("model") or {}).get("assetId")):
        return _deployed(found, body, model=model, compute="AMLCOMPUTE", at_s=at_s)
    is_served = properties.get("provisioningState") == "Succeeded"
    if (found := _ONLINE.fullmatch(arm_id)) and is_served and (model := properties.get("model")):
        return _deployed(found, body, model=model, compute=str(body["kind"]).upper(), at_s=at_s)
    return None


def _deployed(found: re.Match[str], body: Mapping[str, Any], *, model: str, compute: str, at_s: float) -> Json:
    """Write the event of a deployment; what Azure says of the compute of an endpoint is not documented."""
    data = {
        "ServiceName": found["endpoint"],
        "ServiceComputeType": compute,
        "ModelIds": _model_id(str(model)),
        "ServiceTags": body.get("tags") or {},
        "ServiceProperties": body["properties"].get("properties") or {},
    }
    return event(found["workspace"], "ModelDeployed", f"endpoints/{found['endpoint']}", data=data, at_s=at_s)


def _model_id(asset_id: str) -> str:
    found = _MODEL.fullmatch(asset_id.removeprefix("azureml:"))
    return f"{found['name']}:{found['version']}" if found else asset_id


def of_run(run: Run, status: str, *, at_s: float) -> Iterator[Json]:
    """Write the events of a run whose status has become this one."""
    experiment = experiment_id(WorkspaceName.of_arm_id(run.workspace), run.experiment)
    data = {
        "experimentId": experiment,
        "experimentName": run.experiment,
        "runId": run.name,
        "runType": run_type(run),
        "runTags": run.tags,
        "runProperties": run.properties,
    }
    subject = f"experiments/{experiment}/runs/{run.name}"
    yield event(run.workspace, "RunStatusChanged", subject, data={**data, "runStatus": status}, at_s=at_s)
    if status == "Completed":
        yield event(run.workspace, "RunCompleted", subject, data=data, at_s=at_s)


# telling them


class MLEvents:
    """Tells what happens in the workspaces, in the order in which it happens.

    Args:
        store: Where it happens.
        queues: Who asked for what.
        tell: Tells queues of an event.
        last_words_s: How long the end may take to tell what has happened until then, in seconds.
    """

    def __init__(
        self, store: WatchedStore, queues: Sequence[MLEventQueue], tell: Tell, *, last_words_s: float = 3.0
    ) -> None:
        self._store = store
        self._queues = queues
        self._tell = tell
        self._last_words_s = last_words_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Json] = deque()
        self._scripted = _Scripted(store, self._put)
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Listen from now on; where no queue asked, nothing is done and nothing is spent."""
        if not self._queues:
            return
        self._store.told_of_put = self._was_put
        self._store.told_of_run = self._has_run
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._scripted.keep_time())]

    async def close(self) -> None:
        """Tell what has happened, as far as that is done soon, and listen no more."""
        deadline = self._loop.time() + self._last_words_s
        while self._waiting and self._loop.time() < deadline:  # noqa: ASYNC110  # what is waited for is a task of ours
            await asyncio.sleep(TICK_S)
        if self._waiting:
            log.warning("EVENTS LOST: %d events of workspaces were not told: the emulator stops", len(self._waiting))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _was_put(self, arm_id: str, body: Mapping[str, Any], is_new: bool) -> None:
        if made := of_resource(arm_id, body, is_new=is_new, at_s=CLOCK.now_s()):
            self._put([made])

    def _has_run(self, before: Run | None, run: Run) -> None:
        if run.script is not None:
            self._loop.call_soon_threadsafe(self._scripted.look_at, run.workspace, run.name)
        elif before is not None and before.status != run.status:
            self._put(of_run(run, run.status, at_s=CLOCK.now_s()))

    def _put(self, events: Iterator[Json] | Sequence[Json]) -> None:
        """Keep events to be told; the store calls from any thread."""
        self._waiting.extend(events)
        self._loop.call_soon_threadsafe(self._woken.set)

    async def _send(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                first = self._waiting[0]
                await self._tell(first, [each.queue for each in self._queues if each.wants(first["eventType"])])
                self._waiting.popleft()


@attrs.define
class _Scripted:
    """Says what scripted jobs have come to, when the clock has come to it.

    Attributes:
        put: Takes the events.
        told: How many of the words of each job's course were told, its first one included, which is no change; kept
            for good, since a job that was cancelled is looked at once more when it would have ended.
    """

    store: WatchedStore
    put: Callable[[Iterator[Json]], None]
    told: dict[tuple[str, str], int] = attrs.field(factory=dict)
    _due: list[tuple[float, int, tuple[str, str]]] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)
    _some: asyncio.Event = attrs.field(factory=asyncio.Event)

    def look_at(self, workspace: str, name: str) -> None:
        """Look at a job that is new, or was cancelled."""
        self._look_at((workspace, name), 0.0)

    def _look_at(self, key: tuple[str, str], at_s: float) -> None:
        heapq.heappush(self._due, (at_s, next(self._numbers), key))
        self._some.set()

    async def keep_time(self) -> None:
        """Look at each job when it is due, for ever."""
        while True:
            await self._some.wait()
            now_s = CLOCK.now_s()
            for _ in range(AT_ONCE):
                if self._due and self._due[0][0] <= now_s:
                    self._tell(heapq.heappop(self._due)[2], now_s)
            if not self._due:
                self._some.clear()
            await asyncio.sleep(0 if self._due and self._due[0][0] <= now_s else TICK_S)

    def _tell(self, key: tuple[str, str], now_s: float) -> None:
        """Tell the words that have come since the last time, and wait for the next."""
        run = self.store.run(*key)
        if run is None:
            return
        course = self.store.course(*key)
        told = self.told.get(key, 1)
        come = [each for each in course if each[0] <= now_s]
        for at_s, word in come[told:]:
            self.put(of_run(run, word, at_s=at_s))
        self.told[key] = max(told, len(come))
        if len(come) < len(course):
            self._look_at(key, course[len(come)][0])
