"""Every error of this package, split by who can help.

::

    AzureMLError
    ├── ConfigError            the connection or the DAG is wrong; a retry cannot help
    ├── NotReadyError          what a job needs is not there yet, or in use; nothing was submitted     retryable
    ├── ServiceError           Azure answered, or should have
    │   ├── RefusedError       asking again gives the same answer
    │   └── UnavailableError   asking again later may work            retryable
    ├── JobError               the job itself ended badly; the task's `retries` decides      retryable
    │   ├── JobCanceledError   somebody cancelled it
    │   ├── StaleResultError   it completed, and did not run what it should have         not retryable
    │   └── JobLostError       it gave no certain sign of life for too long, or lasted too long
    │       ├── QueueTimeoutError      it waited too long for compute
    │       ├── PrepareTimeoutError    its compute or environment took too long
    │       ├── RunTimeoutError        it ran too long
    │       ├── FinalizeTimeoutError   it took too long to put its outputs away
    │       ├── CancelTimeoutError     it was told to stop, and did not
    │       └── SilenceError           nothing certain was heard of it for too long
    ├── ServingError           an endpoint or deployment is not as wanted; what served before serves on
    │   ├── EndpointFailedError     Azure calls the endpoint failed                          not retryable
    │   ├── DeploymentFailedError   Azure could not bring the deployment up                  not retryable
    │   ├── DeploymentTimeoutError  it did not become ready in time                          retryable
    │   ├── NoCapacityError         the quota is used up, or Azure has no such machine left  retryable
    │   ├── SmokeTestError          it answers otherwise than it should                      not retryable
    │   └── OutputsDifferError      two deployments say too different things of the same     not retryable
    ├── FencedError            the ledger's batch has gone on without us: what we did for it does not count
    ├── OvertakenError         another publication has begun since: it decides what becomes the default
    ├── EvidenceError          evidence does not prove what is asked of it; nothing was changed
    │   ├── EvidenceMissingError    there is none
    │   ├── EvidenceAlteredError    it was written to since it was signed
    │   ├── EvidenceKeyError        it is signed with a key that nobody here trusts
    │   ├── EvidenceMismatchError   it is about another commit, environment, workspace or model
    │   ├── EvidenceFailedError     what it tells of did not pass, or nobody has approved it
    │   └── EvidenceExpiredError    it is too old
    ├── ApprovalError          somebody has answered who may not
    ├── RolloutError           a rollout did not end with the new deployment
    │   ├── RolledBackError        it was not good enough; what served before serves again
    │   ├── RolledBackBeforeError  it was rolled back before, and is not tried again by itself
    │   ├── RollbackFailedError    traffic could not be given back, or a deployment not removed              retryable
    │   ├── RolloutBusyError       another rollout of the endpoint is under way; nothing was changed         retryable
    │   └── TrafficChangedError    somebody else has changed the traffic, which stays so
    └── ProtocolError          an answer we cannot read: a bug here, or Azure changed

A message says what we were doing, what came back in the service's own words, and the id its support will ask for.
"""


class AzureMLError(Exception):
    """Base of every error raised by this package."""

    #: Whether doing the same again later may succeed.
    retryable: bool = False


class ConfigError(AzureMLError):
    """The connection or the DAG is wrong; mend it, a retry cannot help."""


class NotReadyError(AzureMLError):
    """What a job needs is not there at the moment, and may come: nothing was submitted, and a retry looks again.

    Args:
        message: What is missing.
        cause: Why, in a word of `airflow_azureml.core.triage.Cause`; empty where there is none.
    """

    retryable = True

    def __init__(self, message: str, *, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class ServiceError(AzureMLError):
    """Azure answered with an error, or did not answer.

    Args:
        doing: What we were doing, as the start of a sentence: ``Look at job x``.
        status: HTTP status; 0 when there was no answer.
        code: The service's error code; empty when it gave none.
        message: The service's own words, or those of the network.
        request_id: The id Azure's support asks for; empty when there was no answer.
    """

    def __init__(self, doing: str, *, status: int = 0, code: str = "", message: str = "", request_id: str = "") -> None:
        answer = " ".join(part for part in (str(status) if status else "no answer", code) if part)
        words = f". {message.strip()}" if message.strip() else ""
        ident = f" [request {request_id}]" if request_id else ""
        super().__init__(f"{doing}: {answer}{words}{ident}")
        self.doing = doing
        self.status = status
        self.code = code
        self.request_id = request_id


class RefusedError(ServiceError):
    """Asking again gives the same answer: mend the request, the permission or the name first."""


class UnavailableError(ServiceError):
    """The service did not take it (429, 5xx, no answer, no token); asking again later may work."""

    retryable = True


class JobError(AzureMLError):
    """The job ended, and not as ``Completed``; the message carries what Azure ML says of it.

    Args:
        message: What happened.
        cause: Why, in a word of `airflow_azureml.core.triage.Cause`; empty where nobody looked.
    """

    retryable = True

    def __init__(self, message: str = "", *, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class JobCanceledError(JobError):
    """Somebody cancelled the job; that is never a success."""


class StaleResultError(JobError):
    """The job completed with steps that were not run, since Azure ML had an old result; the task refuses that."""

    retryable = False


class JobLostError(JobError):
    """The job gave no certain sign of life for longer than allowed, or ran longer than allowed."""


class QueueTimeoutError(JobLostError):
    """The job waited for compute longer than ``queue_s``: look at the compute's nodes and the workspace's quota."""


class PrepareTimeoutError(JobLostError):
    """Compute or environment were not ready within ``prepare_s``: look at the image build's log in the studio."""


class RunTimeoutError(JobLostError):
    """The job ran longer than ``run_s``."""


class FinalizeTimeoutError(JobLostError):
    """The job took longer than ``finalize_s`` to finalize: its outputs may be there, look before running it again."""


class CancelTimeoutError(JobLostError):
    """Azure ML did not carry out a cancel within ``cancel_s``: the job may go on and bill; cancel it in the studio."""


class SilenceError(JobLostError):
    """Nothing certain was heard of the job for ``patience_s``; it may go on."""


class ServingError(AzureMLError):
    """An endpoint or a deployment is not as wanted. Traffic is where it was: what served before serves on."""


class EndpointFailedError(ServingError):
    """Azure calls the endpoint failed: read why, mend it in the studio or delete it, and run the task again."""


class DeploymentFailedError(ServingError):
    """Azure could not bring the deployment up: read its log, mend code, environment or model, and deploy again."""


class DeploymentTimeoutError(ServingError):
    """The change did not come to its end in time; Azure may still be at it, and another try waits on."""

    retryable = True


class NoCapacityError(ServingError):
    """The subscription's quota is used up, or Azure has no such machine left: ask for more, or take another size."""

    retryable = True


class SmokeTestError(ServingError):
    """A deployment answers otherwise than its smoke tests want: mend model, code or tests, and deploy again."""


class OutputsDifferError(ServingError):
    """Two deployments say too different things of the same input: the old one stays; look at what differs."""


class FencedError(AzureMLError):
    """The ledger's batch has gone on without us: somebody else settled it, and what we did for it does not count."""


class OvertakenError(AzureMLError):
    """Another publication of the same folder has begun since: it decides; publish again if yours is what is wanted."""


class EvidenceError(AzureMLError):
    """Evidence of what ran does not prove what is asked of it; nothing was changed."""


class EvidenceMissingError(EvidenceError):
    """There is no evidence of that commit in that environment: run it there first."""


class EvidenceAlteredError(EvidenceError):
    """The evidence was written to since it was signed, or is none: see who may write there, and run it anew."""


class EvidenceKeyError(EvidenceError):
    """The evidence is signed with a key that is not trusted here: add the public key, if it is somebody's you trust."""


class EvidenceMismatchError(EvidenceError):
    """The evidence is about another commit, environment, workspace or model than the one that is to go on."""


class EvidenceFailedError(EvidenceError):
    """What the evidence tells of did not pass, or nobody has approved it."""


class EvidenceExpiredError(EvidenceError):
    """The evidence is older than allowed, or of the future: run the environment anew."""


class ApprovalError(AzureMLError):
    """Somebody has answered who may not: ask again, and see who may act on the DAG."""


class RolloutError(AzureMLError):
    """A rollout did not end with the new deployment; the message says what takes the traffic now."""


class RolledBackError(RolloutError):
    """The new deployment was not good enough, or somebody stopped the rollout: what served before serves again."""


class RolledBackBeforeError(RolloutError):
    """It was rolled back on this endpoint before, and nobody said that it may be tried again; nothing was changed."""


class RollbackFailedError(RolloutError):
    """Traffic could not be given back, or a replaced deployment not be removed: mend what Azure complains of."""

    retryable = True


class RolloutBusyError(RolloutError):
    """Another rollout of the endpoint is under way; nothing was changed: wait for its end."""

    retryable = True


class TrafficChangedError(RolloutError):
    """Somebody else has changed the traffic in the middle of a rollout; it stays as they left it."""


class ProtocolError(AzureMLError):
    """An answer or a message we cannot read: a bug here, or a changed API."""
