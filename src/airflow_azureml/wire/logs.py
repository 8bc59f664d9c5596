"""Reading what a job does while it runs, and its last words: run history's steps and details, and the logs' blobs.

A log's address is signed, and whoever has it may read: it stays in here, goes out without a token, and no error and no
sentence shows more of it than the blob's own address.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from airflow_azureml.core.following import FollowedLog, Following, StepRun, failed_steps, link_of
from airflow_azureml.core.joblog import LAST_BYTES, last_lines, log_name
from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.core.triage import Failure
from airflow_azureml.core.workspace import Workspace, is_loopback
from airflow_azureml.errors import AzureMLError, ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import workspaces
from airflow_azureml.wire.http import NOT_FOUND, TRANSIENT, Audience, Flow, Request, Response
from airflow_azureml.wire.paging import all_pages

HISTORY_VERSION = "v1.0"
#: Pipelines within a pipeline whose steps are read: at a look, and when the job has failed.
PIPELINES_FOLLOWED, PIPELINES_EXPLAINED = 8, 30
#: Failed steps whose words are told, and whose logs are.
STEPS_TOLD, LOGS_TOLD = 5, 10
WORDS_TOLD = 1500
#: Enough for the last lines, with whatever steers a terminal among them.
END_BYTES = 4 * LAST_BYTES
#: A log that is near its end when its job ends is read to its end in so many requests.
READS_AT_END = 3
#: So often the log of a step that has ended is tried, while the job goes on.
FAILURES_BORNE = 3
#: The signature is no longer good, or the blob is another's now: its address has to be read anew.
STALE = frozenset({401, 403, NOT_FOUND})
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-\d+|\*)/(?P<total>\d+)")


@frozen
class Piece:
    """A part of a blob.

    Attributes:
        first: The place of its first byte.
        total: How many bytes the blob has; None when that was not said.
    """

    first: int
    body: bytes
    total: int | None


@frozen(kw_only=True)
class FailedStep:
    """A step that failed itself, or the job, where it has no steps.

    Attributes:
        of: ``step train``, or ``job x``.
        log: The last lines of its log, or why there are none, as a sentence.
        link: Its page; empty when there is none.
    """

    of: str
    log: str
    link: str

    @property
    def sentence(self) -> str:
        """Say it all."""
        return f"The last lines of {self.of}:\n{self.log}" + (f"\nThe {self.of}: {self.link}" if self.link else "")


@frozen(kw_only=True)
class Story:
    """Why a job ended as it did.

    Attributes:
        reason: In Azure ML's words: the job's own error, and that of each failed step.
        failed: The steps that failed themselves.
    """

    reason: str
    failed: Sequence[StepRun] = ()


def _run_url(workspace: Workspace, run: str, data_plane: str) -> str:
    return f"{data_plane}/history/v1.0{workspace.arm_id}/runs/{run}"


def steps_of(
    workspace: Workspace, job: str, data_plane: str, *, most_pipelines: int, known: Collection[str] = ()
) -> Flow[list[StepRun]]:
    """List the steps of a pipeline job, and those of the pipelines in it as ``outer/inner``.

    Args:
        workspace: Where the job is.
        job: Its name.
        data_plane: The address of the workspace's data plane, without a slash at its end.
        most_pipelines: How many pipelines within it are read.
        known: Runs of pipelines within it whose steps are known already.

    Raises:
        RefusedError: We may not read it, or there is none.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: The answer is no list.
    """
    found: list[StepRun] = []
    left = [("", job)]
    for _ in range(1 + most_pipelines):
        if not left:
            break
        prefix, run = left.pop(0)
        look = Request(
            doing=f"Read the steps of job {job}",
            method="GET",
            url=f"{_run_url(workspace, run, data_plane)}/children",
            params={"api-version": HISTORY_VERSION},
        )
        children = [StepRun.from_wire(raw) for raw in (yield from all_pages(look))]
        steps = [evolve(step, name=f"{prefix}{step.name}") for step in children]
        found += steps
        left += [(f"{step.name}/", step.run) for step in steps if step.is_pipeline and step.run not in known]
    return found


def log_url(workspace: Workspace, run: str, data_plane: str) -> Flow[str]:
    """Find the signed address of a run's log, which must not be shown; empty when it has none (yet).

    Raises:
        RefusedError: We may not read it, or there is no such run.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"Read the details of run {run}",
        method="GET",
        url=f"{_run_url(workspace, run, data_plane)}/details",
        params={"api-version": HISTORY_VERSION},
    )
    files: Mapping[str, Any] = (yield look).expect(look, 200).get("logFiles") or {}
    name = log_name(files.keys())
    return str(files[name]) if name else ""


def piece(url: str, first: int, last: int, *, of: str) -> Flow[Piece]:
    """Read a part of a log; less when it has less, and nothing when it has not come so far.

    Azure Storage takes no range that counts from the end. Source: "Specifying the range header for Blob service
    operations".

    Args:
        url: A signed address.
        first: The first byte.
        last: The last byte.
        of: Whose log it is.

    Raises:
        RefusedError: The address is no longer good, or there is no such blob.
        UnavailableError: Storage did not answer; asking again is safe.
        ProtocolError: Nobody knows which part it is that came.
    """
    look = Request(
        doing=f"Read the log of {of}",
        method="GET",
        url=url,
        headers={"Range": f"bytes={first}-{last}", "Accept": "*/*"},
        audience=Audience.NOBODY,
    )
    if not url.startswith("https://") and not is_loopback(url):
        raise RefusedError(look.doing, message="Its address is neither https nor on this machine; nothing was sent.")
    answer = yield look
    said = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    match answer.status:
        case 200:
            return Piece(0, answer.body, len(answer.body))
        case 206 if said and said["first"]:
            return Piece(int(said["first"]), answer.body, int(said["total"]))
        case 206:
            raise ProtocolError(f"{look.doing}: a part of it that does not say which [request {answer.request_id}]")
        case 416:
            return Piece(first, b"", int(said["total"]) if said else None)
        case _:
            raise _refusal(look, answer)


def _refusal(look: Request, answer: Response) -> RefusedError | UnavailableError:
    """Say that storage refused, in its code alone: its words may quote what was signed."""
    kind = UnavailableError if answer.status in TRANSIENT else RefusedError
    code = answer.headers.get("x-ms-error-code", "")
    return kind(look.doing, status=answer.status, code=code, request_id=answer.request_id)


# while it runs


def look(workspace: Workspace, job: JobSnapshot, following: Following, *, data_plane: str) -> Flow[list[str]]:
    """Read what is new of a job that runs, or has just ended; what cannot be read is said, and raises nothing.

    Args:
        workspace: Where the job is.
        job: The last look at it.
        following: What was told before; it is told what comes of this.
        data_plane: The address of the workspace's data plane, without a slash at its end.

    Returns:
        What to write into the task's log.
    """
    told: list[str] = []
    steps: list[StepRun] = []
    if job.is_pipeline:
        what = f"The steps of job {job.name}"
        try:
            steps = yield from steps_of(
                workspace,
                job.name,
                data_plane,
                most_pipelines=PIPELINES_FOLLOWED,
                known=following.known_pipelines,
            )
        except AzureMLError as error:
            return following.trouble(what, error)
        following.well(what)
        told += following.saw(steps)
    for log in following.logs(job, steps):
        if following.is_spent:
            break
        told += yield from _read_on(workspace, job, following, log=log, data_plane=data_plane)
    return told


def _read_on(
    workspace: Workspace, job: JobSnapshot, following: Following, *, log: FollowedLog, data_plane: str
) -> Flow[list[str]]:
    """Read what is new of one log; an address that is no longer good is read anew, once."""
    what = f"The log of {log.of}"
    told: list[str] = []
    try:
        if log.url:
            try:
                yield from _read_parts(following, log, told)
            except RefusedError as error:
                if error.status not in STALE:
                    raise
                log.url = ""
        if not log.url:
            log.url = yield from log_url(workspace, log.run, data_plane)
            yield from _read_parts(following, log, told)
    except AzureMLError as error:
        log.url = "" if getattr(error, "status", 0) in STALE else log.url
        log.failures += 1
        told += following.trouble(what, error)
    else:
        log.failures = 0
        following.well(what)
    if following.room() <= 0:
        return [*told, *log.close(), *following.spent(job)]
    if log.reader.is_full:
        return [*told, *log.close(f"{log.reader.taken} bytes of it were read")]
    is_settled = log.failures in (0, FAILURES_BORNE) or job.phase.is_final
    return [*told, *log.close()] if log.has_ended and is_settled else told


def _read_parts(following: Following, log: FollowedLog, told: list[str]) -> Flow[None]:
    """Read one part of a log, of one that has ended or whose length is not known yet a few; tell it at once."""
    goes_on = log.has_ended or log.reader.is_resumed
    for _ in range(READS_AT_END):
        wanted = log.reader.next_range(following.room()) if log.url else None
        if wanted is None:
            break
        part = yield from piece(log.url, *wanted, of=log.of)
        told += log.took(part.first, part.body, part.total)
        if not goes_on or not log.reader.has_more:
            break


# when it has failed


def why(workspace: Workspace, job: JobSnapshot, data_plane: str) -> Flow[Story]:
    """Read why a job ended as it did: its own error, and that of each failed step, of pipelines within it too.

    A job's resource holds no error; run history does. An explanation that cannot be had is told as such and never
    hides the job's end.
    """
    own = Request(
        doing=f"Read the error of job {job.name}",
        method="GET",
        url=_run_url(workspace, job.name, data_plane),
        params={"api-version": HISTORY_VERSION},
    )
    try:
        run = (yield own).expect(own, 200)
        steps = yield from steps_of(workspace, job.name, data_plane, most_pipelines=PIPELINES_EXPLAINED)
    except AzureMLError as error:
        return Story(reason=f"its error could not be read ({error})")
    failed = failed_steps(steps)
    words = Failure.from_wire(run).words[:WORDS_TOLD]
    told = [words] if words else []
    told += [f"Step {step.name}: {step.words[:WORDS_TOLD]}" for step in failed[:STEPS_TOLD]]
    if len(failed) > STEPS_TOLD:
        told.append(f"and {len(failed) - STEPS_TOLD} more failed steps")
    if not told and job.phase is Phase.FAILED:
        told.append("Azure ML gives no reason")
    return Story(reason="\n".join(told)[: WORDS_TOLD * 2], failed=failed)


def post_mortem(workspace: Workspace, job: JobSnapshot) -> Flow[tuple[str, list[str]]]:
    """Read why a job failed, and the last lines of what failed; what cannot be read is said, and raises nothing.

    Returns:
        The reason; and of each failed step, or of a job without steps, a sentence with the last lines of its log.
    """
    try:
        data_plane = yield from workspaces.data_plane(workspace)
    except AzureMLError as error:
        return f"its error could not be read ({error})", []
    story = yield from why(workspace, job, data_plane)
    if job.phase is not Phase.FAILED:
        return story.reason, []
    ends = [(step.run, f"step {step.name}", link_of(job.studio_url, job.name, step.run)) for step in story.failed]
    if not ends:
        ends = [(job.name, f"job {job.name}", job.studio_url)]
    told = []
    for run, of, link in ends[:LOGS_TOLD]:
        lines = yield from _last_words(workspace, run, data_plane, of=of)
        told.append(FailedStep(of=of, log=lines, link=link).sentence)
    if len(ends) > LOGS_TOLD:
        told.append(f"{len(ends) - LOGS_TOLD} more steps failed; all of them: {job.studio_url}")
    return story.reason, told


def _last_words(workspace: Workspace, run: str, data_plane: str, *, of: str) -> Flow[str]:
    """Read the last lines of a log, or say why there are none."""
    try:
        url = yield from log_url(workspace, run, data_plane)
        if not url:
            return "(It has no log.)"
        part = yield from piece(url, 0, END_BYTES - 1, of=of)
        if part.total is not None and part.total > len(part.body):
            part = yield from piece(url, part.total - END_BYTES, part.total - 1, of=of)
    except AzureMLError as error:
        return f"(Its log cannot be read: {error})"
    return last_lines(part.body, is_whole=part.first == 0) or "(Its log is empty.)"
