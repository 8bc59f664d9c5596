"""What of a job goes into its task's log while it runs: its steps as they change, and its log as it grows.

All of it is bounded, and what is left out is said. Nothing here reads anything: a `Following` is asked what to read
next, and told what that was.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from attrs import define, evolve, field, frozen

from airflow_azureml.core.joblog import BOUNDS, Bounds, LogReader, clean
from airflow_azureml.core.jobs import JobSnapshot, Phase, phase_of
from airflow_azureml.core.reports import Step
from airflow_azureml.core.triage import Failure
from airflow_azureml.errors import AzureMLError


class Follow(StrEnum):
    """What is told of a job while its task waits."""

    #: Nothing but the job's own status.
    NONE = "none"
    #: Each change of a pipeline's steps; of any other job the same as ``none``.
    STEPS = "steps"
    #: The steps, and the text of the job's log: of a pipeline that of its steps.
    LOG = "log"


def link_of(studio_url: str, job: str, run: str) -> str:
    """Give the page of a step, from that of its job; empty when the job's is none that names the job."""
    parts = urlsplit(studio_url)
    before, _, last = parts.path.rpartition("/")
    if not before or unquote(last) != job:
        return ""
    return urlunsplit(parts._replace(path=f"{before}/{quote(run, safe='')}"))


@frozen(kw_only=True)
class StepRun(Step):
    """A step, with what it takes to look further into it.

    Attributes:
        words: Why it failed, in Azure ML's words; empty when it did not, or nobody says.
    """

    words: str = ""

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read an entry of a run's children."""
        step = super().from_wire(raw)
        return evolve(
            step,
            name=clean(step.name.encode("utf-8", "replace"))[:200],
            words=Failure.from_wire(raw).words,
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return phase_of(self.status).is_final

    @property
    def sentence(self) -> str:
        """Say how it is."""
        took = f" after {self.seconds:.1f} s" if self.seconds is not None and self.has_ended else ""
        return f"Step {self.name} is {self.status}{took}{self.whence}"


def failed_steps(steps: Sequence[StepRun]) -> list[StepRun]:
    """Choose the steps that failed themselves: not a pipeline that did because a step of it did."""
    failed = [step for step in steps if step.status == "Failed"]
    return [
        step
        for step in failed
        if not (step.is_pipeline and any(each.name.startswith(f"{step.name}/") for each in failed))
    ]


@define
class Progress:
    """Which states of a job's steps were told.

    Attributes:
        is_resumed: Whether this is not the first to tell of this job: what ended before is then counted only.
    """

    bounds: Bounds = BOUNDS
    is_resumed: bool = False
    _seen: dict[str, str] = field(init=False, factory=dict)
    _told: int = field(init=False, default=0)
    _has_told_all: bool = field(init=False, default=True)

    def changes(self, steps: Sequence[StepRun]) -> list[str]:
        """Say what has changed since the last look."""
        changed = [step for step in steps if self._seen.get(step.run) != step.status]
        self._seen.update({step.run: step.status for step in changed})
        told: list[str] = []
        if self.is_resumed:
            before = [step for step in changed if step.has_ended and step.status != "Failed"]
            changed = [step for step in changed if step not in before]
            told = [f"{len(before)} steps had ended before"] if before else []
            self.is_resumed, self._has_told_all = False, not before
        changed.sort(key=lambda step: step.status != "Failed")
        room = max(0, min(self.bounds.look_changes, self.bounds.all_changes - self._told))
        singly, rest = changed[:room], changed[room:]
        self._told += len(singly)
        told += [step.sentence for step in singly]
        if rest:
            self._has_told_all = False
            counted = Counter(step.status for step in rest)
            told.append(f"{len(rest)} more steps changed: {', '.join(f'{n} {word}' for word, n in counted.items())}")
        return told

    def has_told_all(self) -> bool:
        """Tell whether every step was seen, and told one by one, to its end."""
        return self._has_told_all and bool(self._seen) and all(phase_of(word).is_final for word in self._seen.values())


@define
class FollowedLog:
    """A log that is told.

    Attributes:
        of: Whose it is: ``step train``, ``job x``.
        link: The page of it; empty when there is none.
        url: Where it can be read, with a signature in it; empty until that is known, and never shown.
        has_ended: Whether whatever writes it has ended.
        is_over: Whether it was told to its end.
        failures: How often in a row it could not be read.
    """

    run: str
    of: str
    link: str
    reader: LogReader
    url: str = field(default="", repr=False)
    has_ended: bool = False
    is_over: bool = False
    failures: int = 0

    def took(self, first: int, body: bytes, total: int | None) -> list[str]:
        """Take a part of it, see `LogReader.took`, and tell it."""
        before = self.reader.replaced
        told = self.told(self.reader.took(first, body, total))
        if self.reader.replaced == before:
            return told
        return [*told, f"The log of {self.of} was replaced; it is followed from its beginning"]

    def told(self, lines: Sequence[str]) -> list[str]:
        """Say what was read, with what was left out before it."""
        left_out = self.reader.take_left_out()
        told = [f"{left_out} bytes of the log of {self.of} are left out{self.where}"] if left_out else []
        return [*told, "\n".join([f"Log of {self.of}:", *lines])] if lines else told

    def close(self, why: str = "") -> list[str]:
        """Take note that no more of it is read, and tell its last line."""
        if self.is_over:
            return []
        self.is_over = True
        told = self.told(self.reader.end())
        return [*told, f"The log of {self.of} is not followed any further: {why}{self.where}"] if why else told

    @property
    def where(self) -> str:
        """Say where the whole log is, as the end of a sentence."""
        return f"; all of it: {self.link}" if self.link else ""


@define
class Following:
    """What was told of one job, and what is to be read next.

    Attributes:
        follow: What is told.
        is_resumed: Whether another told of this job before, whose memory is lost.
        due_at: When the next look may be: seconds of the clock that is asked by.
        known_pipelines: Runs of pipelines within the job that have ended, and whose steps were all told.
        progress: What was told of its steps.
        is_spent: Whether as much was read of all logs as may be.
    """

    follow: Follow
    is_resumed: bool = False
    bounds: Bounds = BOUNDS
    due_at: float = 0.0
    known_pipelines: set[str] = field(init=False, factory=set)
    progress: Progress = field(init=False)
    _logs: dict[str, FollowedLog] = field(init=False, factory=dict)
    _troubles: set[str] = field(init=False, factory=set)
    is_spent: bool = field(init=False, default=False)
    _is_first: bool = field(init=False, default=True)

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self.bounds, is_resumed=self.is_resumed)

    def concerns(self, job: JobSnapshot) -> bool:
        """Tell whether anything is told of this job: to look at a command's steps would cost a request for nothing."""
        return self.follow is Follow.LOG or (self.follow is Follow.STEPS and job.is_pipeline)

    def is_due(self, job: JobSnapshot, now: float) -> bool:
        """Tell whether to look now, since the job runs, and the last look is long enough ago."""
        return job.phase is Phase.RUNNING and now >= self.due_at and self.concerns(job)

    def looked(self, now: float) -> None:
        """Take note of a look that is over."""
        self.due_at = now + self.bounds.every_s

    def saw(self, steps: Sequence[StepRun]) -> list[str]:
        """Take note of how the steps are, and say what has changed."""
        for step in steps:
            if step.is_pipeline and step.has_ended and any(each.name.startswith(f"{step.name}/") for each in steps):
                self.known_pipelines.add(step.run)
        return self.progress.changes(steps)

    def logs(self, job: JobSnapshot, steps: Sequence[StepRun]) -> list[FollowedLog]:
        """Choose the logs to read on at this look, the oldest first; a step that has ended is among them once more."""
        if self.follow is not Follow.LOG or self.is_spent:
            return []
        was_before, self._is_first = self.is_resumed and self._is_first, False
        if job.is_pipeline:
            for step in steps:
                self._open(step, job, was_before=was_before)
        else:
            own = self._logs.get(job.name) or self._begin(job.name, f"job {job.name}", job.studio_url)
            own.reader.is_resumed = own.reader.is_resumed or was_before
            own.has_ended = job.phase.is_final
        most = self.bounds.logs_at_end if job.phase.is_final else self.bounds.logs_at_once
        return [log for log in self._logs.values() if not log.is_over][:most]

    def room(self) -> int:
        """Return how many more bytes may be read of all logs together."""
        return self.bounds.all_bytes - sum(log.reader.taken for log in self._logs.values())

    def trouble(self, what: str, error: Exception) -> list[str]:
        """Say that something could not be read, once until it can be again."""
        if what in self._troubles:
            return []
        self._troubles.add(what)
        # The words of an error that is none of ours may hold a signed address.
        words = str(error) if isinstance(error, AzureMLError) else type(error).__name__
        return [f"{what} cannot be read just now: {words}"]

    def well(self, what: str) -> None:
        """Take note that something could be read."""
        self._troubles.discard(what)

    def spent(self, job: JobSnapshot) -> list[str]:
        """Say, once, that no more of any log is read."""
        if self.is_spent:
            return []
        self.is_spent = True
        where = f"; all of them: {job.studio_url}" if job.studio_url else ""
        return [f"The logs of job {job.name} are not followed any further: {self.bounds.all_bytes} bytes were{where}"]

    def _open(self, step: StepRun, job: JobSnapshot, *, was_before: bool) -> None:
        """Begin with a step's log when it runs, or has run: not when it was told of before, or wrote none."""
        if not step.run or step.is_pipeline or step.reused:
            return
        is_under_way = phase_of(step.status) is Phase.RUNNING
        if step.run not in self._logs and (is_under_way or (step.has_ended and not was_before)):
            begun = self._begin(step.run, f"step {step.name}", link_of(job.studio_url, job.name, step.run))
            begun.reader.is_resumed = was_before
        if step.run in self._logs:
            self._logs[step.run].has_ended = step.has_ended

    def _begin(self, run: str, of: str, link: str) -> FollowedLog:
        log = self._logs[run] = FollowedLog(run=run, of=of, link=link, reader=LogReader(self.bounds))
        return log
