"""What a task's log tells of its job: by the trigger alone against an emulator, and in a running Airflow."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_azureml.triggers.job import LAST_WORDS_S, TOLD_STEPS
from airflow_azureml.triggers.poller import ASIDES
from tests.airflow.test_poller import Service, event, scripted, service, trigger, until_quiet

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

__all__ = ["scripted", "service"]

DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint

for kind, deferrable in (("followed", True), ("followed_in_the_worker", False)):
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLPipelineOperator(
            task_id="run",
            pipeline=BatchEndpoint("small"),
            inputs={"word": "heard", "seconds": 6, "code": 3},
            outputs={"result": "azureml://datastores/workspaceblobstore/paths/small/{key}/"},
            deferrable=deferrable,
            follow="log",
            poll_interval=timedelta(seconds=1),
        )
    globals()[dag.dag_id] = dag
"""


def _history(service: Service) -> int:
    """Count what run history was asked since the test began."""
    rows: list[dict[str, Any]] = service.http.get("/control/requests").json()["requests"]
    return sum(sum(row["statuses"].values()) for row in rows if "history" in row["route"])


def _start(service: Service, **script: Any) -> str:
    body = {"count": 1, "prefix": service.prefix, "script": script}
    first: str = service.http.post("/control/jobs", json=body).raise_for_status().json()["first"]
    return first


@pytest.mark.anyio
async def test_a_trigger_tells_each_change_of_a_pipelines_steps_once_and_asks_little(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {"early": [["Running", 0.2], ["Completed", 0]], "late": [["Running", 2], ["Completed", 0]]}
    job = _start(service, statuses=[["Running", 2.5], ["Completed", 0]], steps=steps)

    told = await event(trigger(job, follow="steps"))

    said = re.findall(r"Step \w+ is [\w .]+?(?= {2,}| \[)", capsys.readouterr().out)
    assert told[TOLD_STEPS] is True
    assert len(said) == len(set(said))
    assert "Step late is Running" in said
    assert "Step late is Completed after 2.0 s" in said
    assert "Step early is Completed after 0.2 s" in said
    assert _history(service) == 2, "one look while it ran, since the next is due 15 s later, and one at its end"
    await until_quiet()


@pytest.mark.anyio
async def test_a_command_costs_no_request_more_while_only_steps_are_followed(service: Service) -> None:
    job = _start(service, statuses=[["Running", 1], ["Completed", 0]], log="a secret of the job's own\n")

    told = await event(trigger(job, follow="steps"))

    assert told[TOLD_STEPS] is False
    assert _history(service) == 0
    await until_quiet()


@pytest.mark.anyio
async def test_a_trigger_tells_a_commands_log_and_trouble_with_it_ends_no_wait(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    job = _start(service, statuses=[["Running", 1], ["Completed", 0]], log="one\ntwo\n")
    broken = _start_other(service)
    service.http.put("/control/faults", json=[{"path": f".*/runs/{broken}/details", "status": 503}]).raise_for_status()

    first = await event(trigger(job, follow="log"))
    second = await event(trigger(broken, follow="log"))

    said = capsys.readouterr().out
    assert said.count(f"Log of job {job}:\none\ntwo") == 1
    assert said.count(f"The log of job {broken} cannot be read just now") == 1
    assert f"The log of job {job} cannot" not in said
    assert (first["job"]["status"], second["job"]["status"]) == ("Completed", "Completed")
    assert "sig=" not in said
    await until_quiet()


@pytest.mark.anyio
async def test_many_pipelines_share_what_may_be_asked_and_their_ends_do_not_wait_for_it(service: Service) -> None:
    count, runs_s = 60, 3.0
    script = {"statuses": [["Running", runs_s], ["Completed", 0]], "steps": {"one": [["Running", 100]]}}
    body = {"count": count, "prefix": service.prefix, "script": script}
    service.http.post("/control/jobs", json=body).raise_for_status()
    began = time.monotonic()

    told = await asyncio.gather(
        *(event(trigger(f"{service.prefix}-{number:05d}", follow="steps")) for number in range(count))
    )

    took_s = time.monotonic() - began
    assert {each["job"]["status"] for each in told} == {"Completed"}
    assert 20 <= _history(service) <= ASIDES.burst + ASIDES.rate * took_s + ASIDES.at_once
    assert took_s < runs_s + LAST_WORDS_S + 10
    await until_quiet()


def _start_other(service: Service) -> str:
    body = {"count": 1, "prefix": f"{service.prefix}-other", "script": [["Running", 1], ["Completed", 0]]}
    first: str = service.http.post("/control/jobs", json=body).raise_for_status().json()["first"]
    return first


def test_a_failed_step_is_told_with_its_last_lines_and_its_page_in_a_trigger_and_in_a_worker(
    small: Small, dags_folder: Path
) -> None:
    (dags_folder / "following_dags.py").write_text(DAGS)
    runs = [small.begin(kind) for kind in ("followed", "followed_in_the_worker")]

    for run in runs:
        assert small.until(run, deadline_s=150)["state"] == "failed"
        log = small.log(run)
        assert log.count("Log of step say:\nsaying heard") == 1, log
        assert log.count("Step say is Failed after") == 1, log
        assert "The last lines of step say:\n" in log
        assert f"The step say: {small.emulator.http}/ui/jobs/" in log
        assert "sig=" not in log
