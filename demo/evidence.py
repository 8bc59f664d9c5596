"""What Airflow, the workspace and the storage themselves say has become of each blob version, and what is wrong.

Nothing here asks the provider; it is Airflow's REST API, Azure ML's REST API and the blobs.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import attrs
import httpx
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from demo.azure import ACCOUNT, INCOMING, WORKSPACE_ID
from demo.patients import PatientFile
from demo.stack import Stack

DAG = "score_on_arrival"
CLAIM = "claim"
SCORE = "score"
ENDPOINT = "diabetes-scoring"
#: The property by which the provider finds its own jobs.
KEY_PROPERTY = "airflow.idempotency_key"
#: The property in which it says whose a job is: ``dag/run/task/map index/try``.
OWNER_PROPERTY = "airflow.owner"
PREDICTIONS = "predictions.csv"
REJECTED = "rejected.csv"
API_VERSION = "2024-01-01-preview"


@attrs.frozen(order=True)
class Version:
    """One version of one blob.

    Attributes:
        path: In the container for incoming files.
        etag: Without quotes.
        at: When we wrote it, in seconds since the epoch; it does not tell versions apart.
    """

    path: str
    etag: str
    at: float = attrs.field(default=0.0, eq=False, order=False)


@attrs.frozen(kw_only=True)
class Task:
    """One try of Airflow's to have a blob version scored: a mapped instance of the task ``score``."""

    run_id: str
    map_index: int
    state: str
    began: float
    ended: float
    job: str
    predictions: str


@attrs.frozen(kw_only=True)
class Job:
    """A job of the scoring endpoint.

    Attributes:
        steps: The name and status of each.
    """

    name: str
    status: str
    key: str
    owner: str
    steps: tuple[tuple[str, str], ...] = ()


@attrs.frozen(kw_only=True)
class Scores:
    """What lies in storage for one job."""

    place: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rejected: tuple[tuple[str, ...], ...]


@attrs.frozen(kw_only=True)
class Look:
    """Everything as one look showed it.

    Attributes:
        heard: When Airflow stored an event of a version.
        tasks: Who has taken a version up.
        jobs: All jobs of the scoring endpoint, by name.
        current: The eTag of each incoming blob that is there.
        files: Every blob named like a predictions file, as ``container/path``.
        runs: Each run of the DAG and its state.
    """

    heard: Mapping[Version, float]
    tasks: Mapping[Version, tuple[Task, ...]]
    jobs: Mapping[str, Job]
    current: Mapping[str, str]
    files: frozenset[str]
    runs: Mapping[str, str]

    def jobs_of(self, version: Version) -> list[Job]:
        """List the jobs that were submitted for a version, or are said to be its own; each once."""
        mine = self.tasks.get(version, ())
        owners = tuple(f"{DAG}/{task.run_id}/{SCORE}/{task.map_index}/" for task in mine)
        names = {task.job for task in mine}
        return [job for job in self.jobs.values() if job.name in names or job.owner.startswith(owners)]

    def completed(self, version: Version) -> list[Job]:
        """List those that are completed."""
        return [job for job in self.jobs_of(version) if job.status == "Completed"]

    @property
    def is_quiet(self) -> bool:
        """Whether no run and no job goes on."""
        over = {"success", "failed"}
        ended = {"Completed", "Failed", "Canceled"}
        return all(state in over for state in self.runs.values()) and all(
            job.status in ended for job in self.jobs.values()
        )


class Witness:
    """Looks at a stack; use it with ``with``.

    Args:
        stack: The stack; it has to be started.
        blobs: Its blob service.

    Attributes:
        dag: The DAG that is looked at.
    """

    dag = DAG

    def __init__(self, stack: Stack, blobs: BlobServiceClient) -> None:
        self.stack = stack
        self.blobs = blobs
        self._workspace = httpx.Client(base_url=stack.emulator.http, timeout=30, trust_env=False)
        self._claims: dict[str, list[Version]] = {}
        self._results: dict[tuple[str, int], Any] = {}
        self._containers: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workspace.close()

    def look(self) -> Look:
        """Look once."""
        runs = self.runs()
        tasks: dict[Version, list[Task]] = {}
        for run in runs:
            for version, task in self._tasks(run):
                tasks.setdefault(version, []).append(task)
        return Look(
            heard={version: times[0] for version, times in self.heard_each().items()},
            tasks={version: tuple(each) for version, each in tasks.items()},
            jobs={job.name: job for job in self.jobs()},
            current=self.current(),
            files=frozenset(self._prediction_files()),
            runs=runs,
        )

    def runs(self) -> dict[str, str]:
        """List the runs of the DAG, each with its state."""
        return {each["dag_run_id"]: each["state"] for each in self._airflow(f"/dags/{self.dag}/dagRuns", "dag_runs")}

    def current(self) -> dict[str, str]:
        """List the incoming blobs that are there, each with its eTag."""
        return {blob.name: str(blob.etag).strip('"') for blob in self._blobs(INCOMING)}

    def scores(self, task: Task) -> Scores:
        """Read what a task's job has written."""
        return self.scores_at(task.predictions)

    def scores_at(self, uri: str) -> Scores:
        """Read what lies in a folder of predictions."""
        container, path = self.place(uri)
        header, *rows = self._table(container, f"{path}/{PREDICTIONS}") or [[]]
        return Scores(
            place=f"{container}/{path}",
            columns=tuple(header),
            rows=tuple(tuple(row) for row in rows),
            rejected=tuple(tuple(row) for row in self._table(container, f"{path}/{REJECTED}")[1:]),
        )

    def place(self, uri: str) -> tuple[str, str]:
        """Find the container and folder that a URI means."""
        if uri.startswith("azureml://"):
            datastore, _, path = uri.partition("/datastores/")[2].partition("/paths/")
            if datastore not in self._containers:
                answer = self._workspace.get(f"{WORKSPACE_ID}/datastores/{datastore}?api-version={API_VERSION}")
                self._containers[datastore] = answer.raise_for_status().json()["properties"]["containerName"]
            return self._containers[datastore], path.strip("/")
        path = unquote(urlsplit(uri).path).strip("/").removeprefix(f"{ACCOUNT}/")
        container, _, folder = path.partition("/")
        return container, folder

    def page(self, job: str) -> str:
        """Give the address of the emulator's page of a job."""
        return f"{self.stack.emulator.http}/ui/jobs/{WORKSPACE_ID.rsplit('/', 1)[1]}/{job}"

    def run_page(self, run: str) -> str:
        """Give the address of Airflow's page of a DAG run."""
        return f"{self.stack.airflow.url}/dags/{self.dag}/runs/{run}"

    def _airflow(self, path: str, what: str, **params: Any) -> list[Any]:
        found: list[Any] = []
        while True:
            page = self.stack.airflow.get(f"/api/v2{path}", limit=100, offset=len(found), **params)
            found += page[what]
            if not page[what] or len(found) >= page["total_entries"]:
                return found

    def heard_each(self) -> dict[Version, list[float]]:
        """List when Airflow stored events of each version, oldest first."""
        try:
            events = self._airflow("/assets/events", "asset_events", order_by="timestamp")
        except httpx.HTTPStatusError:
            # Airflow 3.3 cannot say while a run that was created has not begun.
            return {}
        heard: dict[Version, list[float]] = {}
        for event in events:
            for version in _versions(event.get("extra")):
                heard.setdefault(version, []).append(_seconds(event["timestamp"]))
        return heard

    def _tasks(self, run: str) -> Iterable[tuple[Version, Task]]:
        instances = self._airflow(f"/dags/{DAG}/dagRuns/{run}/taskInstances", "task_instances")
        scored = [each for each in instances if each["task_id"] == SCORE and each["map_index"] >= 0]
        if not scored:
            return
        if run not in self._claims:
            self._claims[run] = list(_versions(self._xcom(run, CLAIM, -1)))
        for each in scored:
            index = each["map_index"]
            if (run, index) not in self._results and each["state"] == "success":
                self._results[run, index] = self._xcom(run, SCORE, index)
            result = self._results.get((run, index)) or {}
            yield (
                self._claims[run][index],
                Task(
                    run_id=run,
                    map_index=index,
                    state=each["state"] or "none",
                    began=_seconds(each["start_date"]),
                    ended=_seconds(each["end_date"]),
                    job=result.get("job", ""),
                    predictions=(result.get("outputs") or {}).get("predictions", ""),
                ),
            )

    def _xcom(self, run: str, task: str, index: int) -> Any:
        path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        try:
            return self.stack.airflow.get(path, map_index=index)["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def jobs(self) -> Iterable[Job]:
        """List the provider's jobs and their steps."""
        for raw in self._pages(f"{WORKSPACE_ID}/jobs?api-version={API_VERSION}"):
            body = raw["properties"]
            properties = body.get("properties") or {}
            if KEY_PROPERTY in properties:
                yield Job(
                    name=raw["name"],
                    status=body["status"],
                    key=properties[KEY_PROPERTY],
                    owner=properties.get(OWNER_PROPERTY, ""),
                    steps=tuple(self._steps(raw["name"])),
                )

    def _steps(self, job: str) -> Iterable[tuple[str, str]]:
        for child in self._pages(f"/history/v1.0{WORKSPACE_ID}/runs/{job}/children?api-version=v1.0"):
            yield child.get("displayName") or child["runId"], child["status"]

    def _pages(self, path: str) -> Iterable[Any]:
        while path:
            answer = self._workspace.get(path)
            answer.raise_for_status()
            page = answer.json()
            yield from page["value"]
            path = page.get("nextLink") or ""

    def _blobs(self, container: str) -> Iterable[Any]:
        return self.blobs.get_container_client(container).list_blobs()

    def _prediction_files(self) -> Iterable[str]:
        for container in self.blobs.list_containers():
            for blob in self._blobs(container.name):
                if blob.name.endswith(f"/{PREDICTIONS}"):
                    yield f"{container.name}/{blob.name}"

    def _table(self, container: str, path: str) -> list[list[str]]:
        """Read a CSV file; one that is not there has no lines."""
        try:
            text = self.blobs.get_blob_client(container, path).download_blob(encoding="utf-8").readall()
        except ResourceNotFoundError:
            return []
        return list(csv.reader(io.StringIO(text)))


def faults(look: Look, wanted: Mapping[Version, PatientFile], *, scores_of: Callable[[Task], Scores]) -> list[str]:
    """Say what is not as it has to be; empty when all is.

    Each wanted version has exactly one completed job and one predictions file with the right rows; no key has two
    completed jobs; no completed job and no predictions file is left over.

    Args:
        look: What the systems said.
        wanted: What was uploaded and is still there.
        scores_of: Reads what the job of a task has written.
    """
    wrong = []
    for version, file in wanted.items():
        completed = look.completed(version)
        if len(completed) != 1:
            names = ", ".join(f"{job.name} {job.status}" for job in look.jobs_of(version)) or "none"
            wrong.append(f"{version.path} ({version.etag}) has {len(completed)} completed jobs, not 1; jobs: {names}")
            continue
        task = next((each for each in look.tasks[version] if each.job == completed[0].name), None)
        if task is None:
            wrong.append(f"{version.path}: no task of Airflow's ended with its completed job {completed[0].name}")
        else:
            wrong += faults_of_scores(scores_of(task), file)
    keys = Counter(job.key for job in look.jobs.values() if job.status == "Completed")
    wrong += [f"key {key} has {count} completed jobs" for key, count in keys.items() if count > 1]
    of_tasks = {task.job: task for tasks in look.tasks.values() for task in tasks if task.job}
    done = {name for name, job in look.jobs.items() if job.status == "Completed"}
    wrong += [f"completed job {name} belongs to no task" for name in sorted(done - set(of_tasks))]
    places = Counter(f"{scores_of(of_tasks[name]).place}/{PREDICTIONS}" for name in sorted(done & set(of_tasks)))
    wrong += [f"{place} is written by {count} jobs" for place, count in places.items() if count > 1]
    wrong += [f"predictions file {place} is of no completed job" for place in sorted(look.files - set(places))]
    wrong += [f"predictions file {place} is missing" for place in sorted(set(places) - look.files)]
    return wrong


def faults_of_scores(scores: Scores, file: PatientFile) -> Sequence[str]:
    """Say what is not as it has to be in what lies in storage for one file; empty when all is."""
    wrong = []
    if len(scores.rows) != file.good:
        wrong.append(f"{file.path} has {len(scores.rows)} predictions, not {file.good} ({scores.place})")
    if len(scores.rejected) != file.bad:
        wrong.append(f"{file.path} has {len(scores.rejected)} rejected rows, not {file.bad} ({scores.place})")
    if scores.columns[-1:] != ("prediction",):
        wrong.append(f"{file.path}: the last column is {scores.columns[-1:]}, not prediction ({scores.place})")
    unexplained = [row[0] for row in scores.rejected if len(row) < 2 or not row[1]]  # noqa: PLR2004  # line, reason, row
    if unexplained:
        wrong.append(f"{file.path}: rejected lines {', '.join(unexplained)} have no reason ({scores.place})")
    return wrong


def _versions(raw: Any) -> Iterable[Version]:
    """Find the arrivals in a JSON value, whatever it wraps them in."""
    if isinstance(raw, Mapping):
        if isinstance(raw.get("etag"), str) and isinstance(raw.get("path"), str):
            yield Version(path=raw["path"], etag=raw["etag"])
        else:
            for each in raw.values():
                yield from _versions(each)
    elif isinstance(raw, list):
        for each in raw:
            yield from _versions(each)


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
