"""A release: a registered model is tested apart, deployed beside what serves, tested there, and rolled out."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, TaskGroup
from attrs import field, frozen

from airflow_azureml.core.profiling import Profiling
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.online import (
    AzureMLDeleteDeploymentOperator,
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineEndpointOperator,
)
from airflow_azureml.operators.profile import AzureMLProfileOperator, AzureMLSetDeploymentOperator
from airflow_azureml.operators.release import AzureMLPlanReleaseOperator
from airflow_azureml.operators.smoke import AzureMLSmokeTestOperator
from airflow_azureml.task_groups.rollout import rollout

__all__ = ["Profiling", "Stage", "release"]

#: What every task of a group is told, unless it is told otherwise.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}


@frozen(kw_only=True)
class Stage:
    """Where a model is deployed.

    Attributes:
        endpoint: The online endpoint, templated; it is created where it is missing.
        conn_id: The Airflow connection of its workspace, templated.
        instance_type: The machines, templated; empty for those of the deployment's file.
        instances: How many; None for as many as the file says.
        compute: An attached Kubernetes cluster, by its name or id, templated; empty for an endpoint that Azure manages.
        auth_mode: How callers prove themselves: ``Key``, ``AMLToken`` or ``AADToken``.
        spec: The deployment's file here, where it is not the release's.
        plain_http: See `airflow_azureml.operators.smoke.AzureMLSmokeTestOperator`.
        endpoint_options: More options of `airflow_azureml.operators.online.AzureMLOnlineEndpointOperator`.
    """

    endpoint: str
    conn_id: str = AzureMLHook.default_conn_name
    instance_type: str = ""
    instances: int | None = None
    compute: str = ""
    auth_mode: str = "Key"
    spec: Any = None
    plain_http: bool = False
    endpoint_options: Mapping[str, Any] = field(factory=dict)


def release(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    model: Any,
    spec: Any,
    tests: Any,
    production: Stage,
    qa: Stage | None = None,
    policy: Policy | None = None,
    deployment: str = "",
    profiling: Profiling | None = None,
    approval_at: Sequence[object] = (),
    evidence: str = "",
    again: bool | str = False,
    task_options: Mapping[str, Any] | None = None,
    rollout_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Release a version of a model: QA, smoke tests, production beside what serves, and traffic step by step.

    ``plan`` says what is to be released, and skips all of it where it serves already, or was rolled back before.
    ``qa_endpoint`` and ``deploy_qa`` deploy it apart, ``test_qa`` asks it what ``tests`` say, ``profile`` finds the
    cheapest setting under a load, and ``remove_qa`` takes it away again, whatever happened. ``endpoint`` and ``deploy``
    put it beside what serves, without traffic; ``test`` asks it the same; the group ``rollout`` moves the traffic, and
    gives it back by itself where a limit is violated. Until then production serves as before. Each task leaves what is
    true already as it is.

    Args:
        group_id: The group's id.
        model: ``NAME:VERSION``, an id, or what the task that registered it or looked for the champion returned,
            templated. The model has to be in the workspaces of both stages, or in a registry.
        spec: The deployment's file on the worker, as azure-ai-ml reads it, or what stands in one; None for an MLflow
            model, which needs the ``instance_type`` of both stages.
        tests: The file of smoke tests on the worker; see ``docs/how-to/release.md``.
        production: Where it is to serve.
        qa: Where it is tested before; None to test it only in production, without traffic.
        policy: How traffic is moved; see `airflow_azureml.core.rollout.Policy`.
        deployment: The deployment's name, templated; by default made of the model's name and version.
        profiling: What is measured in QA, and for what; then production is set as that says. None measures nothing.
            QA must have production's machines for it.
        approval_at: Steps of the policy that a person has to approve.
        evidence: The URI of a folder where verdicts, figures and pictures are written, templated; empty for nowhere.
        again: Whether a version may be released that was rolled back on that endpoint before, templated; see
            ``docs/how-to/release.md``.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.
        rollout_options: More options of `airflow_azureml.task_groups.rollout.rollout`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    wrong = [*_faults(spec, production, qa, profiling), *_mirrored(production, policy or Policy())]
    if wrong:
        raise ConfigError(f"release({group_id!r}): {'; '.join(wrong)}.")
    shared = {**TASK_OPTIONS, **(task_options or {})}
    with TaskGroup(group_id) as group:
        plan = AzureMLPlanReleaseOperator(
            task_id="plan",
            model=model,
            endpoint=production.endpoint,
            deployment=deployment,
            again=again,
            conn_id=production.conn_id,
            **shared,
        )
        tasks = _Tasks(plan=plan, spec=spec, tests=tests, evidence=evidence, shared=shared)
        measured = tasks.in_qa(qa, profiling) if qa is not None else plan
        endpoint, deploy = tasks.deployed(production, prefix="")
        measured >> endpoint
        setting = tasks.set_as(production, measured) if profiling is not None else deploy
        if setting is not deploy:
            deploy >> setting
        test = tasks.test(production, task_id="test")
        rolled_out = rollout(
            "rollout",
            endpoint=production.endpoint,
            deployment=tasks.told("deployment"),
            policy=policy or Policy(),
            approval_at=approval_at,
            again=again,
            conn_id=production.conn_id,
            **{"task_options": task_options, **(rollout_options or {})},
        )
        setting >> test >> rolled_out
    return group


def _mirrored(production: Stage, policy: Policy) -> list[str]:
    """Say which steps a Kubernetes endpoint cannot take.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints, "Test the
    deployment with mirrored traffic": "Mirrored traffic isn't supported for Kubernetes online endpoints".
    """
    copies = [str(each) for each in policy.steps if each.mirrored]
    if not (production.compute and copies):
        return []
    return [f"Azure copies no requests to a Kubernetes endpoint: give a policy without the step {', '.join(copies)}"]


def _faults(spec: Any, production: Stage, qa: Stage | None, profiling: Profiling | None) -> list[str]:
    stages = {"production": production, **({"qa": qa} if qa is not None else {})}
    wrong = [f"{name}.endpoint is empty" for name, stage in stages.items() if not stage.endpoint]
    wrong += [
        f"{name} has neither a deployment's file (spec) nor an instance_type"
        for name, stage in stages.items()
        if not (spec or stage.spec or stage.instance_type)
    ]
    if qa is not None and (qa.endpoint, qa.conn_id) == (production.endpoint, production.conn_id):
        wrong.append("qa and production are the same endpoint")
    if profiling is not None:
        wrong += ["profiling measures in qa, which is missing"] if qa is None else []
        if qa is not None and qa.instance_type != production.instance_type:
            machines = (
                f"{qa.instance_type or 'those of the file'} and {production.instance_type or 'those of the file'}"
            )
            wrong.append(f"profiling needs the same machines in qa and in production, and they are {machines}")
        if production.instances is not None:
            wrong.append("production.instances is what profiling finds; leave it out")
    return wrong


@frozen(kw_only=True)
class _Tasks:
    """Makes the tasks of a release."""

    plan: BaseOperator
    spec: Any
    tests: Any
    evidence: str
    shared: Mapping[str, Any]

    def told(self, name: str) -> str:
        """Write what the plan says, as a template."""
        return f"{{{{ ti.xcom_pull(task_ids={self.plan.task_id!r})[{name!r}] }}}}"

    def below(self, part: str) -> str:
        """Name a folder of the evidence."""
        return f"{self.evidence.rstrip('/')}/{self.told('deployment')}/{part}/" if self.evidence else ""

    def deployed(self, stage: Stage, *, prefix: str) -> tuple[BaseOperator, BaseOperator]:
        """See to an endpoint, and deploy there, without traffic."""
        endpoint = AzureMLOnlineEndpointOperator(
            task_id=f"{prefix}endpoint",
            endpoint=stage.endpoint,
            auth_mode=stage.auth_mode,
            compute=stage.compute,
            conn_id=stage.conn_id,
            **{**self.shared, **stage.endpoint_options},
        )
        deploy = AzureMLOnlineDeploymentOperator(
            task_id=f"deploy_{prefix.rstrip('_')}".rstrip("_"),
            endpoint=stage.endpoint,
            deployment=self.told("deployment"),
            model=self.told("model"),
            spec=stage.spec or self.spec,
            instance_type=stage.instance_type,
            instances=stage.instances,
            conn_id=stage.conn_id,
            **self.shared,
        )
        endpoint >> deploy
        return endpoint, deploy

    def test(self, stage: Stage, *, task_id: str) -> BaseOperator:
        """Ask it what the tests say."""
        return AzureMLSmokeTestOperator(
            task_id=task_id,
            endpoint=stage.endpoint,
            deployment=self.told("deployment"),
            tests=self.tests,
            evidence=self.below(task_id),
            plain_http=stage.plain_http,
            conn_id=stage.conn_id,
            **self.shared,
        )

    def in_qa(self, qa: Stage, profiling: Profiling | None) -> BaseOperator:
        """Deploy and test it apart, and take it away again; return the last that has to be done before production."""
        endpoint, deploy = self.deployed(qa, prefix="qa_")
        last = self.test(qa, task_id="test_qa")
        self.plan >> endpoint
        deploy >> last
        if profiling is not None:
            measured = AzureMLProfileOperator(
                task_id="profile",
                endpoint=qa.endpoint,
                deployment=self.told("deployment"),
                tests=self.tests,
                profiling=profiling,
                evidence=self.below("profile"),
                plain_http=qa.plain_http,
                conn_id=qa.conn_id,
                **self.shared,
            )
            last >> measured
            last = measured
        remove = AzureMLDeleteDeploymentOperator(
            task_id="remove_qa",
            endpoint=qa.endpoint,
            deployment=self.told("deployment"),
            conn_id=qa.conn_id,
            **self.shared,
        )
        last >> remove.as_teardown(setups=deploy)
        return last

    def set_as(self, stage: Stage, measured: BaseOperator) -> BaseOperator:
        """Set production as it was measured to be best."""
        return AzureMLSetDeploymentOperator(
            task_id="set",
            endpoint=stage.endpoint,
            deployment=self.told("deployment"),
            setting=measured.output,
            conn_id=stage.conn_id,
            **self.shared,
        )
