"""Repair: a new attempt at a pipeline does not run again the steps that the attempts before it completed.

Azure ML reuses the results of a step where the same step has completed before in the workspace, whoever ran it. Two
facts decide how an attempt is submitted. Source: "How to debug pipeline reuse issues in Azure Machine Learning".

* A run with ``force_rerun`` reuses nothing, and nothing of it can be reused. So no attempt, not even the first, has it.
* Steps are the same when component, code, environment, inputs, output settings and run settings are. So a mark of the
  key among the environment variables of the steps keeps the results of others out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from airflow_azureml.core.jobs import JobKey, JobSnapshot, Phase
from airflow_azureml.core.reports import Step
from airflow_azureml.errors import ConfigError

#: The environment variable that makes the steps of one key different from the same steps of another.
FENCE = "AIRFLOW_IDEMPOTENCY_KEY"
FORCE = "force_rerun"


@frozen(kw_only=True)
class Rerun:
    """How an attempt is submitted.

    Attributes:
        settings: The settings of its job.
        variables: Environment variables for each of its steps that is a command.
        told: What to say of it; empty where there is nothing to be said.
    """

    settings: Mapping[str, Any]
    variables: Mapping[str, str] = field(factory=dict)
    told: str = ""

    def fenced(self, steps: Mapping[str, Any]) -> dict[str, Any]:
        """Give the steps of a pipeline the variables, as a pipeline job's REST body holds them.

        A step that is itself a pipeline has none: the steps in it cannot be told apart from the same ones elsewhere.
        """
        if not self.variables:
            return dict(steps)
        return {name: self._with_variables(node) if _is_command(node) else node for name, node in steps.items()}

    def _with_variables(self, node: Mapping[str, Any]) -> dict[str, Any]:
        return {**node, "environment_variables": {**(node.get("environment_variables") or {}), **self.variables}}


def _is_command(node: object) -> bool:
    return isinstance(node, Mapping) and str(node.get("type") or "command").lower() == "command"


def check(*, wanted: bool, settings: Mapping[str, Any], decides: bool, pipeline: str) -> None:
    """Refuse a repair that could not be one.

    Args:
        wanted: Whether attempts are to repair those before them.
        settings: The job's settings as they were asked for.
        decides: Whether whoever submits decides about reuse.
        pipeline: What to call the pipeline in messages.

    Raises:
        ConfigError: Somebody else decides, or everything is to be run.
    """
    if not wanted:
        return
    if not decides:
        raise ConfigError(
            f"repair=True is not for {pipeline}: whether its steps are reused was decided when it was published (for a"
            " batch endpoint, by force_rerun among the deployment's settings). Leave it out."
        )
    if _is_true(settings.get(FORCE)):
        raise ConfigError(
            f"repair=True and {FORCE} of the settings exclude each other: Azure ML reuses nothing of a run that forces"
            " a rerun. Leave one out."
        )


def rerun_of(earlier: Sequence[JobSnapshot], *, key: JobKey, wanted: bool, settings: Mapping[str, Any]) -> Rerun:
    """Decide how the next attempt at a key is submitted.

    Once an attempt has completed, whoever runs the key again wants everything done anew; none after it repairs.

    Args:
        earlier: The attempts before it.
        key: The key.
        wanted: Whether attempts are to repair those before them.
        settings: The job's settings as they are without.
    """
    before = sorted((job for job in earlier if job.key == key.digest), key=lambda job: job.attempt)
    if not wanted:
        return Rerun(settings=settings)
    if any(job.phase is Phase.SUCCEEDED for job in before):
        return Rerun(
            settings={**settings, FORCE: True},
            told=f"Job {before[-1].name} and those before it are not repaired, since one of them completed: every step"
            " is run anew",
        )
    told = ""
    if before:
        names = ", ".join(f"{job.name} ({job.status})" for job in before)
        told = f"This attempt repairs {names}: steps that completed there are not run again"
    return Rerun(settings={**settings, FORCE: False}, variables={FENCE: key.digest}, told=told)


def judged(step: Step, job: JobSnapshot, maker: JobSnapshot | None) -> Step:
    """Say of a reused step whether that is a repair: its results are those of an attempt of the same task that failed.

    Args:
        step: The step.
        job: The job it belongs to.
        maker: The job whose results it has; None where nobody could tell.
    """
    own = maker is not None and bool(job.key) and maker.key == job.key and maker.attempt < job.attempt
    if maker is None or not own or not step.reused or maker.phase is Phase.SUCCEEDED:
        return step
    return evolve(step, repairs=maker.attempt)


def _is_true(written: object) -> bool:
    return str(written).lower() == "true"
