"""Finding or starting the one job of a key, from a worker, whatever runs it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import evolve, field, frozen

from airflow_azureml.core.files import FAULT_OF_FORMAT, HEAD_BYTES
from airflow_azureml.core.jobs import (
    OWNER_PROPERTY,
    Adopt,
    IfExists,
    JobKey,
    JobSnapshot,
    Memory,
    Refuse,
    Situation,
    StopFirst,
    Submit,
    may_be_preceded,
    plan,
)
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.workspace import ConnectionSettings, Workspace
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import jobs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.arrivals import Arrival

log = logging.getLogger(__name__)


class SupersededError(ConfigError):
    """The blob was replaced after it arrived; the newer version has an arrival of its own, and is scored under it."""


@frozen(kw_only=True)
class Try:
    """One try of a task, as far as its job is concerned.

    Attributes:
        memory: What the task instance remembers of earlier tries.
        number: Airflow's number of this try; at least 1.
        situation: What it knows when it decides.
        owner: Whose job it is, as ``dag/run/task/map index/try``.
        note: Writes down, just before a job is submitted, that this try is about to; a try after a crash then knows
            that nobody has cleared the task in between.
        marks: What else the job says of its task, among its properties.
        preflight: Whether to look first for what the job needs.
        earlier: The attempts at the key that were found before this one is submitted.
    """

    key: JobKey
    memory: Memory | None
    number: int
    situation: Situation
    owner: str
    note: Callable[[], None] = lambda: None
    marks: Mapping[str, str] = field(factory=dict)
    preflight: bool = False
    earlier: Sequence[JobSnapshot] = ()


class Backend(Protocol):
    """What runs the jobs of a key; each back end finds and starts them in its own way."""

    def check(self) -> None:
        """Find out whatever is wrong with what is passed, before anything is submitted.

        Raises:
            ConfigError: What is to be run does not exist, or what is passed does not fit it.
        """

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look for the jobs that carry a key."""

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Start a job, as this attempt at the try's key.

        Raises:
            SupersededError: A blob was replaced after it arrived.
            RefusedError: The service refuses.
            UnavailableError: Nobody knows whether it was taken; whoever tries again looks first.
        """


def find_or_start(client: "Client", workspace: Workspace, this: Try, backend: Backend) -> JobSnapshot | StopFirst:
    """Return the job to wait for, or the one that must have ended before another may start.

    Raises:
        ConfigError: See `Backend.check`.
        RefusedError: The service refuses.
        UnavailableError: The service does not answer; trying again is safe, since whoever does looks first.
    """
    backend.check()
    found: Sequence[JobSnapshot] = ()
    if may_be_preceded(this.key, this.memory, try_number=this.number):
        found = backend.find(this.key)
    decision = plan(found, this.key, this.situation)
    match decision:
        case Refuse(job=job):
            raise ConfigError(
                f"Job {job.name} ({job.status}) of {job.properties.get(OWNER_PROPERTY) or 'somebody'} has this task's"
                f" key already, and if_exists is {IfExists.FAIL.value!r}. Nothing was submitted."
            )
        case StopFirst(job=job, cancel=must_cancel):
            if must_cancel:
                client.run(jobs.cancel(workspace, job.name))
                log.info("Asked Azure ML to cancel job %s", job.name)
            log.info("Job %s of an earlier try must end before another may start", job.name)
            return decision
        case Adopt(job=job):
            log.info("Job %s (%s) is this task's already; nothing is submitted", job.name, job.status)
            return job
        case Submit(attempt=attempt):
            this.note()
            job = backend.submit(evolve(this, earlier=found), attempt)
            log.info("Job %s started, attempt %s at key %s", job.name, attempt, this.key.digest)
            return job


def check_blobs(settings: ConnectionSettings, passed: Passed) -> None:
    """Look at every arrived blob once more: is it still there, the same version, and of the format it should be?

    Raises:
        ConfigError: One is gone, or is not what it should be.
        SupersededError: One was replaced.
    """
    for name, arrival in passed.arrivals.items():
        _check_blob(settings, arrival, format_name=passed.formats.get(name, ""), input_name=name)


def _check_blob(settings: ConnectionSettings, arrival: "Arrival", *, format_name: str, input_name: str) -> None:
    from airflow_azureml.client import storage  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    what = f"Input {input_name!r}: blob {arrival.path} in container {arrival.container}"
    blob = storage.look_at_blob(settings, arrival.uri, head_bytes=HEAD_BYTES if format_name else 0)
    if blob is None:
        raise ConfigError(f"{what} was deleted after it arrived at {arrival.time}. Nothing was submitted.")
    if blob.etag != arrival.etag:
        raise SupersededError(
            f"{what} was replaced after it arrived at {arrival.time} (eTag {arrival.etag}, now {blob.etag}). Nothing"
            " was submitted; the newer version is scored under its own arrival."
        )
    if format_name:
        fault = FAULT_OF_FORMAT[format_name](blob.head, whole=blob.size_bytes <= len(blob.head))
        if fault:
            raise ConfigError(f"{what} is no {format_name.upper()} that can be scored: {fault}. Nothing was submitted.")
