"""Jobs that are ended from outside: cancelled, closed, or left behind by an emulator that was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from azureml_emulator.store import Run
from tests.unit.emulator.world import World, eventually, node

pytestmark = pytest.mark.anyio

#: A child in the group that ignores SIGTERM, and a leader that waits for it.
STUBBORN = "(trap '' TERM; echo $BASHPID > {pid}; echo up; while :; do sleep 0.1; done) & wait"
OBEDIENT = "echo $$ > {pid}; echo up; sleep 1000 & wait"


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _sleeper(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], env={"TMPDIR": str(folder), "PATH": os.environ["PATH"]})  # noqa: S607


def _pid(path: Path) -> int:
    return int(path.read_text())


async def test_cancel_ends_a_command_and_its_children(world: World) -> None:
    pid = world.shared / "pid"
    run = world.command(OBEDIENT.format(pid=pid))
    await world.said(run, "up")
    begun = time.monotonic()

    told = await world.runner.cancel(world.workspace, run.name)
    at_once = world.now(run).status
    ended = await world.ended(run)

    assert (told, at_once, ended.status) == (True, "CancelRequested", "Canceled")
    assert not _is_alive(_pid(pid))
    assert time.monotonic() - begun < 4
    assert ended.ended is not None


async def test_cancel_kills_a_child_that_ignores_being_asked(world: World) -> None:
    pid = world.shared / "pid"
    run = world.command(STUBBORN.format(pid=pid))
    await world.said(run, "up")

    await world.runner.cancel(world.workspace, run.name)
    ended = await world.ended(run)

    assert ended.status == "Canceled"
    assert not _is_alive(_pid(pid))


async def test_a_child_that_outlives_its_command_is_ended_with_it(world: World) -> None:
    pid = world.shared / "pid"

    run = await world.ended(world.command(f"sleep 1000 & echo $! > {pid}"))

    assert run.status == "Completed"
    await eventually(lambda: not _is_alive(_pid(pid)), "the child is gone")


async def test_cancel_of_a_pipeline_cancels_what_runs_and_what_has_not_begun(world: World) -> None:
    first = world.component("echo up; sleep 1000", outputs={"out": {"type": "uri_folder"}})
    after = world.component("true", inputs={"data": {"type": "uri_folder"}})
    jobs = {"first": node(first), "after": node(after, {"data": "${{parent.jobs.first.outputs.out}}"})}
    run = world.pipeline(jobs)
    await eventually(lambda: "first" in world.steps(run), "the steps are there")
    await world.said(world.steps(run)["first"], "up")

    told = await world.runner.cancel(world.workspace, run.name)
    at_once = {world.now(run).status, *(step.status for step in world.steps(run).values())}
    ended = await world.ended(run)

    assert (told, at_once) == (True, {"CancelRequested"})
    assert (ended.status, {step.status for step in world.steps(run).values()}) == ("Canceled", {"Canceled"})


async def test_cancel_of_a_job_that_waits_for_its_turn_starts_no_process(world: World) -> None:
    before = [world.command("echo up; sleep 1000") for _ in range(world.settings.max_steps)]
    for run in before:
        await world.said(run, "up")
    waiting = world.command(f"touch {world.shared}/started")
    await eventually(lambda: world.now(waiting).status == "Queued", "it waits")

    await world.runner.cancel(world.workspace, waiting.name)

    assert (await world.ended(waiting)).status == "Canceled"
    assert not (world.shared / "started").exists()


async def test_cancel_at_the_very_moment_of_submission_is_a_cancel(world: World) -> None:
    run = world.command("sleep 1000")

    assert await world.runner.cancel(world.workspace, run.name)
    assert (await world.ended(run)).status == "Canceled"


async def test_cancel_twice_is_cancel_once(world: World) -> None:
    pid = world.shared / "pid"
    run = world.command(STUBBORN.format(pid=pid))
    await world.said(run, "up")

    await world.runner.cancel(world.workspace, run.name)
    await asyncio.sleep(0.2)
    await world.runner.cancel(world.workspace, run.name)
    ended = await world.ended(run)

    assert ended.status == "Canceled"
    assert not _is_alive(_pid(pid))


async def test_there_is_nothing_to_cancel_of_a_job_that_ended_or_never_was(world: World) -> None:
    run = await world.ended(world.command("exit 1"))

    assert not await world.runner.cancel(world.workspace, run.name)
    assert not await world.runner.cancel(world.workspace, "never-was")
    assert world.now(run).status == "Failed"


async def test_a_canceled_step_makes_its_pipeline_canceled(world: World) -> None:
    run = world.pipeline({"only": node(world.component("echo up; sleep 1000"))})
    await eventually(lambda: "only" in world.steps(run), "the step is there")
    await world.said(world.steps(run)["only"], "up")

    await world.runner.cancel(world.workspace, world.steps(run)["only"].name)

    assert (await world.ended(run)).status == "Canceled"


async def test_a_step_that_is_canceled_before_its_turn_is_never_started(world: World) -> None:
    flag = world.shared / "go"
    first = world.component(f"while [ ! -e {flag} ]; do sleep 0.05; done", outputs={"out": {"type": "uri_folder"}})
    after = world.component(f"touch {world.shared}/started", inputs={"data": {"type": "uri_folder"}})
    jobs = {"first": node(first), "after": node(after, {"data": "${{parent.jobs.first.outputs.out}}"})}
    run = world.pipeline(jobs)
    await eventually(lambda: "after" in world.steps(run), "the steps are there")

    await world.runner.cancel(world.workspace, world.steps(run)["after"].name)
    flag.touch()
    ended = await world.ended(run)

    assert {name: step.status for name, step in world.steps(run).items()} == {"first": "Completed", "after": "Canceled"}
    assert ended.status == "Canceled"
    assert not (world.shared / "started").exists()


async def test_a_run_that_an_mlflow_client_keeps_is_not_lost_with_the_emulator(world: World) -> None:
    kept = Run(workspace=world.workspace, name="kept", kind="Tracked", status="Running")
    world.store.add_run(kept)

    assert world.runner.recover() == 0
    assert world.now(kept).status == "Running"


async def test_close_kills_at_once_and_fails_everything_with_that_reason(world: World) -> None:
    pid = world.shared / "pid"
    stubborn = world.command(STUBBORN.format(pid=pid))
    await world.said(stubborn, "up")
    first = world.component("echo up; sleep 1000", outputs={"out": {"type": "uri_folder"}})
    after = world.component("true", inputs={"data": {"type": "uri_folder"}})
    pipeline = world.pipeline(
        {"first": node(first), "after": node(after, {"data": "${{parent.jobs.first.outputs.out}}"})}
    )
    await eventually(lambda: "first" in world.steps(pipeline), "the steps are there")
    await world.said(world.steps(pipeline)["first"], "up")
    begun = time.monotonic()

    await world.runner.close()

    ends = [world.now(run) for run in (stubborn, pipeline, *world.steps(pipeline).values())]
    assert {run.status for run in ends} == {"Failed"}
    assert all(run.error is not None and "The emulator stopped" in run.error["message"] for run in ends)
    assert not _is_alive(_pid(pid))
    assert time.monotonic() - begun < 3


async def test_a_job_that_was_running_when_the_emulator_died_is_failed(world: World) -> None:
    pipeline = Run(workspace=world.workspace, name="p", kind="Pipeline", status="Running")
    step = Run(workspace=world.workspace, name="s", kind="Step", status="Running", parent="p", node="only")
    done = Run(
        workspace=world.workspace, name="d", kind="Command", status="Completed", ended="2026-01-01T00:00:00+00:00"
    )
    for run in (pipeline, step, done):
        world.store.add_run(run)
    later = world.again()

    found = later.runner.recover()

    assert found == 2
    assert [later.now(run).status for run in (pipeline, step, done)] == ["Failed", "Failed", "Completed"]
    error = later.now(pipeline).error
    assert error is not None
    assert "The emulator stopped while job p was Running" in error["message"]
    assert later.now(step).ended is not None
    later.store.close()


async def test_what_a_dead_emulator_left_running_is_killed_and_nobody_elses_process(world: World) -> None:
    bench = world.settings.state_dir.absolute() / "runs" / "abc"
    (bench / "tmp").mkdir(parents=True)
    orphan, theirs = (_sleeper(folder) for folder in (bench / "tmp", world.shared / "runs" / "abc" / "tmp"))
    later = world.again()

    later.runner.recover()

    left = theirs.poll()
    theirs.kill()
    theirs.wait()
    later.store.close()
    assert orphan.wait(timeout=10) == -signal.SIGKILL
    assert left is None
    assert not bench.exists()
