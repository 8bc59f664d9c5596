"""Pains of `docs/pains.md` that no other module shows."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.triggers.job import JobTrigger, event_of
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Azurite, Emulator
from demo.processes import wait_until

SCRIPT = Path(__file__).resolve().parent / "submit_at_once.py"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator with the control interface."""
    folder = tmp_path_factory.mktemp("scripted")
    with Emulator(folder, azurite, event_queues=(), arguments=["--control"]) as server:
        yield server


@pytest.fixture
def http(scripted: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=scripted.http, trust_env=False, timeout=30) as made:
        yield made
        made.delete("/control/faults")


def extra(emulator: Emulator) -> dict[str, str]:
    return {
        "subscription_id": SUBSCRIPTION,
        "resource_group": RESOURCE_GROUP,
        "workspace": WORKSPACE,
        "authentication": "emulator",
        "endpoint": emulator.http,
    }


async def told_by(trigger: JobTrigger) -> dict[str, Any]:
    """Run a trigger as Airflow does, and return what its one event carries."""
    (event,) = [found async for found in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


def test_tokens_that_expire_while_a_task_waits_are_replaced_and_no_look_is_lost(
    scripted: Emulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = json.dumps({"conn_type": "azureml", "extra": extra(scripted)})
    monkeypatch.setenv("AIRFLOW_CONN_EXPIRING", connection)
    prefix = f"expiring-{uuid.uuid4().hex[:8]}"
    body = {"count": 1, "prefix": prefix, "script": [["Running", 3], ["Completed", 0]]}
    http.post("/control/jobs", json=body).raise_for_status()
    looks = f"{WORKSPACE_ID}/jobs/.*"
    http.put("/control/faults", json=[{"path": looks, "expired_token": True, "every": 2}]).raise_for_status()
    policy = WaitPolicy(first_s=0.2, longest_s=0.2)
    trigger = JobTrigger(
        conn_id="expiring", job=f"{prefix}-00000", submitted_at=time.time(), policy=policy.to_wire(), follow="none"
    )

    with caplog.at_level(logging.INFO):
        told = asyncio.run(told_by(trigger))

    (fault,) = http.get("/control/faults").json()
    job, gave_up = event_of(told)
    assert (job.status, gave_up) == ("Completed", "")
    assert fault["struck"] >= 3
    assert [line for line in caplog.messages if "cannot be seen" in line or "is Unknown" in line] == []


def submitted_at_once(emulator: Emulator, names: list[str], folder: Path) -> dict[str, str]:
    """Submit a job under each name, by a process each, all at the same moment; return how the jobs ended."""
    code, signals = folder / "code", folder / "signals"
    code.mkdir()
    signals.mkdir()
    (code / "words.txt").write_text(f"the same words {uuid.uuid4()}")
    connection = json.dumps(extra(emulator))
    racing = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), connection, name, str(code), str(signals)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    assert wait_until(lambda: len(list(signals.iterdir())) == len(names), deadline_s=120)
    (signals / "go").touch()
    said = [each.communicate(timeout=120)[1] for each in racing]
    assert [each.returncode for each in racing] == [0] * len(names), said
    url = f"{emulator.http}{WORKSPACE_ID}/jobs"

    def _status(name: str) -> str:
        answer = httpx.get(f"{url}/{name}?api-version=2024-01-01-preview", trust_env=False)
        return str(answer.json()["properties"]["status"])

    wait_until(lambda: all(_status(name) in ("Completed", "Failed") for name in names), deadline_s=60)
    return {name: _status(name) for name in names}


def test_two_uploads_of_the_same_code_at_the_same_moment_both_become_jobs_that_have_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    names = [f"race-{number}-{uuid.uuid4().hex[:8]}" for number in range(2)]

    jobs = submitted_at_once(emulator, names, tmp_path)

    assert jobs == dict.fromkeys(names, "Completed")
