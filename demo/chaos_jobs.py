"""Kill every kind of Airflow's processes while 200 jobs go on, and see that every task ended as its job did.

    python -m demo.chaos --case jobs [SEED]

Airflow has PostgreSQL, a LocalExecutor and two triggerers; its identity is a managed one whose tokens live two minutes;
Azure ML throttles in storms, and loses answers. The last line is one JSON object; the exit code is 1 when anything is
wrong, and 2 when PostgreSQL is not installed. The same seed gives the same plan (not the same interleaving: the
processes are real).
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
from rich.console import Console

from azureml_emulator.faults import KINDS
from azureml_emulator.tokens import issue
from demo.agenda import Agenda
from demo.airflow import Airflow
from demo.azure import RESOURCE_GROUP, ROOT, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Emulator
from demo.chaos_judge import Job, Look, Task, faults, figures
from demo.chaos_plan import DAG, Instance, Plan, Storm, draw, run_id
from demo.chaos_show import Tally
from demo.evidence import API_VERSION, KEY_PROPERTY, OWNER_PROPERTY
from demo.hammer import Hammer
from demo.killing import Killing
from demo.postgres import MissingError, Postgres
from demo.stack import Stack

ATTEMPT_PROPERTY = "airflow.attempt"
TOKENS_S = 120
#: Seconds without any change of a task or a job after which what has not ended is stuck; a job lasts 90 at most, and
#: Airflow takes a minute to see what died.
STUCK_S = 240.0
#: Seconds after the last kill within which all has to be over, however slow the machine is.
DEADLINE_S = 1500.0
#: Seconds between two looks.
LOOK_EVERY_S = 5.0
#: See Airflow's configuration reference; so that it sees in seconds, not in minutes, that something died.
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "6",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
}


def run(seed: int, console: Console) -> int:
    """Run it; returns the exit code."""
    folder = ROOT / ".run" / f"chaos-jobs-{seed}"
    try:
        database = Postgres(folder)
    except MissingError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    show = Tally("200 jobs under fire", console=console)
    show.say(f"Seed {seed}; logs are in {folder}")
    plan = draw(seed)
    with database, _stack(folder, database.url).owned() as stack:
        _bring_up(stack, plan, show)
        with Hammer(stack.airflow) as hammer, show:
            chaos = _Chaos(stack, plan, show, hammer)
            look = chaos.run()
        wrong = faults(look, plan.goings)
        if len(plan.kills) != hammer.killed.total():
            wrong.append(f"{hammer.killed.total()} of {len(plan.kills)} kills hit something")
    for each in wrong:
        console.print(f"  - {each}", markup=False)
    hits = {
        "kills": hammer.killed.total(),
        "killed": dict(sorted(hammer.killed.items())),
        "ended_by_themselves": chaos.killing.revived.total(),
        "requests_struck": chaos.struck,
    }
    told = {**hits, **figures(look, plan.goings, wrong)}
    print(json.dumps({"chaos": "jobs", "seed": seed, **told, "seconds": round(show.seconds)}))
    return 1 if wrong else 0


def _stack(folder: Path, db: str) -> Stack:
    return Stack(
        folder,
        dags=ROOT / "demo" / "dags",
        db=db,
        event_queues=(),
        emulator_arguments=("--control",),
        triggerers=2,
        environment={**SETTINGS, "CHAOS_PLAN": str(folder / "plan.json")},
        template=None,
    )


def _bring_up(stack: Stack, plan: Plan, show: Tally) -> None:
    """Start everything, with what the plan needs in the workspace."""
    (stack.folder / "plan.json").write_text(json.dumps(plan.for_dag()))
    show.doing("Starting Azurite, the emulator and Airflow on PostgreSQL")
    stack.start_azure()
    with _client(stack.emulator) as client:
        _publish(client, plan)
    stack.airflow.migrate()
    stack.airflow.tell(_managed_identity(stack.emulator))
    stack.airflow.start()
    stack.airflow.unpause(DAG)
    show.say(f"Airflow: {stack.airflow.url}  emulator: {stack.emulator.http}/ui")


def _managed_identity(emulator: Emulator) -> dict[str, str]:
    """Let Airflow have a managed identity and name Azure's hosts, as a machine in Azure does; all are the emulator."""
    names = {
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "HTTPS_PROXY",
        "https_proxy",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
    }
    found = {name: value for name, value in emulator.client_environment.items() if name in names}
    connection = {
        "conn_type": "azureml",
        "extra": {
            "subscription_id": SUBSCRIPTION,
            "resource_group": RESOURCE_GROUP,
            "workspace": WORKSPACE,
            "authentication": "managed_identity",
        },
    }
    return {**found, "AIRFLOW_CONN_AZUREML_DEFAULT": json.dumps(connection)}


def _client(emulator: Emulator) -> httpx.Client:
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    return httpx.Client(base_url=emulator.http, headers=bearer, timeout=30, trust_env=False)


def _publish(client: httpx.Client, plan: Plan) -> None:
    """Put a pipeline of one small step, an endpoint with a deployment for each script, and the scripts."""

    def _put(path: str, tags: Mapping[str, str] | None = None, **properties: Any) -> str:
        body = {"properties": properties, "tags": tags or {}}
        answer = client.put(f"{WORKSPACE_ID}/{path}", json=body, params={"api-version": API_VERSION})
        return str(answer.raise_for_status().json()["id"])

    client.put("/control/tokens", json={"lifetime_s": TOKENS_S}).raise_for_status()
    step = {"type": "command", "name": "say", "command": "echo it runs"}
    steps = {"say": {"type": "command", "componentId": _put("components/say/versions/1", componentSpec=step)}}
    whole = _put(
        "components/chaos/versions/1",
        componentSpec={"type": "pipeline", "name": "chaos", "version": "1", "jobs": steps},
    )
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": whole, "referenceType": "Id"},
    }
    _put("batchEndpoints/chaos")
    _put("batchEndpoints/chaos/deployments/real", deploymentConfiguration=configuration)
    for name, script in plan.scripts.items():
        client.put(f"/control/scripts/{name}", json=script).raise_for_status()
        tags = {"emulator.script": name}
        _put(f"batchEndpoints/chaos/deployments/{name}", tags, deploymentConfiguration=configuration)


class _Chaos:
    """Lets a plan happen."""

    def __init__(self, stack: Stack, plan: Plan, show: Tally, hammer: Hammer) -> None:
        self.airflow: Airflow = stack.airflow
        self.plan, self.show, self.hammer = plan, show, hammer
        self._emulator = _client(stack.emulator)
        self._agenda = Agenda()
        self.killing = Killing(hammer, self._agenda, show, is_over=lambda: self._is_over)
        self._seen = Look(tasks={}, jobs=())
        #: How many requests the storms have struck.
        self.struck = 0

    def run(self) -> Look:
        """Let everything happen, and look until all is over or the time is."""
        for part, at_s in enumerate(self.plan.parts):
            self._agenda.add(at_s, partial(self._begin, part))
        self.killing.expect(self.plan.kills)
        for storm in self.plan.storms:
            self._agenda.add(storm.at_s, partial(self._storm, storm))
        self.show.doing("Killing")
        looked_at = changed_at = ends_at = 0.0
        with self._emulator, self.killing:
            while True:
                self._agenda.happen()
                self.killing.revive()
                if self._agenda.is_empty and not ends_at:
                    ends_at = self._agenda.now + DEADLINE_S
                    self.show.doing("Waiting until all is over")
                if self._agenda.now >= looked_at + LOOK_EVERY_S:
                    looked_at, before, self._seen = self._agenda.now, self._seen, self._look() or self._seen
                    changed_at = changed_at if self._seen == before else looked_at
                    if ends_at and (self._is_over or looked_at > min(ends_at, changed_at + STUCK_S)):
                        return self._with_results(self._seen)
                time.sleep(0.1)

    def _begin(self, part: int) -> float | None:
        body = {"logical_date": None, "dag_run_id": run_id(part), "conf": {"part": part}}
        try:
            self.airflow.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)
        except httpx.HTTPStatusError as error:
            # An answer that was lost with the api-server.
            if error.response.status_code == httpx.codes.CONFLICT:
                return None
            return 1.0
        except httpx.TransportError:
            return 1.0
        self.show.say(f"Run {run_id(part)} is begun")
        return None

    def _storm(self, storm: Storm) -> None:
        self._emulator.put("/control/faults", json=list(storm.faults)).raise_for_status()
        what = ", ".join(
            str(fault.get("status") or next(name for name in fault if name in KINDS)) for fault in storm.faults
        )
        self.show.say(f"Azure ML has faults for {storm.lasts_s:.0f} s: {what}")
        self._agenda.add(self._agenda.now + storm.lasts_s, self._calm)

    def _calm(self) -> None:
        self.struck += sum(fault["struck"] for fault in self._emulator.get("/control/faults").json())
        self._emulator.delete("/control/faults").raise_for_status()

    @property
    def _is_over(self) -> bool:
        return len(self._seen.tasks) == len(self.plan.goings) and self._seen.is_over

    def _look(self) -> Look | None:
        """Look once; None when Airflow or the workspace does not answer just now."""
        try:
            look = Look(tasks=dict(self._tasks()), jobs=tuple(self._jobs()))
        except (httpx.HTTPError, ValueError):
            return None
        self.show.tell(
            tasks=Counter(task.state for task in look.tasks.values()),
            jobs=Counter(job.status for job in look.jobs),
            kills=self.hammer.killed,
        )
        return look

    def _tasks(self) -> Iterable[tuple[Instance, Task]]:
        seen = 0
        while True:
            path = f"/api/v2/dags/{DAG}/dagRuns/~/taskInstances"
            page = self.airflow.get(path, limit=100, offset=seen, order_by="id")
            for each in page["task_instances"]:
                if each["map_index"] >= 0:
                    part = int(each["dag_run_id"].rpartition("-")[2])
                    state = each["state"] or "none"
                    yield (
                        Instance(part, each["task_id"], each["map_index"]),
                        Task(state=state, tries=each["try_number"]),
                    )
            seen += len(page["task_instances"])
            if not page["task_instances"] or seen >= page["total_entries"]:
                return

    def _jobs(self) -> Iterable[Job]:
        path = f"{WORKSPACE_ID}/jobs?api-version={API_VERSION}"
        while path:
            page = self._emulator.get(path).raise_for_status().json()
            for raw in page["value"]:
                properties = raw["properties"].get("properties") or {}
                yield Job(
                    name=raw["name"],
                    status=raw["properties"]["status"],
                    key=properties.get(KEY_PROPERTY, ""),
                    owner=properties.get(OWNER_PROPERTY, ""),
                    attempt=int(properties.get(ATTEMPT_PROPERTY, 0)),
                )
            path = page.get("nextLink") or ""

    def _with_results(self, look: Look) -> Look:
        """Add which job each task names as its own."""
        tasks = dict(look.tasks)
        for each, task in look.tasks.items():
            if task.state == "success":
                path = f"/api/v2/dags/{DAG}/dagRuns/{each.run_id}/taskInstances/{each.task}/xcomEntries/return_value"
                try:
                    told = self.airflow.get(path, map_index=each.map_index)["value"]
                except httpx.HTTPStatusError:
                    continue
                tasks[each] = attrs.evolve(task, job=told["job"])
        return attrs.evolve(look, tasks=tasks)
