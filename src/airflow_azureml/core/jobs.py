"""Jobs: what their status means, whose they are, and whether to start one or adopt one."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Self

from attrs import evolve, field, frozen

from airflow_azureml.errors import ProtocolError


class Phase(Enum):
    """What a job's status means for whoever waits for it."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    UNCERTAIN = "uncertain"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended for good."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED)


#: Source: Microsoft.MachineLearningServices, JobStatus, API version 2024-01-01-preview. Azure's clients take
#: ``Paused`` and ``NotResponding`` for ends; its documentation says that a job goes on from both.
PHASE_OF_STATUS: Mapping[str, Phase] = {
    "NotStarted": Phase.WAITING,
    "Starting": Phase.WAITING,
    "Provisioning": Phase.WAITING,
    "Preparing": Phase.WAITING,
    "Queued": Phase.WAITING,
    "Running": Phase.RUNNING,
    "Finalizing": Phase.RUNNING,
    "CancelRequested": Phase.STOPPING,
    "Completed": Phase.SUCCEEDED,
    "Failed": Phase.FAILED,
    "Canceled": Phase.CANCELED,
    "NotResponding": Phase.UNCERTAIN,
    "Paused": Phase.UNCERTAIN,
    "Unknown": Phase.UNCERTAIN,
}


def phase_of(status: str) -> Phase:
    """Read a status; a word that Azure added since then is uncertain, not an error and never a success."""
    return PHASE_OF_STATUS.get(status, Phase.UNCERTAIN)


#: The names under which a job carries whose it is, among its properties.
KEY_PROPERTY = "airflow.idempotency_key"
ATTEMPT_PROPERTY = "airflow.attempt"
OWNER_PROPERTY = "airflow.owner"
#: Which Airflow it belongs to, and what is to become of it when its task is killed, where that is to leave it.
INSTANCE_PROPERTY = "airflow.instance"
ON_KILL_PROPERTY = "airflow.on_kill"
LEAVE = "leave"


@frozen(kw_only=True)
class JobSnapshot:
    """A job as one look showed it.

    Attributes:
        status: Azure's own word.
        message: What is known beside the status: an error of the look, or of the job.
        studio_url: The job's page for people; empty when Azure named none.
        properties: The job's properties, ours among them.
        kind: Azure's word for the kind of job (``Pipeline``, ``Command``, …); empty when it was not said.
    """

    name: str
    status: str
    message: str = ""
    studio_url: str = ""
    properties: Mapping[str, str] = field(factory=dict)
    kind: str = ""

    @property
    def phase(self) -> Phase:
        """What the status means."""
        return phase_of(self.status)

    @property
    def is_pipeline(self) -> bool:
        """Whether it is known to have steps."""
        return self.kind == "Pipeline"

    @property
    def key(self) -> str:
        """The idempotency key it was submitted with; empty when it was not submitted by us."""
        return self.properties.get(KEY_PROPERTY, "")

    @property
    def attempt(self) -> int:
        """Which attempt at its key it is; at least 1."""
        written = self.properties.get(ATTEMPT_PROPERTY, "1")
        return max(1, int(written)) if written.isdecimal() else 1

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read a job resource, or an entry of a batch endpoint's list of jobs.

        Raises:
            ProtocolError: It has no name or no status.
        """
        body = raw.get("properties")
        name, status = raw.get("name"), body.get("status") if isinstance(body, Mapping) else None
        if not isinstance(name, str) or not isinstance(body, Mapping) or not isinstance(status, str):
            raise ProtocolError(f"Azure ML described job {name!r} without a name or a status: {sorted(raw)}")
        services = body.get("services") or body.get("interactionEndpoints") or {}
        studio = services.get("Studio") or {}
        tags, properties = body.get("tags") or {}, body.get("properties") or {}
        return cls(
            name=name,
            status=status,
            studio_url=str(studio.get("endpoint") or ""),
            properties={str(label): str(value) for label, value in {**tags, **properties}.items()},
            kind=str(body.get("jobType") or ""),
        )

    def to_wire(self) -> dict[str, str]:
        """Write the small part that goes through Airflow's database."""
        return {"name": self.name, "status": self.status, "message": self.message[:1000], "studio_url": self.studio_url}

    def saying(self, message: str) -> Self:
        """Return the same look with another message."""
        return evolve(self, message=message)


@frozen(kw_only=True)
class JobKey:
    """What makes two submissions the same one.

    Attributes:
        digest: 32 hexadecimal digits.
        lasting: Whether a completed job answers the key for ever (blob versions are scored once), rather than until
            a person clears the task.
    """

    digest: str
    lasting: bool

    @classmethod
    def of_task(cls, dag_id: str, run_id: str, task_id: str, map_index: int) -> Self:
        """Name one task instance of one run, on every try."""
        return cls(digest=_digest("task", dag_id, run_id, task_id, str(map_index)), lasting=False)

    @classmethod
    def of_blobs(cls, dag_id: str, task_id: str, blobs: Sequence[str]) -> Self:
        """Name the blob versions a task scores, in whatever run they come.

        Args:
            dag_id: The DAG.
            task_id: The task.
            blobs: A text for each version, such as an arrival's key; their order does not matter.
        """
        return cls(digest=_digest("blobs", dag_id, task_id, *sorted(blobs)), lasting=True)

    @classmethod
    def given(cls, dag_id: str, task_id: str, text: str) -> Self:
        """Use a key that the DAG's author chose; it holds across runs."""
        return cls(digest=_digest("given", dag_id, task_id, text), lasting=True)

    def job_name(self, attempt: int) -> str:
        """Return the name of an attempt's job, where the name is ours to choose."""
        return f"airflow-{self.digest}-{attempt}"

    def repeatability_id(self, attempt: int) -> str:
        """Return the id under which an attempt is posted, the same however often it is posted: a UUID."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"airflow-provider-azureml/{self.digest}/{attempt}"))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


class Stage(Enum):
    """How far a task instance's last try had come, as it wrote it down itself."""

    #: A worker held the job, or was about to submit it.
    HELD = "held"
    #: A trigger held the job.
    DEFERRED = "deferred"
    #: The job was told to end, and the task has not seen that it did.
    STOPPING = "stopping"
    #: The task saw the job's end.
    ENDED = "ended"


@frozen(kw_only=True)
class Memory:
    """What a task instance remembers of its earlier tries.

    Attributes:
        stage: How far the last of them had come.
        job: The job it had; empty when it had none yet.
        try_number: Which try wrote this.
        max_tries: How many retries Airflow counted for the task when this was written. It counts anew only when a
            person clears the task; that is how a clear is told from a retry. Source: Airflow 3.3,
            ``clear_task_instances``.
    """

    stage: Stage
    job: str
    try_number: int
    max_tries: int

    @classmethod
    def from_wire(cls, raw: object) -> Self | None:
        """Read what `to_wire` wrote; anything else is no memory, which only costs a look."""
        match raw:
            case {"stage": str(stage), "job": str(job), "try_number": int(tried), "max_tries": int(most)} if stage in {
                each.value for each in Stage
            }:
                return cls(stage=Stage(stage), job=job, try_number=tried, max_tries=most)
            case _:
                return None

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "stage": self.stage.value,
            "job": self.job,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
        }

    def was_cleared(self, max_tries: int) -> bool:
        """Tell whether a person has cleared the task since this was written.

        Args:
            max_tries: What Airflow counts now.
        """
        return self.max_tries != max_tries


@frozen
class Adopt:
    """This job is ours already: wait for it."""

    job: JobSnapshot


@frozen
class StopFirst:
    """This job must have ended before another may start.

    Attributes:
        cancel: Whether it still has to be told to.
    """

    job: JobSnapshot
    cancel: bool


@frozen
class Submit:
    """Start a job, as this attempt at its key; at least 1."""

    attempt: int


class IfExists(StrEnum):
    """What to do when a job with the key is there already."""

    #: Wait for it, or take its result.
    REATTACH = "reattach"
    #: Start another; a live one is ended first.
    NEW_ATTEMPT = "new_attempt"
    #: Refuse, unless it is this task instance's own.
    FAIL = "fail"


@frozen
class Refuse:
    """A job with the key is there, and it is not this task instance's."""

    job: JobSnapshot


Plan = Adopt | StopFirst | Submit | Refuse


def may_be_preceded(key: JobKey, memory: Memory | None, *, try_number: int) -> bool:
    """Tell whether somebody may have submitted this key before, so that we must look before we post.

    Only the first try of a task instance whose key is its own cannot have been preceded.
    """
    return key.lasting or memory is not None or try_number > 1


@frozen(kw_only=True)
class Situation:
    """What a try knows when it decides.

    Attributes:
        cleared: Whether a person has cleared the task since its last try.
        cancels_on_kill: Whether clearing a task cancels its job.
        remembered: The job that this task instance had; under a lasting key, a live one may be another task's.
        stopping: The job that this task instance, or somebody it heard of, has told to end; its status may not show it.
        if_exists: What to do about a job that is there already.
        instance: How the owner of a job of this task instance begins: ``dag/run/task/map index/``.
    """

    cleared: bool = False
    cancels_on_kill: bool = True
    remembered: str = ""
    stopping: str = ""
    if_exists: IfExists = IfExists.REATTACH
    instance: str = ""

    def owns(self, job: JobSnapshot, key: JobKey) -> bool:
        """Tell whether a job is this task instance's own."""
        by_owner = bool(self.instance) and job.properties.get(OWNER_PROPERTY, "").startswith(self.instance)
        return not key.lasting or by_owner or job.name == self.remembered


def plan(found: Sequence[JobSnapshot], key: JobKey, situation: Situation) -> Plan:
    """Decide what a try does, given every job that carries its key.

    Never two live jobs for one key: a live one is adopted, or ended first. A job that is being cancelled is never
    adopted: somebody wanted it gone. A retry adopts what is there, since whatever failed may have failed in Airflow; a
    person who clears the task wants it done anew, unless the key lasts and it is done already.

    Args:
        found: The jobs with this key, in any order; others are ignored.
        key: The key.
        situation: What the try knows.
    """
    ours = sorted((job for job in found if job.key == key.digest), key=lambda job: (job.attempt, job.name))
    anothers = [job for job in ours if not situation.owns(job, key)]
    if anothers and situation.if_exists is IfExists.FAIL:
        return Refuse(anothers[-1])
    living = [job for job in ours if not job.phase.is_final]
    for job in living:
        if job.phase is Phase.STOPPING:
            return StopFirst(job, cancel=False)
        if job.name == situation.stopping:
            return StopFirst(job, cancel=situation.cancels_on_kill)
    wants_anew = situation.if_exists is IfExists.NEW_ATTEMPT
    if living:
        job = living[-1]
        own = situation.owns(job, key)
        ends_it = (situation.cleared and situation.cancels_on_kill and own) or (wants_anew and not own)
        return StopFirst(job, cancel=True) if ends_it else Adopt(job)
    completed = [job for job in ours if job.phase is Phase.SUCCEEDED]
    if completed:
        job = completed[-1]
        own = situation.owns(job, key)
        again_wanted = (situation.cleared or not own) if wants_anew else (situation.cleared and not key.lasting)
        if not again_wanted:
            return Adopt(job)
    return Submit(attempt=max((job.attempt for job in ours), default=0) + 1)
