"""An endpoint, a store and tasks that roll out, each of which may stop at any request for as long as one likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import define, field

from airflow_azureml.client.rollout_guard import Guard
from airflow_azureml.client.rollout_start import Plan, begin
from airflow_azureml.client.rollouts import Helm, Rollouts
from airflow_azureml.client.workspace_documents import WorkspaceDocuments
from airflow_azureml.core.documents import Document
from airflow_azureml.core.rollout import LookAgain, Policy, Progress, decide
from airflow_azureml.core.rollout_record import Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ServiceError
from airflow_azureml.wire.http import Flow, Request, Response
from airflow_azureml.wire.rollout import look
from tests.unit.provider.conversation import answer

T = TypeVar("T")
EPOCH = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENDPOINT = "shop"
POLICY = Policy(
    steps=("mirror:10", 10, 50, 100),
    looks=2,
    least_requests=100,
    least_time=timedelta(0),
    most_time=timedelta(hours=2),
    soak=timedelta(minutes=5),
)


class Moment:
    """Where a task may be stopped."""

    def __await__(self) -> Generator[None]:
        yield


@define
class Azure:
    """An endpoint as Azure shows it: a change takes a while, and meanwhile what was before holds.

    Attributes:
        deployments: Azure's word for the state of each.
        changing: The change that is under way.
        models: The id of the version that each serves, where it is told.
        bad: Deployments half of whose answers are failures.
        seen: Every split that came into force.
        shows_metrics: Whether we may read them.
    """

    traffic: dict[str, int] = field(factory=lambda: {"old": 100})
    mirror: dict[str, int] = field(factory=dict)
    deployments: dict[str, str] = field(factory=lambda: {"old": "Succeeded"})
    models: dict[str, str] = field(factory=dict)
    changing: dict[str, dict[str, int]] | None = None
    bad: set[str] = field(factory=set)
    seen: list[Split] = field(factory=list)
    shows_metrics: bool = True

    def settle(self) -> None:
        """Get done with what is under way."""
        if self.changing is not None:
            self.traffic, self.mirror = self.changing["traffic"], self.changing["mirrorTraffic"]
            self.seen.append(Split(traffic=self.traffic, mirror=self.mirror))
        self.changing = None
        self.deployments = {name: state for name, state in self.deployments.items() if state != "Deleting"}

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        path = urlsplit(request.url).path.partition("/onlineEndpoints/")[2]
        _, _, below = path.partition("/")
        if "Microsoft.Insights" in below and not self.shows_metrics:
            return answer(403, {"error": {"code": "AuthorizationFailed", "message": "You may not read metrics."}})
        if "Microsoft.Insights" in below:
            return answer(200, self._metrics(request))
        if below.startswith("deployments/") and request.method == "DELETE":
            return self._delete(below.removeprefix("deployments/"))
        if below == "deployments":
            body = [self._deployment(name) for name in self.deployments]
            return answer(200, {"value": body})
        return self._put(request.json) if request.method == "PUT" else answer(200, self._endpoint())

    def _endpoint(self) -> dict[str, Any]:
        state = "Succeeded" if self.changing is None else "Updating"
        properties = {"traffic": self.traffic, "mirrorTraffic": self.mirror, "provisioningState": state}
        return {"name": ENDPOINT, "location": "here", "kind": "Managed", "properties": properties}

    def _deployment(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "properties": {"provisioningState": self.deployments[name], "model": self.models.get(name)},
        }

    def _put(self, body: Mapping[str, Any]) -> Response:
        split = {name: {to: share for to, share in body["properties"][name].items() if share}
                 for name in ("traffic", "mirrorTraffic")}  # fmt: skip
        named = {*split["traffic"], *split["mirrorTraffic"]}
        if self.changing is not None or "Deleting" in {self.deployments.get(name) for name in named}:
            return answer(409, {"error": {"code": "Conflict", "message": "Another change is under way."}})
        both = split["traffic"].keys() & split["mirrorTraffic"].keys()
        if sum(split["traffic"].values()) not in {0, 100} or not named <= self.deployments.keys() or both:
            return answer(400, {"error": {"code": "BadRequest", "message": f"No: {split}"}})
        self.changing = split
        return answer(201, self._endpoint())

    def _delete(self, name: str) -> Response:
        serves = any(name in split for split in (self.traffic, *(self.changing or {}).values()))
        if serves:
            return answer(409, {"error": {"code": "Conflict", "message": f"{name} takes traffic."}})
        self.deployments[name] = "Deleting"
        return answer(202)

    def _metrics(self, request: Request) -> dict[str, Any]:
        name = request.params["$filter"].split("'")[1]
        if "RequestsPerMinute" not in request.params["metricnames"]:
            latency = {"name": {"value": "RequestLatency_P95"}, "timeseries": [_series({}, 20.0)]}
            return {"value": [latency]}
        takes = name in self.traffic or name in self.mirror
        counts = {"200": 60.0 if name in self.bad else 120.0, "500": 60.0 if name in self.bad else 0.0}
        series = [_series({"statusCode": code}, count) for code, count in counts.items() if takes]
        return {"value": [{"name": {"value": "RequestsPerMinute"}, "timeseries": series}]}


def _series(dimensions: Mapping[str, str], average: float) -> dict[str, Any]:
    told = [{"name": {"value": name}, "value": value} for name, value in dimensions.items()]
    return {"metadatavalues": told, "data": [{"timeStamp": "t", "average": average}]}


@define
class Talking:
    """What holds conversations with the endpoint, and may be stopped before and after each request."""

    azure: Azure

    async def run(self, flow: Flow[T]) -> T:
        try:
            request = next(flow)
            while True:
                await Moment()
                given = self.azure.answer(request)
                await Moment()
                try:
                    request = flow.send(given)
                except ServiceError as error:
                    request = flow.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result


@define
class MemoryStore:
    """Documents with compare-and-set, whose caller may be stopped before and after each call."""

    clock: Callable[[], datetime]
    texts: dict[str, tuple[int, str]] = field(factory=dict)

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        await Moment()
        found = {name: self._document(name) for name in ids if name in self.texts}
        await Moment()
        return found

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        return await self.replace({name: ("0", text) for name, text in texts.items()})

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        await Moment()
        done = {}
        for name, (version, text) in changes.items():
            if version == str(self.texts.get(name, (0, ""))[0]):
                self.texts[name] = (int(version) + 1, text)
                done[name] = self._document(name)
        await Moment()
        return done

    async def scan(self, prefix: str) -> Any:
        yield [self._document(name) for name in sorted(self.texts) if name.startswith(prefix)]

    async def now(self) -> datetime:
        return self.clock()

    def _document(self, name: str) -> Document:
        version, text = self.texts[name]
        return Document(id=name, version=str(version), text=text, time=self.clock())


@define
class World:
    """All of it.

    Attributes:
        lives: The runs that Airflow says are at work.
    """

    azure: Azure = field(factory=Azure)
    now: datetime = EPOCH
    lives: set[str] = field(factory=set)
    store: MemoryStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now)

    @property
    def helm(self) -> Helm:
        workspace = Workspace(subscription_id="s", resource_group="g", name="w")
        written = Rollouts(WorkspaceDocuments(self.store))  # type: ignore[arg-type]  # as much of it as is asked
        talking: Any = Talking(self.azure)
        return Helm(client=talking, workspace=workspace, written=written, pause=self._pause)

    @property
    def written(self) -> Rollout:
        """What is written now."""
        (found,) = [Rollout.from_text(text) for _, text in self.store.texts.values()] or [Rollout(endpoint=ENDPOINT)]
        return found

    async def begin(self, run: str, deployment: str, *, policy: Policy = POLICY, again: bool = False) -> None:
        """Do what the task begin does."""
        plan = Plan(
            endpoint=ENDPOINT,
            deployment=deployment,
            policy=policy,
            owner=run,
            instance="a",
            lives=self._lives,
            again=again,
        )
        await begin(self.helm, plan)

    async def roll(self, run: str) -> Rollout:
        """Do what the task roll does, and the trigger for it."""
        helm = self.helm
        found = await helm.written.read(ENDPOINT)
        progress = Progress.new(self.now.timestamp())
        while found.owner == run and not found.phase.is_final:
            now = self.now.timestamp()
            seen = await helm.client.run(look(helm.workspace, found, until=now))
            decision = decide(found, progress, seen, policy=POLICY, now=now)
            progress = decision.progress
            if isinstance(decision, LookAgain):
                await self._pause(decision.after_s)
                continue
            latest = await helm.written.read(ENDPOINT)
            if latest.count == found.count:
                latest = await helm.do(found, decision, policy=POLICY)
            if latest.count != found.count:
                progress = Progress.new(self.now.timestamp())
            found = latest
        return found

    async def restore(self, run: str) -> None:
        """Do what the teardown does."""
        helm = self.helm
        found = await helm.give_back(ENDPOINT, "over", mine=lambda each, _now: each.owner == run)
        if found.owner == run:
            await helm.end(found, policy=POLICY, at_most_s=3600)

    async def guard(self) -> list[Rollout]:
        """Do what the guard does."""
        return await Guard(helm=self.helm, instance="a", lives=self._lives, at_most_s=3600).look_after()

    async def _pause(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        await Moment()

    def _lives(self, run: str) -> bool:
        return run in self.lives


@define
class Task:
    """A task that goes on when it is told to."""

    work: Coroutine[Any, Any, Any]
    is_over: bool = False
    result: Any = None
    error: AzureMLError | None = None

    def go(self, moments: int = 1) -> bool:
        """Let it go on for so many moments; whether it is over then."""
        for _ in range(moments):
            if self.is_over:
                break
            try:
                self.work.send(None)
            except StopIteration as end:
                self.is_over, self.result = True, end.value
            except AzureMLError as error:
                self.is_over, self.error = True, error
        return self.is_over

    def kill(self) -> None:
        """End it where it is."""
        self.work.close()
        self.is_over = True


def finish(world: World, work: Awaitable[Any], *, moments: int = 20_000) -> Any:
    """Let a task come to its end, with Azure at work."""
    task = Task(work)  # type: ignore[arg-type]  # a coroutine
    for _ in range(moments):
        world.azure.settle()
        if task.go():
            break
    assert task.is_over, world.written
    if task.error is not None:
        raise task.error
    return task.result


def begun(world: World, name: str = "new") -> str:
    """Begin a rollout of a deployment that is there; its run."""
    world.azure.deployments[name] = "Succeeded"
    world.lives.add("d/r/g")
    finish(world, world.begin("d/r/g", name))
    return "d/r/g"
