"""What ten thousand waiting jobs cost: our triggers, which share a poller, and triggers that each ask for their own.

Both sides are real triggers, run on one event loop as a triggerer runs them, against the emulator, whose jobs go as a
script says: one in ten ends within the minute that is measured, at moments that are known, the others run on. Both look
at a job every 30 s, the default of Databricks' trigger (Data Factory's looks every 60 s), and use the same client, so
that only the way of asking differs. The peer asks as those two do: a client for each trigger, one GET for each job and
poll, no jitter, each beginning at a moment of its own. As each asks for itself, what a thousand ask is measured, and
taken ten times; ten thousand would need 333 answers a second, more than the emulator gives. Our requests are counted by
the emulator, which gives pages of 100; Azure does not say how large its pages are.

Requests are those of a minute after the first round of looks. Memory is what the process has grown by for its triggers,
client and answers, by job. The loop's lag is by how much a sleep of 10 ms is late, the start of all triggers included.
The delay is from a job's end to its trigger's event. What Airflow itself needs for a trigger comes on top, for both.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger
from airflow_azureml.triggers.job import JobTrigger
from airflow_azureml.wire import jobs
from benchmarks.forks import in_child, start_as_airflow_does
from benchmarks.report import Report
from demo.azure import Azurite, Emulator
from demo.stack import airflow_environment

OURS, PEERS = 10_000, 1_000
EVERY_S = 30.0
#: The jobs are created in so many groups; one in `ENDING` of a group ends while we look, all those at the same moment.
GROUPS, ENDING = 50, 10
#: Seconds from the start of the triggers: the first round of looks, then the minute that is measured.
FIRST_S, MEASURED_S = 15.0, 60.0
#: The last of the jobs that end do so early enough for a poll to see it in this time.
ENDS_S = 50.0
LAG_STEP_S, LATEST_S = 0.01, 30.0
FEWEST_TIMES, MOST_KB, MOST_LAG_S = 10, 20, 0.1
CONN_ID = "azureml_default"


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class OneByOneTrigger(DeclaredTrigger):
    """Asks for its own job with a client of its own, as the triggers of Databricks and Data Factory do."""

    job: str
    begins_s: float

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every `EVERY_S` seconds until the job has ended."""
        await asyncio.sleep(self.begins_s)
        settings = await AzureMLHook.aget(CONN_ID)
        async with AzureMLHook.open_async(settings) as client:
            while True:
                job = await client.run(jobs.get(settings.workspace, self.job))
                if job.phase.is_final:
                    yield TriggerEvent({"job": job.to_wire()})
                    return
                await asyncio.sleep(EVERY_S)


def measure() -> Report:
    """Run ours, then the peer's, on the same emulator."""
    with tempfile.TemporaryDirectory() as folder:
        start_as_airflow_does(folder, ["airflow.jobs.triggerer_job_runner"])
        with (
            Azurite(Path(folder) / "azurite") as azurite,
            Emulator(Path(folder) / "emulator", azurite, event_queues=(), arguments=["--control"]) as emulator,
        ):
            environment = airflow_environment(emulator)
            mine = in_child(lambda: _run(emulator.http, "ours", OURS, _our_trigger), environment)
            peer = in_child(lambda: _run(emulator.http, "peer", PEERS, _peer_trigger), environment)
    theirs = peer["requests_a_minute"] * OURS / PEERS
    ratio = theirs / mine["requests_a_minute"]
    small, prompt = mine["kb_a_job"] <= MOST_KB, mine["lag_p99_s"] <= MOST_LAG_S
    return Report(
        benchmark="inflight",
        ours=mine["requests_a_minute"],
        peer=theirs,
        ratio=ratio,
        unit=f"requests a minute for {OURS} waiting jobs, looked at every {EVERY_S:.0f} s",
        goal=f"peer / ours >= {FEWEST_TIMES}, ours <= {MOST_KB} KB a job, loop lag p99 <= {MOST_LAG_S} s",
        ok=ratio >= FEWEST_TIMES and small and prompt and mine["missed"] == 0,
        beside={**_beside(mine), **{f"{name}_peer": value for name, value in _beside(peer).items()}},
    )


def _beside(side: Mapping[str, Any]) -> dict[str, Any]:
    return {name: side[name] for name in side if name not in ("requests_a_minute", "cpu_s")}


def _our_trigger(job: str, submitted_at: float) -> BaseTrigger:
    policy = WaitPolicy(first_s=EVERY_S, longest_s=EVERY_S)
    return JobTrigger(conn_id=CONN_ID, job=job, submitted_at=submitted_at, policy=policy.to_wire())


def _peer_trigger(job: str, _: float) -> BaseTrigger:
    return OneByOneTrigger(job=job, begins_s=random.random() * EVERY_S)  # noqa: S311  # no secret


def _run(http: str, prefix: str, count: int, make: Callable[[str, float], BaseTrigger]) -> dict[str, Any]:
    """Create the jobs, wait for them, and return the figures."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with httpx.Client(base_url=http, trust_env=False, timeout=60) as control:
        return asyncio.run(_wait_for_all(control, *_create(control, prefix, count), make))


def _create(control: httpx.Client, prefix: str, count: int) -> tuple[list[str], dict[str, float]]:
    """Create the jobs, and return their names, oldest first, and when those end that do: seconds since 1970, UTC."""
    names: list[str] = []
    ends: dict[str, float] = {}
    size = count // GROUPS
    moments = [FIRST_S + (ENDS_S - FIRST_S) * number / GROUPS for number in range(GROUPS)]
    random.Random(1).shuffle(moments)  # noqa: S311  # no secret
    for group, moment in enumerate(moments):
        for part, share, runs_s in (("on", size - size // ENDING, 1e6), ("end", size // ENDING, moment)):
            began = time.time()
            body = {"count": share, "prefix": f"{prefix}-{group}-{part}", "script": _script(runs_s)}
            control.post("/control/jobs", json=body).raise_for_status()
            created = [f"{prefix}-{group}-{part}-{number:05d}" for number in range(share)]
            names += created
            if part == "end":
                ends |= dict.fromkeys(created, (began + time.time()) / 2 + runs_s)
    return names, ends


def _script(runs_s: float) -> dict[str, Any]:
    return {"statuses": [["Queued", 5], ["Running", runs_s - 5], ["Completed", 0]]}


async def _wait_for_all(
    control: httpx.Client, names: Sequence[str], ends: Mapping[str, float], make: Callable[[str, float], BaseTrigger]
) -> dict[str, Any]:
    """Run a trigger for each job for `FIRST_S` and `MEASURED_S` seconds and a little more, and return the figures."""
    await AzureMLHook.aget(CONN_ID)
    AzureMLHook.open_async(await AzureMLHook.aget(CONN_ID))
    lags: list[float] = []
    lag = asyncio.create_task(_measure_lag(lags))
    gc.collect()
    before, delays = _resident_bytes(), list[float]()
    submitted_at, tasks = time.time(), dict[str, asyncio.Task[None]]()
    for name in names:
        tasks[name] = asyncio.create_task(_until_event(make(name, submitted_at), ends.get(name), delays))
        await asyncio.sleep(0)
    await asyncio.sleep(FIRST_S)
    await asyncio.to_thread(control.delete, "/control/requests")
    await asyncio.sleep(MEASURED_S)
    counted = (await asyncio.to_thread(control.get, "/control/requests")).json()
    resident = _resident_bytes() - before
    last_s = max(ends.values()) + EVERY_S + LATEST_S - time.time()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(last_s):
            await asyncio.gather(*(task for name, task in tasks.items() if name in ends))
    for task in (lag, *tasks.values()):
        task.cancel()
    await asyncio.gather(lag, *tasks.values(), return_exceptions=True)
    return {
        "requests_a_minute": _job_requests(counted),
        "kb_a_job": round(resident / 1024 / len(names), 2),
        "lag_p99_s": round(statistics.quantiles(lags, n=100)[98], 4),
        "lag_most_s": round(max(lags), 4),
        "delay_p50_s": round(statistics.median(delays), 2),
        "delay_p99_s": round(statistics.quantiles(delays, n=100)[98], 2),
        "ended": len(delays),
        "missed": len(ends) - len(delays),
        "jobs": len(names),
    }


async def _until_event(trigger: BaseTrigger, end: float | None, delays: list[float]) -> None:
    """Run a trigger as a triggerer does, and note how late its event was."""
    async for _ in trigger.run():
        if end is None:
            raise RuntimeError("a job that runs on has fired an event")
        delays.append(time.time() - end)


async def _measure_lag(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + LAG_STEP_S
        await asyncio.sleep(LAG_STEP_S)
        lags.append(loop.time() - wanted)


def _job_requests(counted: Mapping[str, Any]) -> float:
    routes = [row for row in counted["requests"] if row["route"].startswith("{workspace}/jobs")]
    if any(set(row["statuses"]) != {"200"} for row in routes):
        raise RuntimeError(f"the emulator did not answer all: {json.dumps(counted)}")
    return float(sum(row["per_minute"] for row in routes))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
