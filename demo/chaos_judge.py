"""What is wrong with jobs and tasks after chaos: pure, so that a test can show that it says no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from demo.chaos_plan import Fate, Going, Instance

OVER = frozenset({"success", "failed"})
ENDED = frozenset({"Completed", "Failed", "Canceled"})


@attrs.frozen(kw_only=True)
class Task:
    """What Airflow says of a task instance.

    Attributes:
        state: Airflow's word; ``none`` for one that nothing was done about yet.
        tries: How often it was begun.
        job: The job that it names in its result; empty when it has none.
    """

    state: str
    tries: int
    job: str = ""


@attrs.frozen(kw_only=True)
class Job:
    """What the workspace says of a job.

    Attributes:
        owner: Whose it says that it is: ``dag/run/task/map index/try``.
        attempt: Which attempt at its key it says that it is.
    """

    name: str
    status: str
    key: str
    owner: str
    attempt: int


@attrs.frozen(kw_only=True)
class Look:
    """Everything as one look showed it."""

    tasks: Mapping[Instance, Task]
    jobs: Sequence[Job]

    def of(self, instance: Instance) -> list[Job]:
        """List a task instance's jobs, by attempt."""
        mine = [job for job in self.jobs if job.owner.startswith(instance.owner)]
        return sorted(mine, key=lambda job: (job.attempt, job.name))

    @property
    def is_over(self) -> bool:
        """Whether no task and no job goes on."""
        return all(task.state in OVER for task in self.tasks.values()) and all(job.status in ENDED for job in self.jobs)


def faults(look: Look, wanted: Mapping[Instance, Going]) -> list[str]:
    """Say what is not as it has to be; empty when all is.

    Every task ended as its last job did, and only ``Completed`` passes; each attempt has one job, and there is a next
    one only after a job that failed; nothing goes on; a sound or flaky task passed in the end, a failing one failed.

    Args:
        look: What the systems said.
        wanted: The task instances, and how their jobs go.
    """
    wrong = []
    for instance, going in wanted.items():
        task, jobs = look.tasks.get(instance), look.of(instance)
        told = [*_of_task(task, jobs), *_of_jobs(jobs), *_of_fate(task, jobs, going.fate)]
        shown = ", ".join(f"{job.name} {job.status}" for job in jobs) or "none"
        wrong += [f"{instance.owner} ({going.fate}) {said}; its jobs: {shown}" for said in told]
    owners = {instance.owner for instance in wanted}
    strangers = [job for job in look.jobs if job.owner.rpartition("/")[0] + "/" not in owners]
    return wrong + [f"job {job.name} ({job.status}) belongs to no task: {job.owner!r}" for job in strangers]


def _of_task(task: Task | None, jobs: Sequence[Job]) -> list[str]:
    if task is None:
        return ["is not known to Airflow"]
    if task.state not in OVER:
        return [f"is stuck: {task.state}, try {task.tries}"]
    if not jobs:
        return [f"is {task.state} and has no job"]
    passed, completed = task.state == "success", jobs[-1].status == "Completed"
    if passed != completed:
        return [f"{'passed' if passed else 'failed'}, and its job {jobs[-1].name} is {jobs[-1].status}"]
    if passed and task.job != jobs[-1].name:
        return [f"names job {task.job or 'none'} as its own, not {jobs[-1].name}"]
    return []


def _of_jobs(jobs: Sequence[Job]) -> list[str]:
    wrong = [f"has left job {job.name} {job.status}" for job in jobs if job.status not in ENDED]
    attempts = Counter(job.attempt for job in jobs)
    wrong += [f"has {count} jobs at attempt {attempt}" for attempt, count in sorted(attempts.items()) if count > 1]
    if sorted(attempts) != list(range(1, len(attempts) + 1)):
        wrong.append(f"has attempts {', '.join(map(str, sorted(attempts)))}")
    if len({job.key for job in jobs}) > 1:
        wrong.append("has jobs of several keys")
    return wrong + [
        f"has another job after {job.name}, which is {job.status}" for job in jobs[:-1] if job.status != "Failed"
    ]


def _of_fate(task: Task | None, jobs: Sequence[Job], fate: Fate) -> list[str]:
    if task is None or task.state not in OVER:
        return []
    wrong = []
    if (task.state == "success") != (fate is not Fate.FAILING):
        wrong.append(f"ended as {task.state}")
    failed = sum(job.status == "Failed" for job in jobs)
    if fate is not Fate.FAILING and failed > (1 if fate is Fate.FLAKY else 0):
        wrong.append(f"has {failed} failed jobs")
    if len(jobs) > task.tries:
        wrong.append(f"has {len(jobs)} jobs of {task.tries} tries")
    return wrong


def figures(look: Look, wanted: Mapping[Instance, Going], wrong: Sequence[str]) -> dict[str, object]:
    """Count."""
    tasks, statuses = Counter(task.state for task in look.tasks.values()), Counter(job.status for job in look.jobs)
    doubled = sum(count - 1 for count in Counter((job.key, job.attempt) for job in look.jobs).values())
    completed = Counter(job.key for job in look.jobs if job.status == "Completed")
    return {
        "tasks": len(wanted),
        "success": tasks["success"],
        "failed": tasks["failed"],
        "stuck": len(wanted) - tasks["success"] - tasks["failed"],
        "tries": sum(task.tries for task in look.tasks.values()),
        "jobs": len(look.jobs),
        "completed": statuses["Completed"],
        "failed_jobs": statuses["Failed"],
        "canceled_jobs": statuses["Canceled"],
        "orphans": sum(job.status not in ENDED for job in look.jobs),
        "doubled": doubled + sum(count - 1 for count in completed.values()),
        "real": sum(going.first == "" for going in wanted.values()),
        "faults": len(wrong),
        "ok": not wrong,
    }
