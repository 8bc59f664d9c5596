"""A person's approval before something is done that is hard to undo, asked for in Airflow's own interface."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.approvals import Approval, Question
from airflow_azureml.core.findings import Verdict
from airflow_azureml.errors import ApprovalError, AzureMLError, ConfigError, ProtocolError
from airflow_azureml.operators.batch_work import for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLApprovalOperator"]

#: The field that whoever decides may fill in.
NOTE = "note"
#: What Airflow's operator takes, and this one says itself.
_OWN = frozenset({"body", "defaults", "assigned_users", "response_timeout"})
#: Who an answer is of that nobody gave in time.
NOBODY = "nobody"


class AzureMLApprovalOperator(ApprovalOperator):
    """Asks a person whether to go on, and waits without a worker slot or a trigger, as state ``awaiting_input``.

    The question is shown on the task's page *Required Actions*, with what whoever decides needs to know. A yes goes on.
    A no, and a question that nobody answers before the deadline, skip what is right behind this task, but for
    teardowns, and the task itself ends well: that is an answer, and no failure.

    Airflow lets nobody answer but those whom its auth manager lets act on the DAG's human-in-the-loop details, and
    where ``approvers`` are named, nobody but them. The answer is looked at once more when the task goes on: a yes of
    somebody else fails it, and nothing behind it runs.

    Returns ``approved``, ``by`` (who decided; ``nobody`` where the deadline passed), ``at`` (ISO 8601, UTC) and
    ``note``, also where it is a no.

    Args:
        what: What is to be done, after the words "Approve to", templated: ``promote diabetes to production``.
        sha: The commit of the code, templated.
        diff_url: Where the changes are shown, such as the comparison of two commits, templated.
        verdicts: What was judged, by what it is called, templated: ``{"gate": gate.output, "checks": checks.output}``.
            One that is None, since its task was skipped, is left out.
        result: What the task of the pipeline returned, templated: its metrics and its page in the studio are shown.
        metrics: More figures, templated.
        facts: What else is to be known, by name, templated: ``{"Cost": "12.40 EUR"}``.
        links: Where to look further, by their captions, templated: addresses of the web.
        approvers: Who may answer: their ids as Airflow's auth manager has them, or mappings with ``id`` and ``name``.
            Nobody named means: whoever may act on the DAG.
        deadline: How long to wait for an answer.
        kwargs: Airflow's own, and of its ApprovalOperator: ``notifiers``, which tell people that they are asked, and
            ``ignore_downstream_trigger_rules``, which skips all that follows and not only what is right behind.
    """

    template_fields: Sequence[str] = (
        *("subject", "body", "what", "sha", "diff_url", "verdicts", "result"),
        *("metrics", "facts", "links"),
    )
    template_fields_renderers = {"verdicts": "json", "result": "json", "metrics": "json"}  # noqa: RUF012  # Airflow's own attribute
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        what: str,
        sha: str = "",
        diff_url: str = "",
        verdicts: Mapping[str, Any] | None = None,
        result: Any = None,
        metrics: Mapping[str, float] | None = None,
        facts: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
        approvers: Sequence[str | Mapping[str, str]] = (),
        deadline: timedelta = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        if own := sorted(_OWN & set(kwargs)):
            raise ConfigError(f"{', '.join(own)} of an approval is this operator's own: see approvers, deadline.")
        people = [{"id": each, "name": each} if isinstance(each, str) else dict(each) for each in approvers]
        told = {
            "subject": f"Approve to {what}?",
            "defaults": self.REJECT,
            "params": _form(kwargs.pop("params", None)),
            "assigned_users": people or None,
            "response_timeout": deadline,
        }
        super().__init__(**{**told, **kwargs})
        self.what = what
        self.sha = sha
        self.diff_url = diff_url
        self.verdicts = verdicts
        self.result = result
        self.metrics = metrics
        self.facts = facts
        self.links = links
        self.approvers = people
        self.deadline = deadline

    def execute(self, context: "Context") -> None:
        """Ask; the task goes on in `execute_complete`."""
        try:
            self.body = self._question().markdown  # what Airflow's operator shows
        except AzureMLError as error:
            raise for_airflow(error) from error
        super().execute(context)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Read the answer, and go on or skip."""
        if "error" in event:
            self.process_trigger_event_error(event)
        self.validate_chosen_options(event["chosen_options"])
        try:
            approval = self._decided(event)
        except ApprovalError as error:
            raise AirflowFailException(str(error)) from error
        told = approval.to_wire()
        said = "approved" if approval.approved else "rejected"
        self.log.info("To %s was %s by %s. %s", self.what, said, approval.by, approval.note)
        ti: Any = context["ti"]
        ti.xcom_push(key="return_value", value=told)  # whoever skips tasks ends by an exception, and returns nothing
        super().execute_complete(context, event)
        return told

    def _decided(self, event: Mapping[str, Any]) -> Approval:
        """Read who said what.

        Raises:
            ApprovalError: It is a yes of somebody who may not give it, or of nobody.
        """
        approved, who = self.APPROVE in event["chosen_options"], event.get("responded_by_user") or {}
        by, name = str(who.get("id") or ""), str(who.get("name") or "")
        told = by if name in ("", by) else f"{name} ({by})"
        allowed = [each["id"] for each in self.approvers]
        if approved and (not by or (allowed and by not in allowed)):
            raise ApprovalError(
                f"Approve to {self.what}: {told or NOBODY} has approved, and only {', '.join(allowed) or 'a person'}"
                " may. Nothing was done. Clear this task to ask again, and see to it that Airflow's auth manager heeds"
                " who is asked."
            )
        at: datetime = event["responded_at"]
        note = str((event.get("params_input") or {}).get(NOTE) or "")
        if not by:
            return Approval(approved=False, by=NOBODY, at=at, note=f"Nobody answered within {self.deadline}.")
        return Approval(approved=approved, by=told, at=at, note=note)

    def _question(self) -> Question:
        """Put together what is shown.

        Raises:
            ConfigError: Something of it cannot be read.
        """
        result = self.result or {}
        if not isinstance(result, Mapping) or not isinstance(result.get("metrics", {}), Mapping):
            raise ConfigError(f"result is {self.result!r:.200}; give what the task of the pipeline returned.")
        page = {"Job in the studio": str(result.get("url") or "")}
        return Question(
            sha=self.sha,
            diff_url=self.diff_url,
            verdicts={name: _verdict(name, raw) for name, raw in (self.verdicts or {}).items() if raw},
            metrics=_figures({**result.get("metrics", {}), **(self.metrics or {})}),
            facts={str(name): str(value) for name, value in (self.facts or {}).items()},
            links={**page, **(self.links or {})},
        )


def _form(params: Any) -> ParamsDict:
    """Add the note to the fields; Airflow hands down those of the DAG, which its operator does not show."""
    given = params if isinstance(params, ParamsDict) else ParamsDict(params or {})
    note = Param("", type=["null", "string"], title="Note", description="Why; it is kept.")
    return ParamsDict({**{name: given.get_param(name) for name in given}, NOTE: note})


def _verdict(name: str, raw: Any) -> Verdict:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"The verdict {name!r} is {raw!r:.200}; give what the task that judged returned.")
    try:
        return Verdict.from_wire(raw)
    except ProtocolError as error:
        raise ConfigError(f"The verdict {name!r} cannot be read: {error}") from error


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in metrics.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"A metric is no number: {error}.") from error
