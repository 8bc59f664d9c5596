"""Rollouts as the tasks of a run go through them, on the emulator, with callers all the while."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.rollout_start import Plan
from airflow_azureml.client.rollouts import Helm
from airflow_azureml.core.rollout import Deed, LookAgain, Policy, Progress, decide
from airflow_azureml.core.rollout_limits import Limits
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.wire.rollout import look
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, Emulator
from tests.contract.controlled import client_of, controlled_emulator
from tests.contract.test_online_operators import GROUP, NAME, SCORE, SUBSCRIPTION, World

POLICY = Policy(
    steps=("mirror:50", 50, 100),
    looks=1,
    least_requests=5,
    least_time=timedelta(0),
    soak=timedelta(0),
    limits=Limits(failures_at_most=0, p95_ms_at_most=2000, p95_times_champion=None),
)
RAISES = SCORE.replace("    asked = json", '    raise ValueError("always")\n    asked = json')
OWNER = "d/r/g"


@define
class Story:
    """A rollout as the tasks of a run go through it, with callers all the while.

    Attributes:
        answers: What callers got: the status, and which deployment answered.
        splits: Every split that was seen.
    """

    world: World
    helm: Helm
    answers: list[tuple[int, str]] = field(factory=list)
    splits: list[Split] = field(factory=list)

    def plan(self, owner: str = OWNER, **options: Any) -> Plan:
        """Say what is rolled out."""
        told: dict[str, Any] = {"deployment": "new", "lives": lambda run: run == OWNER, **options}
        return Plan(
            endpoint=self.world.endpoint,
            policy=POLICY,
            owner=owner,
            instance="a",
            **told,
        )

    async def roll(self, *, until: Phase | None = None, step: int = -1) -> Rollout:
        """Go on until it has ended, or is at a step and traffic follows."""
        found, progress = await self.helm.written.read(self.world.endpoint), Progress.new(self.now)
        while not found.phase.is_final and found.phase is not until:
            seen = await self.helm.client.run(look(self.helm.workspace, found, until=self.now))
            self.splits.append(seen.split)
            if step >= 0 and found.step == step and seen.split == found.split:
                break
            decision = decide(found, progress, seen, policy=POLICY, now=self.now)
            progress = decision.progress
            if isinstance(decision, LookAgain):
                self.minute_passes()
                continue
            later = await self.helm.do(found, decision, policy=POLICY)
            if decision.deed is Deed.REMOVE:
                self.minute_passes()
            progress = progress if later.count == found.count else Progress.new(self.now)
            found = later
        return found

    @property
    def now(self) -> float:
        """The emulator's time."""
        told = self.world.http.get("/control/clock").raise_for_status().json()["now"]
        return datetime.fromisoformat(told).timestamp()

    def minute_passes(self) -> None:
        """Let callers ask within a minute of its own."""
        self._advance()
        for _ in range(20):
            answered = self.world.ask(data=[1])
            self.answers.append((answered.status_code, answered.headers.get("azureml-model-deployment", "")))
        self._advance()

    def _advance(self) -> None:
        self.world.http.post("/control/clock/advance", json={"seconds": 60}).raise_for_status()


@contextlib.contextmanager
def serving(folder: Path, azurite: tuple[int, int]) -> Iterator[Emulator]:
    """Serve an emulator in which the model `slope` is registered."""
    with controlled_emulator(folder, azurite) as made:
        store = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
        with (
            client_of(made) as http,
            BlobServiceClient(f"{made.addresses.blob}/{DEV_ACCOUNT}", credential=store) as blobs,
        ):
            found = http.get(f"{ARM_ID}/datastores/workspaceblobstore?api-version=2024-10-01").raise_for_status().json()
            container = blobs.get_container_client(found["properties"]["containerName"])
            container.upload_blob("slope/slope.txt", "2.5", overwrite=True)
            uri = "azureml://datastores/workspaceblobstore/paths/slope/"
            body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
            http.put(f"{ARM_ID}/models/slope/versions/1?api-version=2024-10-01", json=body).raise_for_status()
        yield made


@contextlib.contextmanager
def shop(served: Emulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Make an endpoint whose deployment `old` takes all requests; leave no fault behind."""
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    extra |= {"authentication": "emulator", "endpoint": served.addresses.http}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))
    with client_of(served) as http:
        made = World(served, http, folder, f"shop-{uuid.uuid4().hex[:8]}")
        made.spec()
        made.ensure()
        made.deploy("old")
        made.move(old=100)
        yield made
        http.delete("/control/online")
