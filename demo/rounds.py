"""The retrainings of the demonstration: a better model, a worse one, and data of which a column has shifted."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import httpx
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.models import open_registrar
from airflow_azureml.core.explain import explain
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.workspace import ConnectionSettings
from demo.labelled import Partition, partitions, shifted, whole
from demo.processes import wait_until
from demo.retraining import (
    DAG,
    MODEL,
    ModelLook,
    Retraining,
    RetrainingWitness,
    faults_of_accepted,
    faults_of_quarantined,
    faults_of_rejected,
)
from demo.scenario import ScenarioError
from demo.show import Show, Way
from demo.stack import Stack, airflow_environment

#: The hops of a retraining, and the tasks that each is made of.
HOPS: Mapping[str, tuple[str, ...]] = {
    "data tests": ("take", "partitions", "test_data"),
    "training": ("train",),
    "champion": ("champion", "reevaluate"),
    "gate": ("gate",),
    "model": ("register", "outcome"),
}
#: The asset that whoever writes training data updates.
NEW_DATA = "diabetes training data"
#: The share of the rows that the first model learns from; later there are more.
FIRST_SHARE = 0.25
#: So strong a regularisation that the model predicts hardly more than the mean.
WORSE_ALPHA = 50
#: Seconds that one retraining may take.
DEADLINE_S = 180.0
LOOK_EVERY_S = 1.5
#: Columns of text that a verdict takes at least.
WIDTH = 140


@attrs.frozen
class Round:
    """A retraining, and what became of the model by it."""

    label: str
    run: Retraining
    before: ModelLook
    after: ModelLook


def learn(stack: Stack, show: Show, service: BlobServiceClient) -> list[str]:
    """Let three retrainings happen, show each, and say what is not as it has to be; empty when all is."""
    now = datetime.now(UTC)
    told = Show("From labelled data to a champion", "retraining", tuple(HOPS), console=show.console, began=show.began)
    with RetrainingWitness(stack, service) as witness:
        first = prepare_model(stack, witness, service, now)
        told.say(f"{MODEL}:{first}, which learned from a quarter of the rows, is the champion by a person's word")
        better = round_(told, witness, "the week's run", lambda: turn_on(stack, witness))
        worse = round_(told, witness, f"alpha {WORSE_ALPHA}", lambda: begin(stack, {"alpha": WORSE_ALPHA}))
        odd = shifted(now)
        put(witness, service, odd)
        told.say(f"A partition arrives with a column that is measured in another unit: {odd.path}")
        unfit = round_(told, witness, "shifted column", lambda: tell_of_data(stack, witness))
        is_there = odd.path in witness.names(witness.container_of_datastore(), odd.path)
        return [
            *faults_of_accepted(better.run, better.before, better.after),
            *faults_of_rejected(worse.run, worse.before, worse.after),
            *faults_of_quarantined(unfit.run, unfit.before, unfit.after, path=odd.path, is_there=is_there),
        ]


def prepare_model(stack: Stack, witness: RetrainingWitness, service: BlobServiceClient, now: datetime) -> str:
    """Make the first registered version the champion, and put the labelled data there; returns the version."""
    version = witness.look_at_model().models[0].version
    crown(stack, version)
    for each in (whole(), *partitions(now)):
        put(witness, service, each)
    return version


def crown(stack: Stack, version: str) -> None:
    """Make a version the champion, as a person decides it; there was none before.

    Raises:
        ScenarioError: There is one.
    """
    extra = json.loads(airflow_environment(stack.emulator)["AIRFLOW_CONN_AZUREML_DEFAULT"])["extra"]
    with open_registrar(ConnectionSettings.parse(extra, conn_id="azureml_default")) as registrar:
        crowned = registrar.crown(MODEL, version, expected="")
    if not crowned.crowned:
        raise ScenarioError(f"Version {version} of {MODEL} is not the champion: {crowned.reason}")


def put(witness: RetrainingWitness, service: BlobServiceClient, partition: Partition) -> None:
    """Write a file into the container of the workspace's default datastore."""
    container = witness.container_of_datastore()
    service.get_blob_client(container, partition.path).upload_blob(partition.content, overwrite=True)


def begin(stack: Stack, conf: Mapping[str, Any]) -> str:
    """Start a run of the DAG; returns its id."""
    body = {"logical_date": None, "conf": dict(conf)}
    return str(stack.airflow.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])


def turn_on(stack: Stack, witness: RetrainingWitness) -> str:
    """Turn the DAG on, and wait for the run of the last week, which Airflow then starts; returns its id.

    Raises:
        ScenarioError: None is started.
    """
    return _next_run(witness, lambda: stack.airflow.unpause(witness.dag), "turned on")


def tell_of_data(stack: Stack, witness: RetrainingWitness) -> str:
    """Tell Airflow of new data, and wait for the run that it starts; returns its id.

    Raises:
        ScenarioError: None is started.
    """
    found = stack.airflow.get("/api/v2/assets", name_pattern=NEW_DATA)["assets"]
    body = {"asset_id": next(each["id"] for each in found if each["name"] == NEW_DATA), "extra": {}}
    return _next_run(witness, lambda: stack.airflow.call("POST", "/api/v2/assets/events", body), "told of new data")


def _next_run(witness: RetrainingWitness, start: Callable[[], object], what: str) -> str:
    before = set(witness.runs())
    start()
    if not wait_until(lambda: bool(set(witness.runs()) - before), deadline_s=90):
        raise ScenarioError(f"Airflow has started no run of {witness.dag} 90 s after it was {what}.")
    return min(set(witness.runs()) - before)


def round_(show: Show, witness: RetrainingWitness, label: str, start: Callable[[], str]) -> Round:
    """Start a retraining, show its way until it is over, and what it came to."""
    before = witness.look_at_model()
    run = start()
    show.doing(f"Retraining: {label}")
    show.say(witness.run_page(run))
    end = time.monotonic() + DEADLINE_S
    with show:
        while True:
            is_last = witness.is_over(run) or time.monotonic() > end
            with contextlib.nullcontext() if is_last else contextlib.suppress(httpx.TimeoutException):
                look, after = witness.look_at_run(run), witness.look_at_model()
                show.show([Way(label, dict(_hops(look, after)))])
                if is_last:
                    break
            witness.stack.check()
            time.sleep(LOOK_EVERY_S)
    tell(show, look, after)
    return Round(label, look, before, after)


def tell(show: Show, run: Retraining, model: ModelLook) -> None:
    """Print what a retraining came to, and why."""
    if run.verdict is not None:
        verdict = attrs.evolve(Verdict.from_wire(run.verdict), facts={})
        told = explain(verdict, width=max(WIDTH, show.console.width))
        show.console.print(told, markup=False, soft_wrap=True)
    for reason in run.outcome.get("reasons") or ():
        if run.verdict is None:
            show.console.print(f"  {reason}", markup=False, soft_wrap=True)
    for place in run.outcome.get("kept_at") or ():
        show.console.print(f"  kept at {place}", markup=False, soft_wrap=True)
    show.table(
        [{"version": each.version, "stage": each.stage or "-", "job": each.job or "-"} for each in model.models],
        title=f"Model {MODEL} in the workspace",
    )


def _hops(look: Retraining, model: ModelLook) -> Iterable[tuple[str, str]]:
    for hop, tasks in HOPS.items():
        states = [look.tasks[task] for task in tasks if look.tasks.get(task) not in {None, "none"}]
        if states:
            yield hop, _said(hop, states, look, model)


def _said(hop: str, states: Sequence[str], look: Retraining, model: ModelLook) -> str:
    if hop == "gate" and look.verdict is not None:
        return "accepted" if look.verdict["accepted"] else "rejected"
    if hop == "model" and look.outcome:
        said = str(look.outcome["outcome"])
        return f"{said}: version {look.outcome['version']}" if look.outcome.get("version") else said
    if hop == "training" and "train" in look.jobs:
        job = look.jobs["train"]
        steps = ", ".join(f"{name} {status}" for name, status in job.steps)
        return f"{job.status}: {steps}" if steps else job.status
    if hop == "champion" and states[-1] == "success":
        return f"version {', '.join(model.champions) or 'none'}, measured on the same rows"
    return states[-1]
