"""The nodes of a compute: no more than it may have, in the order in which jobs came, and up only while needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.cli import main
from azureml_emulator.clock import CLOCK
from azureml_emulator.queues import Cluster, Limits, Nodes, Ticket
from azureml_emulator.runner import Runner
from azureml_emulator.store import Run
from tests.unit.emulator.world import ADDRESSES, World, eventually, node

Json = dict[str, Any]

# one cluster, decided purely


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    most = draw(st.integers(0, 5))
    return Limits(most=most, least=draw(st.integers(0, most)), idle_s=draw(st.sampled_from([0.0, 5.0, 100.0])))


#: What happens: a job comes (how many nodes), one that holds or waits leaves (which), nodes come up, time passes, and
#: the compute may have another number of nodes.
events = st.one_of(
    st.tuples(st.just("come"), st.integers(1, 3)),
    st.tuples(st.just("leave"), st.integers(0, 7)),
    st.tuples(st.just("up"), st.integers(0, 7)),
    st.tuples(st.just("pass"), st.sampled_from([1, 6, 200])),
    st.tuples(st.just("scale"), st.integers(0, 6)),
)


@attrs.define
class _Story:
    """A cluster and what has happened to it; ``there`` is everybody who has come and not left, in order."""

    limits: Limits
    cluster: Cluster = attrs.field(factory=Cluster)
    there: list[Ticket] = attrs.field(factory=list)
    now_s: float = 0.0

    def tell(self, event: tuple[str, int]) -> None:
        kind, number = event
        if kind == "come":
            self.there.append(Ticket(number))
            self.cluster.join(self.there[-1])
        elif kind == "pass":
            self.now_s += number
        elif kind == "scale":
            self.limits = attrs.evolve(self.limits, most=max(number, self.limits.least))
        elif self.there:
            ticket = self.there[number % len(self.there)]
            if kind == "leave":
                self.there.remove(ticket)
                self.cluster.leave(ticket, self.now_s)
            elif ticket.fresh is not None:
                ticket.is_running = True
        self.cluster.serve(self.limits, self.now_s)

    @property
    def held(self) -> int:
        return sum(ticket.nodes for ticket in self.there if ticket.fresh is not None)

    def nodes(self) -> Nodes:
        return self.cluster.nodes(self.limits, self.now_s)


@given(limits(), st.lists(events, max_size=40))
def test_a_cluster_never_has_more_nodes_than_it_may_nor_fewer_than_it_must(
    allowed: Limits, happened: list[tuple[str, int]]
) -> None:
    story = _Story(allowed)
    for event in happened:
        story.tell(event)

        assert allowed.least <= story.nodes().current <= max(story.limits.most, story.held)
        assert story.nodes().preparing + story.nodes().running == story.held


@given(limits(), st.lists(events, max_size=40))
def test_jobs_are_served_in_the_order_in_which_they_came_and_nobody_waits_for_nothing(
    allowed: Limits, happened: list[tuple[str, int]]
) -> None:
    story = _Story(allowed)
    for event in happened:
        story.tell(event)

        waiting = [ticket for ticket in story.there if ticket.fresh is None]
        assert list(story.cluster.waiting) == waiting
        assert not waiting or story.held + waiting[0].nodes > story.limits.most
        if waiting:
            assert all(ticket.fresh is None for ticket in story.there[story.there.index(waiting[0]) :])


@given(limits(), st.lists(events, max_size=40))
def test_a_node_that_is_up_is_used_before_another_is_started(allowed: Limits, happened: list[tuple[str, int]]) -> None:
    story = _Story(allowed)
    for event in happened:
        idle, known = story.nodes().idle, [ticket for ticket in story.there if ticket.fresh is not None]
        story.tell(event)
        if event[0] != "come" or story.there[-1].fresh is None:
            continue

        fresh = [ticket for ticket in story.there if ticket.fresh is not None and ticket not in known]
        assert [ticket.fresh for ticket in fresh] == [max(0, story.there[-1].nodes - idle)]


@given(limits(), st.lists(events, max_size=40))
def test_when_nobody_is_there_for_long_enough_only_the_least_nodes_are(
    allowed: Limits, happened: list[tuple[str, int]]
) -> None:
    story = _Story(allowed)
    for event in happened:
        story.tell(event)
    for _ in range(len(story.there)):
        story.tell(("leave", 0))
    story.tell(("pass", 200))

    assert story.nodes() == Nodes(preparing=0, running=0, idle=allowed.least)


# jobs that really run

anyio = pytest.mark.anyio


@pytest.fixture
def thawed() -> Iterator[None]:
    """A clock that may be moved, and goes on where it was."""
    before = CLOCK.shown()
    yield
    CLOCK.restore(before)


def _cluster(world: World, name: str = "cpu", *, most: int = 1, idle: str = "PT2M") -> str:
    """Put a compute and give its ARM id."""
    arm_id = f"{world.workspace}/computes/{name}"
    scale = {"maxNodeCount": most, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": idle}
    world.store.put(arm_id, {"id": arm_id, "name": name, "properties": {"properties": {"scaleSettings": scale}}})
    return arm_id


def _on(world: World, command: str, compute: str, **spec: Any) -> Run:
    return world.command(command, spec={"computeId": compute, **spec})


@anyio
async def test_no_more_steps_run_at_once_than_the_cluster_has_nodes_and_the_rest_is_queued_in_order(
    world: World,
) -> None:
    cpu = _cluster(world, most=1)
    first = _on(world, f"echo up; while [ ! -e {world.shared}/go ]; do sleep 0.05; done", cpu)
    await world.said(first, "up")
    others = [_on(world, f"echo {name} >> {world.shared}/order", cpu) for name in "abc"]
    await eventually(lambda: {world.now(run).status for run in others} == {"Queued"}, "the others are queued")

    nodes = world.runner.nodes(cpu)
    (world.shared / "go").touch()
    ends = [(await world.ended(run)).status for run in others]

    assert nodes == Nodes(preparing=0, running=1, idle=0)
    assert ends == ["Completed"] * 3
    assert (world.shared / "order").read_text() == "a\nb\nc\n"


@anyio
async def test_a_full_cluster_holds_nobody_up_who_runs_elsewhere(world: World) -> None:
    small, other = _cluster(world, "small"), _cluster(world, "other")
    busy = _on(world, "echo up; sleep 1000", small)
    await world.said(busy, "up")

    elsewhere = await world.ended(_on(world, "true", other))
    serverless = await world.ended(world.command("true"))

    assert [elsewhere.status, serverless.status, world.now(busy).status] == ["Completed", "Completed", "Running"]


@anyio
async def test_steps_run_on_the_compute_of_their_node_or_on_the_default_one(world: World) -> None:
    for name in ("one", "two"):
        _cluster(world, name)
    true = world.component("true")
    inner = world.put_component({"type": "pipeline", "jobs": {"deep": node(true)}})
    jobs = {
        "named": {**node(true), "computeId": f"{world.workspace}/computes/two"},
        "default": node(true),
        "inner": {**node(inner), "type": "pipeline"},
    }

    run = await world.ended(world.pipeline(jobs, settings={"default_compute": "azureml:one"}))

    steps = world.steps(run)
    steps |= world.steps(steps["inner"])
    assert run.status == "Completed"
    assert [steps[name].spec["computeId"] for name in ("named", "default", "deep")] == ["two", "one", "one"]


@anyio
async def test_a_node_is_queued_for_while_it_starts_and_stays_up_for_the_next_job(world: World) -> None:
    cpu = _cluster(world)
    slow = attrs.evolve(world.settings, node_start_s=600.0)
    alone = attrs.evolve(world, runner=Runner(world.store, world.storage, slow, ADDRESSES))
    run = _on(alone, "true", cpu)
    await eventually(lambda: world.now(run).status == "Queued", "it waits for its node")
    starting = alone.runner.nodes(cpu)
    await alone.runner.close()

    await world.ended(_on(world, "true", cpu))

    assert starting == Nodes(preparing=1, running=0, idle=0)
    assert world.runner.nodes(cpu) == Nodes(preparing=0, running=0, idle=1)


@anyio
@pytest.mark.usefixtures("thawed")
async def test_a_node_that_nobody_uses_goes_after_the_idle_time(world: World) -> None:
    cpu = _cluster(world, idle="PT2M")
    await world.ended(_on(world, "true", cpu))
    CLOCK.advance(110)
    before = world.runner.nodes(cpu).current
    CLOCK.advance(11)

    assert [before, world.runner.nodes(cpu).current] == [1, 0]


@anyio
async def test_cancel_of_a_queued_job_leaves_its_place_to_the_next(world: World) -> None:
    cpu = _cluster(world)
    first = _on(world, "echo up; sleep 1000", cpu)
    await world.said(first, "up")
    second, third = _on(world, f"touch {world.shared}/second", cpu), _on(world, "true", cpu)
    await eventually(lambda: world.now(third).status == "Queued", "the third is queued")

    await world.runner.cancel(world.workspace, second.name)
    await world.ended(second)
    await world.runner.cancel(world.workspace, first.name)

    assert (await world.ended(third)).status == "Completed"
    assert world.now(second).status == "Canceled"
    assert not (world.shared / "second").exists()


@anyio
async def test_a_cluster_that_may_have_more_nodes_serves_those_that_wait(world: World) -> None:
    cpu = _cluster(world, most=1)
    first = _on(world, "echo up; sleep 1000", cpu)
    await world.said(first, "up")
    second = _on(world, "true", cpu)
    await eventually(lambda: world.now(second).status == "Queued", "the second is queued")

    _cluster(world, most=2)
    world.runner.look_at_queue(cpu)

    assert (await world.ended(second)).status == "Completed"
    assert world.now(first).status == "Running"


@anyio
async def test_who_waits_for_a_cluster_that_is_deleted_fails_and_who_runs_goes_on(world: World) -> None:
    cpu = _cluster(world)
    first = _on(world, f"echo up; while [ ! -e {world.shared}/go ]; do sleep 0.05; done", cpu)
    await world.said(first, "up")
    second = _on(world, "true", cpu)
    await eventually(lambda: world.now(second).status == "Queued", "the second is queued")

    world.store.delete(cpu)
    world.runner.look_at_queue(cpu)
    waited = await world.ended(second)
    (world.shared / "go").touch()

    assert waited.status == "Failed"
    assert waited.error is not None
    assert "The compute target cpu was not found" in waited.error["message"]
    assert (await world.ended(first)).status == "Completed"


@anyio
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"computeId": "cpu", "resources": {"instanceCount": 2}}, "asks for 2 nodes, and compute target cpu has 1"),
        ({"computeId": "gone"}, "The compute target gone was not found in workspace testing."),
    ],
    ids=["too many", "gone"],
)
async def test_a_job_that_can_never_have_its_nodes_fails_and_says_so(world: World, more: Json, told: str) -> None:
    _cluster(world)

    run = await world.ended(world.command("true", spec=more))

    assert run.status == "Failed"
    assert run.error is not None
    assert told in run.error["message"]


@anyio
async def test_a_pipeline_with_a_step_on_a_compute_that_is_not_there_runs_nothing(world: World) -> None:
    jobs = {"one": node(world.component("true")), "two": {**node(world.component("true")), "computeId": "gone"}}

    run = await world.ended(world.pipeline(jobs))

    assert run.error is not None
    assert "Node two is to run on compute target gone, which was not found" in run.error["message"]
    assert world.steps(run) == {}


@anyio
async def test_serverless_jobs_have_a_bound_of_their_own(world: World) -> None:
    bound = attrs.evolve(world.settings, serverless_nodes=1, max_steps=4)
    alone = attrs.evolve(world, runner=Runner(world.store, world.storage, bound, ADDRESSES))
    command = f"mkdir {world.shared}/alone || exit 1; sleep 0.1; rmdir {world.shared}/alone"

    ends = await asyncio.gather(*(alone.ended(alone.command(command)) for _ in range(3)))

    assert {run.status for run in ends} == {"Completed"}
    await alone.runner.close()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--serverless-nodes", "0"], "--serverless-nodes 0 would run nothing"),
        (["--node-start", "-1"], "--node-start -1 is no number of seconds from 0 to 600"),
        (["--node-start", "nan"], "--node-start nan is no number"),
    ],
    ids=str,
)
def test_a_limit_that_makes_no_sense_is_refused(
    option: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--state-dir", str(tmp_path), *option])

    assert code == 2
    assert told in capsys.readouterr().err
