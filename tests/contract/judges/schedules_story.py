"""What a user of azure-ai-ml does with schedules while the emulator's clock is moved; prints what happened as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDK is whom it hears
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from azure.ai.ml import MLClient, command, dsl
from azure.ai.ml.constants import TimeZone
from azure.ai.ml.entities import CronTrigger, JobSchedule, RecurrencePattern, RecurrenceTrigger
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

from telling import chapter, ended, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
BASE = sys.argv[1]
PATIENCE_S = 60

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
control = httpx.Client(base_url=BASE, trust_env=False, timeout=20)


def refused(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"type": type(error).__name__, "status": error.status_code, "text": str(error)}
    return {"type": "none"}


def pipeline(name: str) -> Any:
    step = command(command="echo ${{inputs.word}}", environment="azureml:any:1", inputs={"word": name})

    @dsl.pipeline(display_name=name, default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def one_step() -> None:
        step()

    job = one_step()
    job.experiment_name = "on-time"
    return job


def begun(schedule: str) -> list[str]:
    """The jobs that a schedule has begun, oldest first, by their display names."""
    return [one.display_name for one in ml.jobs.list() if one.name.startswith(f"{schedule}-")][::-1]


def wait_for(schedule: str, count: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    while len(names := begun(schedule)) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return names


def advance(hours: float) -> None:
    control.post("/control/clock/advance", json={"seconds": hours * 3600}).raise_for_status()


control.put("/control/tokens", json={"lifetime_s": 30 * 86400}).raise_for_status()
control.post("/control/clock", json={"frozen": True}).raise_for_status()
now = control.get("/control/clock").json()["now"]


@chapter
def created() -> Any:
    trigger = CronTrigger(expression="15 10 * * *", time_zone=TimeZone.UTC)
    wanted = JobSchedule(name="daily", trigger=trigger, create_job=pipeline("daily"), tags={"team": "blue"})
    made = ml.schedules.begin_create_or_update(wanted).result()
    got = ml.schedules.get("daily")
    return {
        "made": [made.name, made.is_enabled, made.provisioning_state],
        "got": [got.display_name, got.tags, got.trigger.expression, got.trigger.time_zone],
        "job": [got.create_job.experiment_name, sorted(got.create_job.jobs)],
        "listed": [one.name for one in ml.schedules.list()],
        "missing": refused(lambda: ml.schedules.get("never")),
    }


@chapter
def fired() -> Any:
    before = begun("daily")
    advance(24)
    first = wait_for("daily", 1)
    advance(24)
    both = wait_for("daily", 2)
    job = next(one for one in ml.jobs.list() if one.name.startswith("daily-"))
    done = ended(ml, job.name)
    return {"now": now, "before": before, "first": len(first), "both": both, "status": done.status, "tags": done.tags}


@chapter
def disabled() -> Any:
    off = ml.schedules.begin_disable("daily").result()
    advance(48)
    recurring = RecurrenceTrigger(frequency="hour", interval=1, schedule=RecurrencePattern(hours=[0], minutes=[0]))
    ml.schedules.begin_create_or_update(
        JobSchedule(name="hourly", trigger=recurring, create_job=pipeline("hourly"))
    ).result()
    advance(1)
    hourly = wait_for("hourly", 1)  # by then, the other's time has gone by as well
    enabled = [one.name for one in ml.schedules.list()]
    ml.schedules.begin_disable("hourly").result()
    on = ml.schedules.begin_enable("daily").result()
    kept = begun("daily")
    advance(24)
    return {
        "off": off.is_enabled,
        "hourly": len(hourly),
        "enabled": enabled,
        "on": on.is_enabled,
        "while_off": len(kept),
        "again": len(wait_for("daily", 3)),
    }


@chapter
def triggered() -> Any:
    result = ml.schedules.trigger("hourly")
    done = ended(ml, result.job_name)
    return {"action": result.schedule_action_type, "status": done.status, "experiment": done.experiment_name}


@chapter
def deleted() -> Any:
    ml.schedules.begin_delete("hourly").result()
    return {
        "gone": refused(lambda: ml.schedules.get("hourly")),
        "again": refused(lambda: ml.schedules.trigger("hourly")),
    }


@chapter
def of_a_job() -> Any:
    """A schedule of a job that ran before."""
    source = ml.jobs.create_or_update(pipeline("source"))
    ended(ml, source.name)
    trigger = CronTrigger(expression="0 0 * * *", time_zone="Mars Standard Time")
    wrong = refused(
        lambda: ml.schedules.begin_create_or_update(
            JobSchedule(name="x", trigger=trigger, create_job=source.id)
        ).result()
    )
    trigger = CronTrigger(expression="0 0 * * *", time_zone=TimeZone.W_EUROPE_STANDARD_TIME)
    ml.schedules.begin_create_or_update(JobSchedule(name="again", trigger=trigger, create_job=source.id)).result()
    result = ml.schedules.trigger("again")
    return {"status": ended(ml, result.job_name).status, "wrong": wrong}


print("\n" + json.dumps(found, default=str))
