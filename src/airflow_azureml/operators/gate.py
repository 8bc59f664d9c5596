"""The gate in a DAG: whether a new model may be registered, and why."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, SkipMixin
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import Policy
from airflow_azureml.core.gate_evidence import Evidence
from airflow_azureml.core.gate_results import GONE, Challenger, champion_of, small
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.reports import Report
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.judging import Records, judged, read_policy
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator
from airflow_azureml.wire import models

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.core.models import Champion

__all__ = ["AzureMLGateOperator", "AzureMLReevaluateOperator", "Policy"]

#: What becomes of the run when the answer is no.
ON_REJECT = ("skip", "branch", "fail")
_RETURN_VALUE = "return_value"


class AzureMLGateOperator(BaseOperator, SkipMixin):
    """Decides by a policy whether a new model may be registered, and goes on accordingly.

    Fails closed: what is missing, cannot be read, is no finite number, is of other test data or was not run anew is a
    no, with the reason. A no is a branch and not a failure. Only where nobody can look (storage or Azure ML does not
    answer, the policy is none, the identity may not read) the task fails, and nothing behind it runs.

    The whole verdict is written as ``verdict.json``, with a picture ``verdict.svg``. The task returns what fits into
    4 kB of it, as `airflow_azureml.core.findings.Verdict.from_wire` reads it, with ``verdict_uri``, ``picture_uri``,
    ``evaluation`` (the URIs) and ``left_out`` (how much was left out).

    Args:
        challenger: What the task that made the new model returned, templated: ``challenger=train.output``.
        policy: A `airflow_azureml.core.gate.Policy`, its content as a mapping, or the path of its YAML or JSON file on
            the worker, templated; the file is read when the task runs.
        champion: What `AzureMLChampionOperator` or `AzureMLReevaluateOperator` returned, templated; an empty mapping
            says that there is no champion yet. Left out where the policy compares with none.
        accepted: The tasks or task groups right behind this one that a yes goes on with; by default all but those of
            ``rejected``. The prefix of the task group that this task is in may be left out.
        rejected: Those that a no goes on with; none by default, so that what is right behind this task is skipped.
        on_reject: ``skip`` what is right behind (the default), ``branch`` (the default where ``rejected`` is given), or
            ``fail`` the task. What further tasks do is up to their trigger rules.
        evaluation_output: The job's output that is the folder of the evaluation.
        evidence: The URI of the folder where the verdict is written, ``azureml://datastores/NAME/paths/…``, templated;
            by default the evaluation's own.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("challenger", "policy", "champion", "evidence", "conn_id")
    template_fields_renderers = {"challenger": "json", "champion": "json"}  # noqa: RUF012  # Airflow's own attribute
    inherits_from_skipmixin = True
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        challenger: Any,
        policy: Policy | Mapping[str, Any] | str | PathLike[str],
        champion: Any = None,
        accepted: str | Sequence[str] = (),
        rejected: str | Sequence[str] = (),
        on_reject: str = "",
        evaluation_output: str = "evaluation",
        evidence: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.challenger = challenger
        self.policy = policy
        self.champion = champion
        self.accepted = accepted
        self.rejected = rejected
        self.on_reject = on_reject
        self.evaluation_output = evaluation_output
        self.evidence = evidence
        self.conn_id = conn_id

    def execute(self, context: "Context") -> Any:
        """Judge, write the verdict, and go on as it says."""
        try:
            yes, no = self._ways()
            policy = read_policy(self.policy)
            verdict, told = self._judge(policy)
        except AzureMLError as error:
            raise for_airflow(error) from error
        self._tell(verdict)
        ti: Any = context["ti"]
        # Whoever skips tasks ends by an exception, and so returns nothing.
        ti.xcom_push(key=_RETURN_VALUE, value=told)
        if not verdict.accepted and self.on_reject == "fail":
            raise AirflowFailException(verdict.sentence)
        self.skip_all_except(ti, yes if verdict.accepted else no)
        return told

    def _judge(self, policy: Policy) -> tuple[Verdict, dict[str, Any]]:
        """Judge, keep the verdict, and return it with what goes into XCom."""
        champion, gone = self._champion(policy)
        settings = AzureMLHook(self.conn_id).settings
        with AzureMLHook.open(settings) as client:
            records = Records(client=client, settings=settings, output=self.evaluation_output)
            challenger = records.challenger(self.challenger)
            verdict = judged(records, policy, challenger, champion, gone=gone, now=datetime.now(UTC))
            folder = self.evidence or challenger.evaluation
            uris = records.keep(verdict, folder) if folder else {}
        return verdict, small(verdict, uris={**uris, "evaluation": challenger.evaluation})

    def _champion(self, policy: Policy) -> tuple["Champion | None", str]:
        """Read who the champion is, and why nothing can be compared with it, where that is so.

        Raises:
            ConfigError: Nobody says, and the policy compares.
        """
        if self.champion is None and not policy.needs.champion:
            return None, ""
        gone = self.champion.get(GONE) if isinstance(self.champion, Mapping) else ""
        return champion_of(self.champion), str(gone or "")

    def _tell(self, verdict: Verdict) -> None:
        from airflow_azureml.core.explain import explain  # noqa: PLC0415  # not when a DAG is parsed

        for line in explain(verdict).splitlines():
            self.log.info("%s", line)
        tell = self.log.info if verdict.accepted else self.log.warning
        tell("%s", verdict.sentence)

    def _ways(self) -> tuple[list[str], list[str]]:
        """Name the tasks that a yes and a no go on with.

        Raises:
            ConfigError: The options contradict each other, or name a task that is not right behind this one.
        """
        behind = set(self.downstream_task_ids)
        yes, no = (list(self._named(told, behind)) for told in (self.accepted, self.rejected))
        if self.on_reject not in ("", *ON_REJECT):
            raise ConfigError(f"on_reject is {self.on_reject!r}; it must be one of {', '.join(ON_REJECT)}.")
        if no and self.on_reject in ("skip", "fail"):
            raise ConfigError(f"on_reject is {self.on_reject!r}, and rejected names {', '.join(no)}: leave one out.")
        if self.on_reject == "branch" and not no:
            raise ConfigError("on_reject is 'branch', and rejected names no task to go on with.")
        return yes or sorted(behind - set(no)), no

    def _named(self, told: str | Sequence[str], behind: set[str]) -> Iterator[str]:
        """Name the tasks that are meant by names of tasks and of task groups."""
        prefixes, group = [""], self.task_group
        while group is not None and group.group_id:
            prefixes.insert(0, f"{group.group_id}.")
            group = group.parent_group
        for name in [told] if isinstance(told, str) and told else told:
            named = (_tasks(self.dag, prefix + name) for prefix in prefixes)
            # A group further out may have a task of that name, too.
            found = next((tasks for tasks in named if behind.intersection(tasks)), [])
            if not found:
                there = ", ".join(sorted(behind)) or "none"
                raise ConfigError(f"{name!r} is no task or task group right behind {self.task_id}; there are: {there}.")
            yield from found


def _tasks(dag: Any, name: str) -> list[str]:
    """Name the task, or the first tasks of the task group; none where there is neither."""
    if name in dag.task_group_dict:
        return [str(root.task_id) for root in dag.task_group_dict[name].get_roots()]
    return [name] if name in dag.task_dict else []


class AzureMLReevaluateOperator(AzureMLPipelineOperator):
    """Evaluates the champion on the challenger's test data, where it was evaluated on other data.

    Runs the evaluation pipeline only then. Where there is no champion yet, where both were evaluated on the same data,
    or where the challenger's evaluation cannot be used, so that the gate says no anyway, the champion passes through.
    Returns what `AzureMLGateOperator` takes as ``champion``.

    Args:
        pipeline: The pipeline that evaluates a model that is there; see `AzureMLPipelineOperator`.
        challenger: What the task that made the new model returned, templated: ``challenger=train.output``.
        champion: What `AzureMLChampionOperator` returned, templated.
        challenger_outputs: The pipeline's inputs that are outputs of the challenger's job, such as the test data, by
            their names there.
        model_input: The pipeline's input that takes the champion's files.
        evaluation_output: The output that is the folder of the evaluation, of both pipelines.
        kwargs: What `AzureMLPipelineOperator` takes, ``inputs`` for the rest of the inputs among it.
    """

    template_fields: Sequence[str] = (*AzureMLPipelineOperator.template_fields, "challenger", "champion")
    template_fields_renderers = {  # noqa: RUF012  # Airflow's own attribute
        **AzureMLPipelineOperator.template_fields_renderers,
        "challenger": "json",
        "champion": "json",
    }

    def __init__(
        self,
        *,
        challenger: Any,
        champion: Any,
        challenger_outputs: Mapping[str, str] | None = None,
        model_input: str = "model",
        evaluation_output: str = "evaluation",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.challenger = challenger
        self.champion = champion
        self.challenger_outputs = challenger_outputs
        self.model_input = model_input
        self.evaluation_output = evaluation_output

    def execute(self, context: "Context") -> Any:
        """Run the pipeline, unless the champion can be compared as it is, or there is none."""
        try:
            champion = champion_of(self.champion)
            told = self._as_it_is(champion) if champion else {}
        except AzureMLError as error:
            raise for_airflow(error) from error
        return super().execute(context) if told is None else told

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Return the champion with its new evaluation."""
        outputs = super().result(context, job, report)["outputs"]
        told = {**self.champion, "evaluation": outputs.get(self.evaluation_output, ""), "data_version": ""}
        told["reevaluated"] = job.name
        if report.stale and self.on_reuse != "allow":
            told[GONE] = f"Job {job.name} did not evaluate it anew: Azure ML took the results of {report.makers}."
        elif not told["evaluation"]:
            told[GONE] = f"Job {job.name}, which evaluated it anew, has no output {self.evaluation_output!r}."
        return told

    def _as_it_is(self, champion: "Champion") -> dict[str, Any] | None:
        """Return the champion as the gate is to take it; None where it has to be evaluated first."""
        settings = AzureMLHook(self.conn_id).settings
        with AzureMLHook.open(settings) as client:
            records = Records(client=client, settings=settings, output=self.evaluation_output)
            version = client.run(models.get(settings.workspace, champion.model, champion.version))
            if version is None or version.is_archived:
                became = "deleted" if version is None else "archived"
                words = f"Version {champion.version} of model {champion.model}, the champion, was {became} meanwhile."
                self.log.warning("%s", words)
                return {**champion.to_wire(), GONE: words}
            ours = records.of_challenger(records.challenger(self.challenger))
            theirs = records.of_champion(champion)
        if ours.faults or not ours.data_version:
            self.log.warning("The challenger cannot be compared, so the champion is not evaluated: %s", ours.faults)
            return champion.to_wire()
        apart = Evidence(challenger=ours, champion=theirs).apart
        if not apart:
            self.log.info("Both were tested on data %s; nothing is run", ours.data_version)
            return champion.to_wire()
        self.log.info("The champion is evaluated anew. %s", apart)
        return None

    def _passed(self) -> Passed:
        """Add the champion's files and the challenger's outputs to the inputs."""
        champion = champion_of(self.champion)
        outputs = Challenger.from_wire(self.challenger, output=self.evaluation_output).outputs
        taken = self.challenger_outputs or {}
        missing = sorted(name for name in taken.values() if not outputs.get(name))
        if champion is None or missing:
            raise ConfigError(
                f"challenger_outputs names {', '.join(missing) or 'outputs'}; the challenger's job told of"
                f" {', '.join(sorted(outputs)) or 'none'}."
            )
        inputs = {**(self.inputs or {}), **{name: outputs[output] for name, output in taken.items()}}
        return Passed.parse({**inputs, self.model_input: champion.uri}, self.formats or {})
