"""Retrying by cause: an Airflow retry policy that reads why an Azure ML job failed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk import RetryAction, RetryDecision, RetryPolicy

from airflow_azureml.core.triage import Action, Cause, Reaction, cause_of, may_live, reactions
from airflow_azureml.errors import AzureMLError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLRetryPolicy"]

#: What may be said of a cause.
Wish = str | timedelta


class AzureMLRetryPolicy(RetryPolicy):
    """Decides by the cause of a failure whether the task is retried, and when.

    A job's error carries its cause since it was raised; where an error has none, it is read from its words. The policy
    can end the retries early and choose the wait, and never goes beyond the task's ``retries``. An error that is
    none of this package, and one whose cause is not known, leaves the decision to the task's ordinary retries. While a
    job may still go on, the task is never failed early: the next try adopts the job.

    Args:
        wishes: By cause (``preempted``, ``quota``, ``throttled``, ``image``, ``user_code``, ``input_missing``,
            ``timeout``, ``canceled``, ``unknown``): ``"retry"`` now, ``"fail"`` now, the ``"ordinary"`` retries of the
            task, or a `timedelta` to wait before the retry. What is not given is as in
            `airflow_azureml.core.triage.REACTION_OF_CAUSE`.

    Raises:
        ConfigError: A cause or a reaction is none.
    """

    def __init__(self, **wishes: Wish) -> None:
        self.wishes: Mapping[str, str | float] = {
            cause: wish.total_seconds() if isinstance(wish, timedelta) else wish for cause, wish in wishes.items()
        }
        self.reactions: Mapping[Cause, Reaction] = reactions(self.wishes)

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002  # Airflow's interface, and Airflow itself counts the tries
        max_tries: int,  # noqa: ARG002  # as above
        context: "Context | None" = None,  # noqa: ARG002  # as above
    ) -> RetryDecision:
        """Decide by the exception's cause."""
        if not isinstance(exception, AzureMLError):
            return RetryDecision.default()
        cause = cause_of(exception)
        reaction = self.reactions[cause]
        reason = f"Azure ML: {cause.value.replace('_', ' ')}; {reaction}"
        if reaction.action is Action.RETRY:
            return RetryDecision.retry(delay=timedelta(seconds=reaction.wait_s), reason=reason)
        if reaction.action is Action.FAIL and not may_live(exception):
            return RetryDecision.fail(reason=reason)
        if reaction.action is Action.FAIL:
            reason = f"Azure ML: {cause.value.replace('_', ' ')}; the job may go on, and the next try adopts it"
        return RetryDecision(action=RetryAction.DEFAULT, reason=reason)

    def serialize(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {"__type": type(self).__name__, "wishes": dict(self.wishes)}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Read what `serialize` wrote."""
        return cls(
            **{
                cause: wish if isinstance(wish, str) else timedelta(seconds=wish)
                for cause, wish in data["wishes"].items()
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AzureMLRetryPolicy) and self.wishes == other.wishes

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.wishes.items(), key=str)))

    def __repr__(self) -> str:
        return f"AzureMLRetryPolicy({', '.join(f'{cause}={wish!r}' for cause, wish in self.wishes.items())})"
