"""Why a job failed, read from what Azure ML says of it, and what to do about it by default.

Azure ML's outer code is ``UserError`` for nearly everything (a preempted node too), so the inner codes and fixed
phrases decide. What is not in the table is `Cause.UNKNOWN`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from attrs import frozen

from airflow_azureml.errors import (
    AzureMLError,
    ConfigError,
    FinalizeTimeoutError,
    JobCanceledError,
    JobError,
    JobLostError,
    QueueTimeoutError,
    RefusedError,
    RunTimeoutError,
    ServiceError,
    UnavailableError,
)

TOO_MANY_REQUESTS = 429
#: Azure Resource Manager refuses a token so that expired on its way; azure-ai-ml does not ask again with a new one.
EXPIRED_TOKEN = "ExpiredAuthenticationToken"  # noqa: S105  # a code, no secret
MINUTE_S = 60.0


class Cause(StrEnum):
    """Why a job failed, as far as it takes to decide whether another try can help."""

    PREEMPTED = "preempted"
    QUOTA = "quota"
    THROTTLED = "throttled"
    IMAGE = "image"
    USER_CODE = "user_code"
    INPUT_MISSING = "input_missing"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What another try is worth."""

    RETRY = "retry"
    FAIL = "fail"
    ORDINARY = "ordinary"


@frozen
class Reaction:
    """What to do about a failure.

    Attributes:
        action: ``retry``, ``fail`` now, or the task's ``ordinary`` retries.
        wait_s: Seconds before the retry; it means nothing for the other two.
    """

    action: Action
    wait_s: float = 0.0

    def __str__(self) -> str:
        if self.action is not Action.RETRY:
            return {Action.FAIL: "fail now", Action.ORDINARY: "the task's ordinary retries"}[self.action]
        return f"retry in {self.wait_s:.0f} s" if self.wait_s else "retry now"


#: What each cause is worth when nobody says otherwise. An image is retried, since a registry's bad minute looks like a
#: wrong recipe, and the job itself has cost nothing yet.
REACTION_OF_CAUSE: Mapping[Cause, Reaction] = {
    Cause.PREEMPTED: Reaction(Action.RETRY),
    Cause.QUOTA: Reaction(Action.RETRY, 15 * MINUTE_S),
    Cause.THROTTLED: Reaction(Action.RETRY, 5 * MINUTE_S),
    Cause.IMAGE: Reaction(Action.RETRY, 5 * MINUTE_S),
    Cause.USER_CODE: Reaction(Action.FAIL),
    Cause.INPUT_MISSING: Reaction(Action.FAIL),
    Cause.TIMEOUT: Reaction(Action.FAIL),
    Cause.CANCELED: Reaction(Action.FAIL),
    Cause.UNKNOWN: Reaction(Action.ORDINARY),
}

#: What it says that a job took too long. Compute or environment not ready in time may be anything.
CAUSE_OF_LOSS: Mapping[type[JobLostError], Cause] = {
    QueueTimeoutError: Cause.QUOTA,
    RunTimeoutError: Cause.TIMEOUT,
    FinalizeTimeoutError: Cause.TIMEOUT,
}

#: Where several steps failed for several causes, the first of these is the job's: what fails now would fail again,
#: whatever became of the others.
PRECEDENCE = (
    Cause.USER_CODE,
    Cause.INPUT_MISSING,
    Cause.TIMEOUT,
    Cause.QUOTA,
    Cause.THROTTLED,
    Cause.IMAGE,
    Cause.PREEMPTED,
    Cause.CANCELED,
    Cause.UNKNOWN,
)


@frozen
class Fact:
    """A code or phrase of Azure ML, what it means, and where it was seen.

    Attributes:
        words: A regular expression; its case counts.
        source: A public thread or page; or who writes it.
    """

    words: str
    cause: Cause
    source: str


_NOTEBOOKS = "https://github.com/Azure/MachineLearningNotebooks/issues"
_LEARN = "https://learn.microsoft.com/azure"
#: In an error's text, the words that stand first decide: Azure ML's own stand before those it quotes of a job's log.
FACTS: Sequence[Fact] = (
    Fact(r"PreemptionError|got pre-?empted|pre-?emption warning", Cause.PREEMPTED, f"{_NOTEBOOKS}/1242"),
    Fact(r"EmulatorStopped", Cause.PREEMPTED, "azureml-emulator: it ended while the job ran"),
    Fact(r"JobNodeCountExceedsCoreQuota", Cause.QUOTA, "https://github.com/MicrosoftLearning/mslearn-dp100/issues/35"),
    Fact(r"ClusterCoreQuotaReached", Cause.QUOTA, f"{_LEARN}/machine-learning/how-to-manage-quotas"),
    Fact(
        r"ClusterMinNodesExceedCoreQuota|vCPU quota of \d+",
        Cause.QUOTA,
        "https://github.com/ansible-collections/azure/pull/2209",
    ),
    Fact(
        r"OutOfQuota|Not enough cluster CPU quota",
        Cause.QUOTA,
        "https://github.com/MicrosoftDocs/azure-docs/issues/121466",
    ),
    Fact(r"exceeding quota limits", Cause.QUOTA, f"{_NOTEBOOKS}/613"),
    Fact(
        r"QuotaExceeded|exceeding approved .{1,60} [Qq]uota",
        Cause.QUOTA,
        f"{_LEARN}/azure-resource-manager/troubleshooting/error-resource-quota",
    ),
    Fact(
        r"(?:Zonal|Overconstrained)?AllocationFailed|OverconstrainedAllocationRequest",
        Cause.QUOTA,
        f"{_LEARN}/virtual-machines/allocation-failure",
    ),
    Fact(r"TooManyRequests|Request got thott?led", Cause.THROTTLED, f"{_NOTEBOOKS}/892"),
    Fact(
        r"SubscriptionRequestsThrottled",
        Cause.THROTTLED,
        f"{_LEARN}/azure-resource-manager/management/request-limits-and-throttling",
    ),
    Fact(r"StreamAccess\.Throttling|ThrottlingException", Cause.THROTTLED, f"{_NOTEBOOKS}/1007"),
    Fact(r"FailedPullingImage|Unable to pull docker image", Cause.IMAGE, f"{_NOTEBOOKS}/1733"),
    Fact(
        r"AcrRefreshTokenRetrievalError",
        Cause.IMAGE,
        "https://github.com/solliancenet/tech-immersion-data-ai/issues/40",
    ),
    Fact(r"Image build failed", Cause.IMAGE, "https://github.com/MG-Cafe/MLOps_Workshop/issues/8"),
    Fact(r"ImageBuildFailure", Cause.IMAGE, "https://github.com/MicrosoftDocs/azure-docs/pull/91296"),
    Fact(r"Job environment preparation failed", Cause.IMAGE, f"{_NOTEBOOKS}/1479"),
    Fact(r"StreamAccess\.NotFound|StreamError\(NotFound\)", Cause.INPUT_MISSING, f"{_NOTEBOOKS}/1029"),
    Fact(r"Found no resources for the input provided", Cause.INPUT_MISSING, f"{_NOTEBOOKS}/1305"),
    Fact(r"DataAccessError", Cause.INPUT_MISSING, "azureml-fsspec 1.3, its table of user errors; azureml-emulator"),
    Fact(
        r"Could not find datastore",
        Cause.INPUT_MISSING,
        "https://github.com/Azure/azureml-examples/issues/2941",
    ),
    Fact(r"JobTimeout|ran into its time limit", Cause.TIMEOUT, "azureml-emulator: the job's limits.timeout"),
    Fact(r"UserTrainingScriptFailed", Cause.USER_CODE, "azureml-emulator, after the service's inner error code"),
    Fact(
        r"User process '[^']*' exited with status code|The process of job \S+ exited with status code",
        Cause.USER_CODE,
        "std_log.txt of command jobs; azureml-emulator",
    ),
    Fact(r"Submitted script failed with a non-zero exit code", Cause.USER_CODE, f"{_NOTEBOOKS}/1360"),
    Fact(r"raised in the job", Cause.USER_CODE, "@task.azureml: what its runner wrote"),
)
_WORDS_OF_FACTS = re.compile("|".join(f"(?P<fact{place}>{fact.words})" for place, fact in enumerate(FACTS)))
_STEP = re.compile(r"^Step [^\n:]{1,255}: ", re.MULTILINE)


@frozen
class Failure:
    """What run history says of one run that failed.

    Attributes:
        codes: From the outer to the innermost.
        message: The service's own words, which may quote the job's log.
    """

    codes: Sequence[str] = ()
    message: str = ""

    @classmethod
    def from_wire(cls, run: Mapping[str, Any]) -> Self:
        """Read a run's ``error``; a run without one is a failure without words."""
        envelope = run.get("error")
        error = envelope.get("error") if isinstance(envelope, Mapping) else None
        if not isinstance(error, Mapping):
            return cls()
        return cls(tuple(_codes(error)), str(error.get("message") or ""))

    @property
    def words(self) -> str:
        """What to tell: the codes before the message, since what stands first decides."""
        return ": ".join(part for part in ("/".join(self.codes), self.message) if part)


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    inner: Any = error
    while isinstance(inner, Mapping):
        if inner.get("code"):
            yield str(inner["code"])
        inner = inner.get("innerError")


def cause_of_words(told: str) -> Cause:
    """Read why a job failed from what was told of it: its own error, and ``Step NAME: …`` for each failed step."""
    found = {_cause_of_one(section) for section in _STEP.split(told)}
    return next(cause for cause in PRECEDENCE if cause in found)


def _cause_of_one(words: str) -> Cause:
    found = _WORDS_OF_FACTS.search(words)
    if found is None or found.lastgroup is None:
        return Cause.UNKNOWN
    return FACTS[int(found.lastgroup.removeprefix("fact"))].cause


def cause_of(error: BaseException) -> Cause:
    """Read why a task failed from the error that it ended with; an error that is none of ours is unknown.

    An error that carries its ``cause`` (as `Cause` spells it) is believed.
    """
    said = getattr(error, "cause", "")
    if isinstance(said, str) and said in list(Cause):
        return Cause(said)
    if isinstance(error, ServiceError):
        return Cause.THROTTLED if error.status == TOO_MANY_REQUESTS else _cause_of_refusal(error.code, str(error))
    if isinstance(error, JobLostError):
        return next((cause for kind, cause in CAUSE_OF_LOSS.items() if isinstance(error, kind)), Cause.UNKNOWN)
    if not isinstance(error, JobError):
        return Cause.UNKNOWN
    read = cause_of_words(str(error))
    return Cause.CANCELED if read is Cause.UNKNOWN and isinstance(error, JobCanceledError) else read


def _cause_of_refusal(code: str, words: str) -> Cause:
    """Only quota and throttling are read from an answer of the API; the others speak of jobs."""
    read = _cause_of_one(code)
    read = _cause_of_one(words) if read is Cause.UNKNOWN else read
    return read if read in (Cause.QUOTA, Cause.THROTTLED) else Cause.UNKNOWN


def may_pass(error: AzureMLError) -> bool:
    """Tell whether a later try may succeed.

    So it is where the error says so, and where an answer was no for want of quota or pace, or to a token that expired.
    """
    if error.retryable:
        return True
    if not isinstance(error, RefusedError):
        return False
    return error.code == EXPIRED_TOKEN or cause_of(error) in (Cause.QUOTA, Cause.THROTTLED)


def may_live(error: BaseException) -> bool:
    """Tell whether a job may go on after this error, so that only another try, which adopts it, answers for it."""
    if isinstance(error, UnavailableError):
        return True
    return isinstance(error, JobLostError) and not isinstance(error, RunTimeoutError | FinalizeTimeoutError)


def reactions(overrides: Mapping[str, object]) -> Mapping[Cause, Reaction]:
    """Lay what somebody wants over the defaults.

    Args:
        overrides: By cause: ``retry``, ``fail``, ``ordinary``, or the seconds to wait before the retry.

    Raises:
        ConfigError: A cause or a reaction is none; the message lists all.
    """
    wrong = [f"{name!r} is no cause" for name in overrides if name not in list(Cause)]
    found = dict(REACTION_OF_CAUSE)
    for name, wish in overrides.items():
        reaction = _reaction(wish)
        if reaction is None:
            wrong.append(f"{name}={wish!r} is none of {', '.join(Action)}, or a time to wait")
        elif name in list(Cause):
            found[Cause(name)] = reaction
    if wrong:
        raise ConfigError(f"Retry policy: {'; '.join(wrong)}. The causes are {', '.join(Cause)}.")
    return found


def _reaction(wish: object) -> Reaction | None:
    if isinstance(wish, str):
        return Reaction(Action(wish)) if wish in list(Action) else None
    if isinstance(wish, int | float) and not isinstance(wish, bool) and 0 <= wish < float("inf"):
        return Reaction(Action.RETRY, float(wish))
    return None
