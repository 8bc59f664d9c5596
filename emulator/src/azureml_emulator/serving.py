"""The processes of online deployments: started, kept in number, replaced without a gap, drained, and ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import attrs

from azureml_emulator import data_collection, online_operations, online_specs
from azureml_emulator.clock import CLOCK
from azureml_emulator.environments import EnvironmentBuildError, Environments
from azureml_emulator.names import PROVIDER
from azureml_emulator.online_faults import MESSAGES, OnlineFault, OnlineFaults, failure
from azureml_emulator.online_specs import Spec
from azureml_emulator.processes import end_orphans
from azureml_emulator.serving_logs import INITIALIZER, ServingLog
from azureml_emulator.serving_process import Bundle, Instance, ScoringProcess, StartError, serving_folder
from azureml_emulator.serving_seats import FIRST_PAUSE_S, LONGEST_PAUSE_S, TICK_S, Seat, close_all, open_all, retire
from azureml_emulator.settings import Settings
from azureml_emulator.storage import Storage
from azureml_emulator.store import Store

log = logging.getLogger(__name__)

Json = dict[str, Any]

DEPLOYMENT_TYPE = f"{PROVIDER}/workspaces/onlineEndpoints/deployments"
#: The words for a deployment that is being changed.
CHANGING = frozenset({"Creating", "Updating", "Deleting"})


@attrs.define(eq=False)
class _Fleet:
    """The processes of one deployment.

    Attributes:
        task: What is being done to it.
        operation: The name of the operation that this is.
        is_leaving: Whether its deployment is deleted.
    """

    bundle: Bundle | None = None
    seats: list[Seat] = attrs.field(factory=list)
    task: asyncio.Task[None] | None = None
    operation: str = ""
    is_leaving: bool = False


class Deployments:
    """All online deployments, on the event loop it was made on.

    Args:
        store: Holds their resources.
        storage: Holds their files.
        settings: Which Python serves.
        http: The emulator's plain address.
        faults: What shall go wrong; None for nothing.

    Attributes:
        pending: Says how many requests that were let in hold a deployment, also those that wait for a process; whoever
            lets them in sets it.
    """

    def __init__(
        self, store: Store, storage: Storage, settings: Settings, *, http: str, faults: OnlineFaults | None = None
    ) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings
        self._http = http
        self._environments = Environments(store, settings)
        self._faults = faults or OnlineFaults()
        self.pending: Callable[[str], int] = lambda _: 0
        self._fleets: dict[str, _Fleet] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # what others ask

    def instances(self, deployment_id: str) -> tuple[Instance, ...]:
        """List the processes of a deployment that are ready now; none where it is not there."""
        fleet = self._fleets.get(_key(deployment_id))
        return tuple(seat.instance for seat in fleet.seats if seat.instance) if fleet else ()

    def log(self, deployment_id: str) -> ServingLog:
        """Find the logs of a deployment, also of one that is not there."""
        return ServingLog(self._settings.state_dir, deployment_id)

    # what the server calls

    def recover(self) -> None:
        """Go on from where an emulator before stopped: what served serves again, what was being changed is changed.

        Processes that it left running are killed, and their folders removed.
        """
        if ended := end_orphans(serving_folder(self._settings.state_dir)):
            log.warning("Killed %d scoring processes that the emulator before had left running", ended)
        shutil.rmtree(serving_folder(self._settings.state_dir), ignore_errors=True)
        for body in self._store.of_type(DEPLOYMENT_TYPE):
            fleet = self._fleets[_key(body["id"])] = _Fleet()
            fleet.task = self._spawn(self._resume(body, fleet))

    async def close(self) -> None:
        """End all processes now; deployments stay as they are, and serve again when the emulator starts again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close_all([seat for fleet in self._fleets.values() for seat in fleet.seats])
        shutil.rmtree(serving_folder(self._settings.state_dir), ignore_errors=True)

    # what the routes call

    def deploy(self, deployment_id: str, operation: str) -> None:
        """Bring a deployment to what its resource says, which says ``Updating`` until then.

        Args:
            deployment_id: Its ARM id.
            operation: The name of the operation that is told of the end.
        """
        fleet = self._fleets.get(_key(deployment_id))
        if fleet is None or fleet.is_leaving:
            fleet = self._fleets[_key(deployment_id)] = _Fleet()
            self.log(deployment_id).clear()
        fleet.operation = operation
        fleet.task = self._spawn(self._deploy(deployment_id, fleet))

    def withdraw(self, body: Mapping[str, Any], operation: str = "") -> None:
        """End the processes of a deployment whose resource has just been deleted; what is in them is answered before.

        Args:
            body: What the resource was.
            operation: The name of the operation that is told of the end; empty for none.
        """
        fleet = self._fleets.get(_key(body["id"]))
        if fleet is None:
            online_operations.end(self._store, operation)
            return
        fleet.is_leaving = True
        self._spawn(self._withdraw(body, fleet, operation))

    # the life of a deployment

    async def _resume(self, body: Json, fleet: _Fleet) -> None:
        is_changing = body["properties"]["provisioningState"] in CHANGING
        if serving := self._store.get(f"{body['id']}/serving"):
            pause_s = FIRST_PAUSE_S
            while True:
                try:
                    await self._bring(fleet, body | serving, OnlineFault())
                    break
                except StartError as error:
                    log.warning("Deployment %s does not serve again: %s %s", body["id"], error.code, error)
                if is_changing:
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if is_changing:
            uri = body["properties"]["properties"].get("AzureAsyncOperationUri", "")
            fleet.operation = online_operations.name_of(uri)
            await self._deploy(body["id"], fleet)

    async def _deploy(self, deployment_id: str, fleet: _Fleet) -> None:
        body = self._store.get(deployment_id)
        if body is None:  # it was deleted before this began
            self._cancel(fleet)
            return
        spec = Spec.of(body)
        error: Json | None = None
        try:
            fault = self._faults.strike(spec.endpoint, spec.name) or OnlineFault()
            await self._bring(fleet, body, fault)
        except StartError as refused:
            error = failure(refused.code, str(refused))
        except Exception as broken:  # an operation must end, whatever goes wrong
            log.exception("Deployment %s failed of the emulator itself", deployment_id)
            error = failure("InternalServerError", f"The emulator could not deploy: {broken!r}. Its log has more.")
        if error is None:
            serving = {"properties": body["properties"], "sku": body["sku"]}
            self._store.put(f"{body['id']}/serving", serving)
        self._ended(deployment_id, fleet.operation, error)

    def _ended(self, deployment_id: str, operation: str, error: Json | None) -> None:
        """Write down how a change ended."""
        status = "Failed" if error else "Succeeded"
        if (body := self._store.get(deployment_id)) is not None:
            body["properties"]["provisioningState"] = status
            self._store.put(deployment_id, body)
        online_operations.end(self._store, operation, status=status, error=error)
        log.info("Deployment %s: %s", deployment_id, error["message"] if error else status)

    async def _withdraw(self, body: Mapping[str, Any], fleet: _Fleet, operation: str) -> None:
        if fleet.task is not None and not fleet.task.done():
            fleet.task.cancel()
            await asyncio.gather(fleet.task, return_exceptions=True)
            self._cancel(fleet)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + online_specs.drain_s(body)
        while self.pending(body["id"]) and loop.time() < deadline:  # noqa: ASYNC110  # whoever counts sets no event
            await asyncio.sleep(TICK_S)
        seats, fleet.seats = fleet.seats, []
        await self._retire(seats, fleet.bundle, patience_s=online_specs.drain_s(body))
        if self._fleets.get(_key(body["id"])) is fleet:
            del self._fleets[_key(body["id"])]
        online_operations.end(self._store, operation)

    def _cancel(self, fleet: _Fleet) -> None:
        """Say that what was being done to a deployment is not done any more."""
        online_operations.end(self._store, fleet.operation, status="Canceled", error=failure("OperationCanceled"))

    async def _bring(self, fleet: _Fleet, body: Mapping[str, Any], fault: OnlineFault) -> None:
        """Make the processes what a resource says; where that fails, those that were there stay.

        Raises:
            StartError: It failed.
        """
        if fault.takes_s:
            await _until(CLOCK.now_s() + fault.takes_s)
        if fault.fails:
            raise StartError(fault.fails, fault.message)
        spec, wanted = Spec.of(body), online_specs.capacity(body)
        if fleet.bundle is not None and fleet.bundle.spec == spec:
            await self._scale(fleet, wanted, body, fault)
            return
        bundle = await self._fetch(spec, body)
        try:
            seats = await self._open(bundle, wanted, body, fault)
        except BaseException:
            bundle.remove()
            raise
        before, fleet.seats, old, fleet.bundle = fleet.seats, seats, fleet.bundle, bundle
        self._spawn(self._retire(before, old, patience_s=online_specs.drain_s(body)))

    async def _fetch(self, spec: Spec, body: Mapping[str, Any]) -> Bundle:
        own = self.log(body["id"])
        own.say(f"Downloading {spec.model or 'no model'} and {spec.code or 'no code'}", INITIALIZER)
        try:
            python = await self._python(spec, own)
            folder = serving_folder(self._settings.state_dir)
            bundle = await Bundle.fetch(spec, self._storage, folder, python=python)
        except StartError as error:
            own.say(str(error), INITIALIZER)
            raise
        own.say("Downloaded", INITIALIZER)
        collecting = data_collection.variables(dict(body), http=self._http, folder=bundle.folder)
        return attrs.evolve(bundle, collecting=collecting)

    async def _python(self, spec: Spec, own: ServingLog) -> Path:
        """Find or make the Python of a deployment's environment.

        Raises:
            StartError: It cannot be made.
        """
        try:
            return await self._environments.python(spec.environment, own.path(INITIALIZER))
        except EnvironmentBuildError as error:
            raise StartError("ImageBuildFailure", str(error)) from error

    async def _scale(self, fleet: _Fleet, wanted: int, body: Mapping[str, Any], fault: OnlineFault) -> None:
        assert fleet.bundle is not None  # noqa: S101  # for the type checker
        more = wanted - len(fleet.seats)
        if more > 0:
            fleet.seats = fleet.seats + await self._open(fleet.bundle, more, body, fault)
        elif more < 0:
            left, fleet.seats = fleet.seats[wanted:], fleet.seats[:wanted]
            await self._retire(left, None, patience_s=online_specs.drain_s(body))

    async def _open(self, bundle: Bundle, count: int, body: Mapping[str, Any], fault: OnlineFault) -> list[Seat]:
        """Start some processes, and wait until all are ready.

        Raises:
            StartError: They are not; then all of them have ended.
        """
        own = self.log(body["id"])

        async def start() -> ScoringProcess:
            return await ScoringProcess.start(bundle, own.path())

        seats = [Seat(start, own.say) for _ in range(count)]
        try:
            await open_all(seats, patience_s=online_specs.patience_s(body), never_ready=fault.never_ready)
        except StartError as error:
            if str(error) or not (words := own.last_words()):
                raise
            message = f"{MESSAGES[error.code]} The last line of its log: {words}"
            raise StartError(error.code, message) from error
        return seats

    async def _retire(self, seats: list[Seat], bundle: Bundle | None, *, patience_s: float) -> None:
        await retire(seats, patience_s=patience_s)
        if bundle is not None:
            bundle.remove()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _until(moment_s: float) -> None:
    """Wait until the emulator's clock shows a moment, in Unix seconds."""
    while CLOCK.now_s() < moment_s:  # noqa: ASYNC110  # the clock sets no event
        await asyncio.sleep(TICK_S)


def _key(deployment_id: str) -> str:
    return deployment_id.strip("/").lower()
