"""What the tasks of promotions have in common, whatever is promoted."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import Asset, BaseOperator, TaskGroup
from attrs import define, evolve, field

from airflow_azureml.core.environments import Environment, RequiredEvidence
from airflow_azureml.core.pipelines import BatchEndpoint
from airflow_azureml.core.subsets import Subset
from airflow_azureml.operators.approval import AzureMLApprovalOperator
from airflow_azureml.operators.evidence import AzureMLRecordEvidenceOperator, AzureMLRequireEvidenceOperator
from airflow_azureml.operators.gate import AzureMLGateOperator
from airflow_azureml.operators.integration import AzureMLIntegrationChecksOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator
from airflow_azureml.operators.promotion import (
    AzureMLEnterEnvironmentOperator,
    AzureMLModelDigestOperator,
    AzureMLPromotionOutcomeOperator,
    AzureMLPromotionPlanOperator,
)
from airflow_azureml.operators.publish import AzureMLPublishPipelineOperator
from airflow_azureml.operators.subset import AzureMLSubsetOperator
from airflow_azureml.task_groups.promotion_training import Training
from airflow_azureml.task_groups.retraining import TASK_OPTIONS, train_evaluate_register

#: Where the evidence of promotions is kept, unless told otherwise: below it, each model has a folder for each way.
EVIDENCE = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/promotions/"
#: What runs when something before it has run, and nothing has failed: others were skipped.
JOINS = "none_failed_min_one_success"


def from_xcom(task: BaseOperator, name: str) -> str:
    """Write a template that reads a member of what a task returned; nothing where the task was skipped."""
    return f"{{{{ (ti.xcom_pull(task_ids={task.task_id!r}) or {{}}).get({name!r}, '') }}}}"


def is_champion(registered: Any) -> bool:
    """Tell from what registering returned whether the model became the champion."""
    return isinstance(registered, Mapping) and registered.get("stage") == "champion"


@define(kw_only=True)
class Parts:
    """Makes the tasks of one promotion.

    Attributes:
        environments: In order.
        joints: What the next environment comes after: the last task of the one before, and that it was passed before.
        ends: What the outcome comes after.
        verdicts: By environment, the task whose verdict counts there.
        approvals: By environment, the task that asks a person.
        entered: By environment, the task that looks what is to be done.
        published: By environment, the task that publishes.
        final: The task whose success says that it is in production.
        shared: The model that goes to production, where it is one of a registry; a template.
        kind: What goes on, ``code``, ``model`` or ``hybrid``; evidence of one proves nothing for another.
    """

    environments: Sequence[Environment]
    training: Training
    sha: str
    kind: str = "code"
    folder: str = ""
    checks: Mapping[str, Any] | None = None
    approval: Mapping[str, Any] | None = None
    most_age: timedelta | None = None
    compare_url: str = ""
    evidence_conn_id: str = ""
    task_options: Mapping[str, Any] = field(factory=dict)
    publish_options: Mapping[str, Any] = field(factory=dict)
    joints: list[Any] = field(factory=list)
    ends: list[Any] = field(factory=list)
    verdicts: dict[str, str] = field(factory=dict)
    approvals: dict[str, str] = field(factory=dict)
    entered: dict[str, str] = field(factory=dict)
    published: dict[str, str] = field(factory=dict)
    final: str = ""
    shared: str = ""
    _plan: BaseOperator | None = None

    def begun(self) -> Self:
        """Make the task that finds the commit and plans."""
        self._plan = AzureMLPromotionPlanOperator(
            task_id="plan",
            environments=self.environments,
            sha=self.sha,
            folder=self.folder,
            approved=self.approval is not None,
            most_age=self.most_age,
            model=self.training.model,
            compare_url=self.compare_url,
            evidence=self.evidence,
            evidence_conn_id=self.evidence_conn_id,
            **self.options,
        )
        self.joints = [self._plan]
        return self

    def end(self) -> None:
        """Make the task that tells what came of it."""
        outcome = AzureMLPromotionOutcomeOperator(
            task_id="outcome",
            what=f"Model {self.training.model}",
            sha=self.commit,
            verdicts=self.verdicts,
            approvals=self.approvals,
            entered=self.entered,
            final=self.final,
            model=self.shared,
            trigger_rule="none_failed",
            **self.options,
        )
        self.ends >> outcome

    def begin_in(self, here: Environment, group: TaskGroup, *, first: str) -> tuple[Any, BaseOperator]:
        """Look whether anything is to be done; where there is one before, see that it was passed there.

        Returns:
            What the environment's own tasks come after, and what says that it was passed before.
        """
        enter = AzureMLEnterEnvironmentOperator(
            task_id="enter",
            environment=here,
            plan=self.planned.task_id,
            todo=f"{group.group_id}.{first}",
            passed=f"{group.group_id}.passed",
            trigger_rule=JOINS,
            **self.options,
        )
        self.joints >> enter
        passed = EmptyOperator(task_id="passed")
        enter >> passed
        self.entered[here.name] = enter.task_id
        if first != "require":
            return enter, passed
        require = self.require(self.environments[self._place(here) - 1], "require")
        enter >> require
        return require, passed

    def require(self, before: Environment, task_id: str) -> BaseOperator:
        """See that the commit has passed in an environment."""
        return AzureMLRequireEvidenceOperator(
            task_id=task_id,
            environment=before.name,
            sha=self.commit,
            approved=self.asks_in(before),
            most_age=self.most_age,
            conn_id=before.conn_id,
            **self.signing,
        )

    def publish_to(self, here: Environment) -> BaseOperator:
        """Publish the commit to an environment; to any but the first, only if it has passed the one before."""
        place = self._place(here)
        if place and here.requires is None:
            before = self.environments[place - 1]
            required = RequiredEvidence(
                before.name,
                conn_id=before.conn_id,
                approved=self.asks_in(before),
                most_age=self.most_age,
                folder=self.evidence,
                evidence_conn_id=self.evidence_conn_id,
            )
            here = evolve(here, requires=required)
        publish = AzureMLPublishPipelineOperator(
            task_id="publish",
            folder=self.folder,
            environment=here,
            sha=self.commit,
            **{**self.options, **self.publish_options},
        )
        self.published[here.name] = publish.task_id
        return publish

    def pipeline_in(self, here: Environment, name: str) -> BatchEndpoint:
        """Name a pipeline as this run has published it: another run may have made another commit the default since."""
        publish = self.published.get(here.name)
        told = f"((ti.xcom_pull(task_ids={publish!r}) or {{}}).get('deployments') or {{}}).get({name!r}, '')"
        return BatchEndpoint(here.endpoint(name), deployment=f"{{{{ {told} }}}}" if publish else "")

    def take_subset(self, here: Environment, subset: Subset | None, *, to: str, options: Mapping[str, Any]) -> Any:
        """Make the subset that an environment trains on; None where it trains on its own data."""
        whole = self.training.data_in(self.environments[-1])
        if subset is None or whole is None:
            return None
        return AzureMLSubsetOperator(
            task_id="subset",
            source=whole.uri,
            to=to,
            subset=subset,
            since=whole.since,
            until=whole.until,
            source_conn_id=self.environments[-1].conn_id,
            conn_id=here.conn_id,
            **{**self.options, **options},
        )

    def train_in(self, here: Environment, chosen: BaseOperator | None) -> BaseOperator:
        """Train in an environment before the last."""
        data = self.training.data_in(self.environments[-1] if chosen is not None else here)
        inputs = dict(data.inputs) if data is not None else {}
        if chosen is not None:
            name = next(iter(inputs))
            inputs[name] = {**inputs[name], "uri": from_xcom(chosen, "uri")}
        return AzureMLPipelineOperator(
            task_id="train",
            pipeline=self.pipeline_in(here, self.training.pipeline),
            inputs={**self.training.inputs, **inputs},
            outputs=self.training.output_names.below(self.training.outputs),
            conn_id=here.conn_id,
            **self.options,
        )

    def check(self, here: Environment, train: BaseOperator) -> BaseOperator:
        """Check a training as a whole."""
        names = self.training.output_names
        outputs = tuple(filter(None, (names.model, names.evaluation)))
        return AzureMLIntegrationChecksOperator(
            task_id="checks",
            result=train.output,
            conn_id=here.conn_id,
            **{"outputs": outputs, **self.options, **(self.checks or {})},
        )

    def judge(self, here: Environment, train: BaseOperator) -> BaseOperator:
        """Let the gate judge a training with which nobody competes."""
        policy = self.training.rehearsal_policy
        gate = AzureMLGateOperator(
            task_id="gate",
            policy=self.training.policy if policy is None else policy,
            challenger=train.output,
            champion={},
            evaluation_output=self.training.output_names.evaluation,
            conn_id=here.conn_id,
            **self.options,
        )
        self.verdicts[here.name] = gate.task_id
        return gate

    def retrain_in(self, here: Environment, *, asset: Asset | None, registry: str = "") -> TaskGroup:
        """Train on all data, and register what is better."""
        training = self.training
        evaluation = training.evaluation_pipeline
        return train_evaluate_register(
            "model",
            pipeline=self.pipeline_in(here, training.pipeline),
            evaluation_pipeline=self.pipeline_in(here, evaluation) if evaluation else None,
            model=training.model,
            policy=training.policy,
            outputs=training.outputs,
            data=training.data_in(here),
            inputs=training.inputs,
            output_names=training.output_names,
            asset=asset,
            registry=registry,
            conn_id=here.conn_id,
            task_options=self.task_options,
            register_options={"git_sha": self.commit},
        )

    def only_champion(self, register: Any) -> BaseOperator:
        """Go no further with a model that did not become the champion, since another one was crowned meanwhile."""
        return ShortCircuitOperator(
            task_id="crowned",
            python_callable=is_champion,
            op_args=[register.output],
            ignore_downstream_trigger_rules=False,
            **self.options,
        )

    def verify_in(self, here: Environment, registry: str, require: BaseOperator) -> tuple[BaseOperator, str]:
        """See that the model in the registry is the one that the evidence tells of; its id is returned, too."""
        trained = require
        if self._place(here) > 1:
            # Only where it was trained does evidence name the version.
            trained = self.require(self.environments[0], "trained")
            require >> trained
        name = f"(ti.xcom_pull(task_ids={trained.task_id!r}) or {{}}).get('model', '')"
        version = f"{{{{ {name}.rpartition(':')[2] }}}}"
        shared = f"azureml://registries/{registry}/models/{self.training.model}/versions/{version}"
        verify = AzureMLModelDigestOperator(
            task_id="verify",
            model=shared,
            expected=from_xcom(require, "model_sha256"),
            conn_id=here.conn_id,
            **self.options,
        )
        trained >> verify
        return verify, shared

    def put_test(
        self, here: Environment, test: Callable[[Environment, Any], Any] | None, shared: str, *, between: Any
    ) -> None:
        """Put the test of a model between two tasks, where there is one."""
        before, after = between
        if test is None:
            before >> after
        else:
            before >> test(here, shared) >> after

    def carried(self, require: BaseOperator) -> dict[str, Any]:
        """Say of a model that was tested before what evidence keeps of it."""
        return {"model_sha256": from_xcom(require, "model_sha256"), "previous": require.output}

    def ask(
        self, here: Environment, evidence: BaseOperator, facts: Mapping[str, Any], shown: Mapping[str, str]
    ) -> BaseOperator:
        """Ask a person, where that is wanted before the next environment, and record the answer."""
        if not self.asks_in(here):
            return evidence
        verdicts = {"gate": facts.get("verdict"), "integration checks": facts["checks"]}
        approve = AzureMLApprovalOperator(
            task_id="approve",
            what=f"promote {self.training.model} to {self.environments[-1].name}",
            sha=self.commit,
            diff_url=from_xcom(self.planned, "diff_url"),
            verdicts={name: verdict for name, verdict in verdicts.items() if verdict is not None},
            result=facts.get("result"),
            **{**self.options, **(self.approval or {}), "facts": {**shown, **(self.approval or {}).get("facts", {})}},
        )
        approved = self.record(here, "approved", **facts, approval=approve.output)
        evidence >> approve >> approved
        self.approvals[here.name] = approve.task_id
        return approved

    def record(self, here: Environment, task_id: str, **facts: Any) -> BaseOperator:
        """Record what came of an environment."""
        return AzureMLRecordEvidenceOperator(
            task_id=task_id, environment=here.name, sha=self.commit, conn_id=here.conn_id, **self.signing, **facts
        )

    def asks_in(self, here: Environment) -> bool:
        """Tell whether a person is asked after an environment."""
        return self.approval is not None and here is self.environments[-2]

    def paths(self, here: Environment) -> list[str]:
        """Name the data that an environment trains on."""
        data = self.training.data_in(here)
        return [data.uri] if data is not None else []

    def trained_on(self, here: Environment, model: TaskGroup) -> Any:
        """Say what a retraining trained on: what its data tests tell of each partition, or where the data is."""
        tested: Any = model.children.get(f"{model.group_id}.test_data")
        return self.paths(here) if tested is None else tested.output

    @property
    def commit(self) -> str:
        """The commit, all its digits, as a template."""
        return from_xcom(self.planned, "sha")

    @property
    def planned(self) -> BaseOperator:
        """The task that plans."""
        if self._plan is None:
            raise AssertionError("a way is begun first")
        return self._plan

    def _place(self, here: Environment) -> int:
        return list(self.environments).index(here)

    @property
    def options(self) -> dict[str, Any]:
        """Airflow's own options for every task."""
        return {**TASK_OPTIONS, **self.task_options}

    @property
    def signing(self) -> dict[str, Any]:
        """What a task that works with evidence is told besides."""
        return {**self.options, "folder": self.evidence, "evidence_conn_id": self.evidence_conn_id}

    @property
    def evidence(self) -> str:
        """The folder of the evidence: a commit may have passed for one model, and not for another."""
        return f"{EVIDENCE}{self.training.model}/{self.kind}/"
