"""Jobs whose owner is gone: whose a job is, and whether anybody still waits for it."""

import hashlib
import re
from collections.abc import Iterable
from enum import Enum
from typing import Self

from attrs import field, frozen

from airflow_azureml.core.jobs import INSTANCE_PROPERTY, LEAVE, ON_KILL_PROPERTY, JobKey, JobSnapshot, Phase
from airflow_azureml.errors import ConfigError

#: States in which a task instance may still want its job. One without a state is about to be scheduled.
#: Source: ``TaskInstanceState`` of Airflow 3.3.
LIVING = frozenset(
    {
        "scheduled",
        "queued",
        "running",
        "restarting",
        "deferred",
        "up_for_retry",
        "up_for_reschedule",
        "awaiting_input",
    }
)
#: States in which it wants nothing any more. A state that is in neither set is one we do not know.
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def instance_of(*, configured: str, base_url: str) -> str:
    """Name an Airflow, so that its jobs are told from those of another with DAGs of the same name.

    Args:
        configured: The name it was given; empty for none.
        base_url: The address at which people reach it; empty for none.

    Returns:
        The name it was given, or one made of the address; empty where it has neither.

    Raises:
        ConfigError: The name it was given is none.
    """
    if configured:
        if not _INSTANCE.fullmatch(configured):
            raise ConfigError(
                f"[azureml] instance is {configured!r}: give letters, digits, '-', '_' and '.', at most 63 of them."
            )
        return configured
    address = base_url.strip().rstrip("/").lower()
    return f"url-{hashlib.sha256(address.encode()).hexdigest()[:16]}" if address else ""


@frozen(kw_only=True)
class Owner:
    """The try of a task instance that submitted a job.

    Attributes:
        map_index: -1 for a task that is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``dag/run/task/map index/try``; None for anything else.

        Only a run's id may hold a slash, where ``[scheduler] allowed_run_id_pattern`` was changed.
        """
        dag_id, _, rest = text.partition("/")
        parts = rest.rsplit("/", 3)
        if len(parts) != 4 or not all((dag_id, *parts)):  # noqa: PLR2004  # run, task, map index, try
            return None
        run_id, task_id, map_index, try_number = parts
        if not map_index.removeprefix("-").isdecimal() or not try_number.isdecimal():
            return None
        return cls(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=int(map_index), try_number=int(try_number))

    @property
    def key(self) -> JobKey:
        """The key of a job that is this task instance's alone."""
        return JobKey.of_task(self.dag_id, self.run_id, self.task_id, self.map_index)

    def __str__(self) -> str:
        mapped = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.dag_id} {self.run_id} {self.task_id}{mapped}"


@frozen(kw_only=True)
class OwnedJob:
    """A job that has not ended, with its owner.

    Attributes:
        owner_text: The owner as the job carries it.
        created_at: When it was submitted: seconds since 1970, UTC; None when Azure did not say.
    """

    job: JobSnapshot
    owner_text: str
    created_at: float | None

    @property
    def owner(self) -> Owner | None:
        """The owner; None when what the job carries cannot be read."""
        return Owner.parse(self.owner_text)

    @property
    def instance(self) -> str:
        """Which Airflow submitted it, as `instance_of` names it; empty where it does not say."""
        return self.job.properties.get(INSTANCE_PROPERTY, "")

    @property
    def is_left_on_purpose(self) -> bool:
        """Whether its task was told to leave it when it is killed."""
        return self.job.properties.get(ON_KILL_PROPERTY) == LEAVE

    @property
    def is_its_owners_alone(self) -> bool:
        """Whether no other task instance can have adopted the job: its key is its owner's own."""
        return self.owner is not None and self.job.key == self.owner.key.digest


@frozen(kw_only=True)
class Answer:
    """What Airflow says of an owner.

    Attributes:
        dag_known: Whether this Airflow knows the DAG.
        found: Whether the task instance is there.
        state: Its state; None when it has none yet.
        others_living: How many instances of the same task are in a state of `LIVING`; None when nobody asked.
        trouble: Why Airflow did not answer; empty when it did.
    """

    dag_known: bool = True
    found: bool = False
    state: str | None = None
    others_living: int | None = None
    trouble: str = ""


class Verdict(Enum):
    """What a job is."""

    ORPHAN = "orphan"
    KEPT = "kept"


@frozen(kw_only=True)
class Finding:
    """A job, and what was found of it.

    Attributes:
        why: What is known of the owner, in a few words.
    """

    owned: OwnedJob
    verdict: Verdict
    why: str


@frozen(kw_only=True)
class Rules:
    """What may be called an orphan.

    Attributes:
        older_than_s: Seconds since its submission that a job must have; one of unknown age is kept.
        unknown_dags: Whether the jobs of a DAG that this Airflow does not know are orphans.
        dag_ids: The DAGs whose jobs are judged; empty for all.
        include_left: Whether a job that its task was told to leave may be one.
    """

    older_than_s: float
    unknown_dags: bool = False
    dag_ids: frozenset[str] = field(factory=frozenset)
    include_left: bool = False


def reason_to_keep(owned: OwnedJob, *, now: float, rules: Rules) -> str:
    """Say why a job is kept whatever Airflow says of its owner; empty when Airflow is to be asked.

    Args:
        owned: The job.
        now: Seconds since 1970, UTC.
        rules: What may be called an orphan.
    """
    owner = owned.owner
    if owned.job.phase.is_final:
        return f"has ended ({owned.job.status})"
    if owned.job.phase is Phase.STOPPING:
        return "is being cancelled"
    if owner is None:
        return "carries an owner that cannot be read"
    if rules.dag_ids and owner.dag_id not in rules.dag_ids:
        return "is of another DAG"
    if owned.created_at is None:
        return "is of unknown age"
    age_s = now - owned.created_at
    return f"is {age_s:.0f} s old" if age_s < rules.older_than_s else ""


def judge(owned: OwnedJob, answer: Answer | None, *, now: float, rules: Rules) -> Finding:
    """Tell whether anybody still wants a job; whatever is not certain keeps it.

    A task instance may have adopted the job of another one that had the same idempotency key. That one is of the same
    DAG and task, so a job whose key others can have is kept as long as any instance of its task lives.

    Args:
        owned: The job.
        answer: What Airflow says of its owner; None when nobody asked.
        now: Seconds since 1970, UTC.
        rules: What may be called an orphan.
    """
    why, orphan = reason_to_keep(owned, now=now, rules=rules), False
    if not why:
        why, orphan = _of_owner(owned, answer, rules)
        if orphan and owned.is_left_on_purpose and not rules.include_left:
            why, orphan = f"{why}, and it was to be left (on_kill_action={LEAVE!r})", False
    return Finding(owned=owned, verdict=Verdict.ORPHAN if orphan else Verdict.KEPT, why=why)


def _of_owner(owned: OwnedJob, answer: Answer | None, rules: Rules) -> tuple[str, bool]:
    if answer is None or answer.trouble:
        return f"Airflow does not say: {answer.trouble if answer else 'not asked'}", False
    if not answer.dag_known:
        return "this Airflow does not know its DAG", rules.unknown_dags
    if answer.found and answer.state not in OVER:
        known = answer.state is None or answer.state in LIVING
        return f"its task is {answer.state or 'to be scheduled'}{'' if known else ', which is not known here'}", False
    fate = f"its task has ended: {answer.state}" if answer.found else "its task is gone"
    if owned.is_its_owners_alone or answer.others_living == 0:
        return fate, True
    others = "some" if answer.others_living is None else answer.others_living
    return f"{fate}, but {others} of other runs may have adopted the job", False


def table(findings: Iterable[Finding]) -> str:
    """Write findings as lines of text with aligned columns."""
    rows = [("VERDICT", "JOB", "STATUS", "OWNER", "WHY")]
    for each in findings:
        job, owner = each.owned.job, each.owned.owner or each.owned.owner_text
        rows.append((each.verdict.value, job.name, job.status, str(owner), each.why))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
