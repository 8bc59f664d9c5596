"""Many tasks that are ended at the same time, each in its own way, and what became of their jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from attrs import define, field, frozen

from azureml_emulator.tokens import issue
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Emulator
from demo.processes import wait_until
from demo.stack import Airflow
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent
CONNECTION = "azureml_kills"
#: Words of the log of a deferred task whose trigger runs; Airflow tells only such a one of a kill.
WATCHED = ("(ID ", " starting", "Job ")

#: How many tasks the workers take at a time; see `demo.airflow`.
SLOTS = 4
ON_THEIR_WAY = (None, "scheduled", "queued", "running")

Run = tuple[str, str]
Act = Callable[["Kills", Run], None]


@frozen(kw_only=True)
class Case:
    """One way to end a task, and what is to come of it.

    Attributes:
        dag: Which of the DAGs.
        act: What somebody does, once the task is where `when` says; nothing where the task ends by itself.
        when: ``deferred``: a trigger watches the job; ``in worker``: a worker does; ``submitting``: a worker has asked
            for the job, and was not answered yet.
        endpoint: The endpoint, whose script says how its jobs go.
        state: In which state the task is then.
        jobs: The statuses of its jobs then, the oldest first.
        told: What the log of the first try says; ``{job}`` stands for the name of its job.
        told_somewhere: What the log of one of the tries says, whichever came first to do it; its case does not matter.
        told_later: What the log of the last try says.
        error: With which of our errors the last try fails.
        faults: What Azure ML does to requests about the job, below its path.
    """

    dag: str
    act: Act | None = None
    when: str = "deferred"
    endpoint: str = "steady"
    state: str = "failed"
    jobs: tuple[str, ...] = ("Canceled",)
    told: str = ""
    told_somewhere: str = ""
    told_later: str = ""
    error: str = ""
    faults: tuple[Mapping[str, Any], ...] = ()


@frozen
class Outcome:
    """What came of a case."""

    state: str
    jobs: tuple[str, ...]
    names: tuple[str, ...]
    logs: tuple[str, ...]
    xcoms: tuple[str, ...]


@define
class Kills:
    """The running whole, with a workspace whose jobs go on until they are ended."""

    airflow: Airflow
    emulator: Emulator
    http: httpx.Client
    small: Small = field(init=False)
    runs: dict[str, Run] = field(factory=dict)
    _faults: list[dict[str, Any]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.small = Small(self.airflow, self.emulator)

    def prepare(self, scripts: Mapping[str, str], dags_folder: Path) -> None:
        """Publish an endpoint for each script, and let Airflow know the workspace and the DAGs."""
        step = self._put("components/one/versions/1", {"type": "command", "name": "one", "command": "exit 7"})
        pipeline = self._put(
            "components/all/versions/1",
            {"type": "pipeline", "name": "all", "jobs": {"one": {"type": "command", "componentId": step}}},
        )
        configuration = {
            "deploymentConfigurationType": "PipelineComponent",
            "componentId": {"assetId": pipeline, "referenceType": "Id"},
        }
        for name, script in scripts.items():
            at, tags = f"batchEndpoints/{name}", {"emulator.script": script}
            self._call("PUT", at, {"properties": {}, "tags": tags})
            self._call("PUT", f"{at}/deployments/one", {"properties": {"deploymentConfiguration": configuration}})
            self._call("PUT", at, {"properties": {"defaults": {"deploymentName": "one"}}, "tags": tags})
        extra = {
            "subscription_id": SUBSCRIPTION,
            "resource_group": RESOURCE_GROUP,
            "workspace": WORKSPACE,
            "authentication": "emulator",
            "endpoint": self.emulator.http,
        }
        self.airflow.call(
            "POST",
            "/api/v2/connections",
            {"connection_id": CONNECTION, "conn_type": "azureml", "extra": json.dumps(extra)},
        )
        shutil.copy(HERE / "kill_dags.py", dags_folder / "kill_dags.py")

    def _put(self, path: str, spec: Mapping[str, Any]) -> str:
        return str(self._call("PUT", path, {"properties": {"componentSpec": spec}})["id"])

    def _call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        params = {"api-version": "2024-01-01-preview"}
        answer = self.http.request(method, f"{WORKSPACE_ID}/{path}", params=params, headers=headers, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def _is_known(self, dag: str) -> bool:
        try:
            self.airflow.get(f"/api/v2/dags/{dag}")
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    # what people do

    def mark(self, run: Run, state: str) -> None:
        self.airflow.call("PATCH", f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run", {"new_state": state})

    def clear(self, run: Run) -> None:
        body = {"dry_run": False, "dag_run_id": run[1], "task_ids": ["run"], "only_failed": False}
        self.airflow.call("POST", f"/api/v2/dags/{run[0]}/clearTaskInstances", body)

    def fail_run(self, run: Run) -> None:
        self.airflow.call("PATCH", f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}", {"state": "failed"})

    def end_worker(self, run: Run) -> None:
        os.kill(self.small.task(run)["pid"], signal.SIGTERM)

    def cancel_job(self, run: Run) -> None:
        for job in self.small.jobs(run):
            self._call("POST", f"jobs/{job['name']}/cancel")

    # the course of it

    def begin(self, cases: Mapping[str, Case]) -> None:
        """Start a run for each case, as many at a time as there are worker slots."""
        for number, (name, case) in enumerate(cases.items(), start=1):
            endpoint = name if case.when == "submitting" else case.endpoint
            dag = f"small_kill_{case.dag}"
            assert wait_until(lambda dag=dag: self._is_known(dag), deadline_s=120), f"Airflow knows no DAG {dag}"  # type: ignore[misc]  # mypy and defaults of lambdas
            body = {"logical_date": None, "dag_run_id": name, "conf": {"endpoint": endpoint}}
            self.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)
            self.runs[name] = (dag, name)
            if number % SLOTS == 0 and case.when == "deferred":
                wait_until(lambda: not self._are_on_their_way(cases), deadline_s=60, step_s=0.5)

    def _are_on_their_way(self, cases: Mapping[str, Case]) -> bool:
        states = self._states()
        return any(states[name] in ON_THEIR_WAY for name in cases if name in self.runs)

    def _states(self) -> dict[str, str | None]:
        """Look at all tasks, a DAG's at once."""
        dags = sorted({dag for dag, _ in self.runs.values()})
        found = [self.airflow.get(f"/api/v2/dags/{dag}/dagRuns/~/taskInstances", limit=50) for dag in dags]
        return {one["dag_run_id"]: one["state"] for answer in found for one in answer["task_instances"]}

    def _jobs(self) -> dict[str, tuple[str, ...]]:
        """Look at the jobs of all cases at once: the statuses of each one's, the oldest first."""
        found: dict[str, list[tuple[int, str]]] = {name: [] for name in self.runs}
        for one in self._all_jobs():
            ours = one["properties"]["properties"]
            found[ours["airflow.owner"].split("/")[1]].append(
                (int(ours["airflow.attempt"]), one["properties"]["status"])
            )
        return {name: tuple(status for _, status in sorted(jobs)) for name, jobs in found.items()}

    def _is_ready(self, name: str, case: Case, state: str | None) -> bool:
        """Whether the task is where it is to be ended."""
        run = self.runs[name]
        if case.when == "submitting":
            faults = self.http.get("/control/faults").json()
            return any(each["path"] == _submission(name) and each["struck"] for each in faults)
        if case.when == "in worker":
            return state == "running" and bool(self.small.jobs(run))
        return state == "deferred" and all(words in self.small.log(run) for words in WATCHED)

    def when_ready(self, cases: Mapping[str, Case], act: Act | None = None, *, deadline_s: float) -> None:
        """Wait until each task is where it is to be ended, and do there what is to be done to it, or `act`."""
        left = dict(cases)

        def _all_ready() -> bool:
            states = self._states()
            for name, case in list(left.items()):
                if self._is_ready(name, case, states[name]):
                    (act or case.act or wait)(self, self.runs[name])
                    del left[name]
            return not left

        assert wait_until(_all_ready, deadline_s=deadline_s), {name: self.outcome(name) for name in left}

    def set_faults(self, cases: Mapping[str, Case]) -> None:
        """Let Azure ML misbehave towards the cases that say so."""
        said: list[dict[str, Any]] = []
        for name, case in cases.items():
            if case.when == "submitting":
                said.append({"method": "POST", "path": _submission(name), "slow_s": 4, "count": 1})
            for fault in case.faults:
                (job,) = self.small.jobs(self.runs[name])
                said.append({"path": f".*/jobs/{job['name']}/cancel", **fault})
        self.http.put("/control/faults", json=said).raise_for_status()

    def wait_for(self, cases: Mapping[str, Case], *, deadline_s: float) -> None:
        """Wait until each task is as it should be; what never becomes so, its test tells."""

        def _all_settled() -> bool:
            jobs, states = self._jobs(), self._states()
            return all(jobs[name] == case.jobs and states[name] == case.state for name, case in cases.items())

        wait_until(_all_settled, deadline_s=deadline_s, step_s=0.5)

    def outcome(self, name: str) -> Outcome:
        """Say what came of a case."""
        run = self.runs[name]
        task, jobs = self.small.task(run), self.small.jobs(run)
        entries = self.airflow.get(f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/xcomEntries")
        return Outcome(
            state=task["state"],
            jobs=tuple(job["status"] for job in jobs),
            names=tuple(job["name"] for job in jobs),
            logs=tuple(self._log(run, number) for number in range(1, task["try_number"] + 1)),
            xcoms=tuple(entry["key"] for entry in entries["xcom_entries"]),
        )

    def _log(self, run: Run, tried: int) -> str:
        """Read a try's log, with the last words of its trigger.

        Airflow 3.3.2 may hear of a trigger's end before it reads what that has logged; it prints that with the log of
        the triggerer then.
        """
        triggerer = (self.airflow.folder / "parts" / "triggerer.log").read_text().splitlines()
        words = (f" run_id={run[1]} ", f" try_number={tried}")
        late = [line for line in triggerer if all(each in f"{line} " for each in words)]
        return "\n".join([self.small.log(run, tried), *late])

    def _all_jobs(self) -> list[dict[str, Any]]:
        found, url = [], f"{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
        while url:
            page = self.http.get(url).raise_for_status().json()
            found += page["value"]
            url = page.get("nextLink", "")
        return found

    def living(self) -> set[str]:
        """List the jobs that have not ended."""
        ends = ("Completed", "Failed", "Canceled")
        return {one["name"] for one in self._all_jobs() if one["properties"]["status"] not in ends}

    def end_runs(self, names: Iterable[str]) -> None:
        """End what still runs, as a person does who has seen enough."""
        for name in names:
            self.fail_run(self.runs[name])


def wait(kills: Kills, run: Run) -> None:
    """Do nothing to a task yet."""
    assert run in kills.runs.values()


def _submission(endpoint: str) -> str:
    return f".*/{endpoint}/jobs"
