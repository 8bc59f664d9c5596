"""Batch endpoints, blue and green: another deployment becomes the default only if its outputs are alike enough."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.core.publication import EndpointNow
from airflow_azureml.core.triage import may_pass
from airflow_azureml.errors import AzureMLError, ConfigError, NotReadyError, OutputsDifferError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.serving import At, AzureMLServingOperator, Wait
from airflow_azureml.wire import batch_endpoints

if TYPE_CHECKING:
    import polars as pl
    from airflow.sdk import Context

__all__ = ["AzureMLBatchDefaultOperator", "AzureMLBatchSwitchOperator", "OutputRules"]

#: The tag by which an endpoint says which deployment was the default before.
PREVIOUS_TAG = "airflow.previous_default"
READY = "Succeeded"
ACTIONS = ("switch", "roll_back")


class AzureMLBatchDefaultOperator(BaseOperator):
    """Finds the default deployment of a batch endpoint, for another to be compared with.

    Returns its name. The task is skipped where there is nothing to compare: there is no default yet, or it is the
    candidate already.

    Args:
        endpoint: The batch endpoint, templated.
        candidate: The deployment that is to become the default, templated.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "candidate", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self, *, endpoint: str, candidate: str, conn_id: str = AzureMLHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.candidate = candidate
        self.conn_id = conn_id

    def execute(self, context: "Context") -> str:
        """Look."""
        del context
        try:
            settings = AzureMLHook(self.conn_id).settings
            with AzureMLHook.open(settings) as client:
                found = client.run(batch_endpoints.look(settings.workspace, self.endpoint))
            default = _checked(found, self.endpoint, self.candidate).default
        except AzureMLError as error:
            raise error if may_pass(error) else AirflowFailException(str(error)) from error
        if default in ("", self.candidate):
            why = "has no default deployment yet" if not default else f"has {default} as its default already"
            raise AirflowSkipException(f"Batch endpoint {self.endpoint} {why}: there is nothing to compare.")
        return default


class AzureMLBatchSwitchOperator(AzureMLServingOperator):
    """Makes another deployment of a batch endpoint the default one, if its outputs are alike enough.

    ``switch`` compares what both have made of the same input (run each by `AzureMLPipelineOperator` with a
    `BatchEndpoint` that names the deployment), and changes the default only then; where the default is not the one that
    was compared any more, nothing is changed. ``roll_back`` makes the deployment the default that was it before, as
    the endpoint's tag says; where ``deployment`` is not the default, there is nothing to roll back. Both are a success
    when it is so already. Jobs that run go on; callers who name a deployment notice nothing.

    Returns ``endpoint``, ``default``, ``before`` and ``done``. The verdict is the XCom ``verdict``. Needs the extra
    ``quality`` on the worker.

    Args:
        endpoint: The batch endpoint, templated.
        deployment: The deployment that is to become the default, or is to be rolled back; templated.
        action: ``switch`` or ``roll_back``.
        expected: The default that it was compared with, templated; None or empty for none.
        current: What the task returned that ran the default, templated.
        candidate: What the task returned that ran ``deployment``, templated.
        output_name: The output of both with the tables (CSV, Parquet or JSON lines, by their names), templated.
        rules: How alike they must be; None to compare nothing, which must be meant. Nothing is compared where there is
            no default yet.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes (``conn_id``, ``deferrable``,
            ``timeout``, ``patience``, ``poll_interval``), and Airflow's own.
    """

    template_fields: Sequence[str] = (
        *("endpoint", "deployment", "expected", "current", "candidate", "output_name", "conn_id"),
    )
    template_fields_renderers = {"current": "json", "candidate": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        endpoint: str,
        deployment: str,
        action: str = "switch",
        expected: Any = None,
        current: Any = None,
        candidate: Any = None,
        output_name: str = "score",
        rules: OutputRules | None = OutputRules(),  # noqa: B008  # a frozen value
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment
        self.action = action
        self.expected = expected
        self.current = current
        self.candidate = candidate
        self.output_name = output_name
        self.rules = rules

    def endpoint_name(self) -> str:
        """Name no online endpoint."""
        return ""

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Compare, and change the default."""
        self._check_options()
        found = _checked(
            at.client.run(batch_endpoints.look(at.workspace, self.endpoint)), self.endpoint, self.deployment
        )
        target = self.deployment if self.action == "switch" else self._previous(found)
        if found.default == target and found.state == READY:
            before = found.tags.get(PREVIOUS_TAG, "")
            return {"endpoint": self.endpoint, "default": target, "before": before}
        wait = Wait(condition="endpoint", arguments={"name": self.endpoint, "deployment": target})
        if found.default == target:
            return wait
        _checked(found, self.endpoint, target, must_be_ready=True)
        if self.action == "switch" and found.default and self.rules is not None:
            self._compare(context, at, found, self.rules)
        # A rollback leaves no way back to what was rolled back.
        tags = {PREVIOUS_TAG: found.default if self.action == "switch" else ""}
        at.client.run(batch_endpoints.set_default(at.workspace, self.endpoint, target, tags=tags))
        done = f"default moved from {found.default or 'none'} to {target}"
        return Wait(condition=wait.condition, arguments=wait.arguments, done=done)

    def _previous(self, found: EndpointNow) -> str:
        """Find what is to be the default after a rollback; where there is nothing to roll back, what it is."""
        if found.default != self.deployment:
            return found.default
        previous = found.tags.get(PREVIOUS_TAG, "")
        if not previous:
            raise ConfigError(
                f"Batch endpoint {self.endpoint} does not say which deployment was the default before "
                f"{self.deployment} (its tag {PREVIOUS_TAG}). Nothing was changed: name it, with action='switch'."
            )
        return previous

    def _compare(self, context: "Context", at: At, found: EndpointNow, rules: OutputRules) -> None:
        """See whether both say alike enough.

        Raises:
            ConfigError: The default is not the one that was compared.
            OutputsDifferError: They do not; the default stays.
        """
        if found.default != (self.expected or ""):
            raise ConfigError(
                f"The default deployment of batch endpoint {self.endpoint} is {found.default}, and what is to be "
                f"compared is of {self.expected or 'none'}: somebody has switched meanwhile. Nothing was changed; run "
                "both again."
            )
        verdict = self._verdict(at, rules)
        ti: Any = context["ti"]
        ti.xcom_push(key="verdict", value=verdict.to_wire())
        self.log.info("%s", verdict.sentence)
        if not verdict.accepted:
            raise OutputsDifferError(f"{verdict.sentence} {found.default} is still the default.")

    def _verdict(self, at: At, rules: OutputRules) -> Verdict:
        from airflow_azureml.quality.outputs import compare_outputs  # noqa: PLC0415  # not when a DAG is parsed

        current, candidate = (self._table(at, result) for result in (self.current, self.candidate))
        subject = f"Outputs of {self.deployment} beside those of {self.expected} of batch endpoint {self.endpoint}"
        return compare_outputs(current, candidate, rules, subject=subject)

    def _table(self, at: At, result: Any) -> "pl.DataFrame":
        from airflow_azureml.client.outputs import fetch_tables  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.quality.outputs import read_output  # noqa: PLC0415  # as above

        outputs = result.get("outputs") if isinstance(result, Mapping) else None
        uri = outputs.get(self.output_name) if isinstance(outputs, Mapping) else None
        if not uri:
            raise ConfigError(
                f"Task {self.task_id}: {result!r:.200} names no output {self.output_name!r}; give what the two tasks "
                "returned that ran the deployments."
            )
        with tempfile.TemporaryDirectory() as folder:
            return read_output(fetch_tables(at.client, at.settings, str(uri), Path(folder)))

    def _check_options(self) -> None:
        wrong = [f"{name} is empty" for name in ("endpoint", "deployment") if not getattr(self, name)]
        if self.action not in ACTIONS:
            wrong.append(f"action is {self.action!r}, not one of {ACTIONS}")
        if self.rules is not None:
            wrong += self.rules.faults()
        if wrong:
            raise ConfigError(f"Task {self.task_id}: {'; '.join(wrong)}.")


def _checked(found: EndpointNow | None, endpoint: str, deployment: str, *, must_be_ready: bool = False) -> EndpointNow:
    """See that an endpoint and a deployment are there.

    Raises:
        ConfigError: One is not.
        NotReadyError: The deployment is not ready.
    """
    if found is None:
        raise ConfigError(f"There is no batch endpoint {endpoint}: check the name, or publish it first.")
    there: Mapping[str, Any] = found.deployments
    if deployment not in there:
        names = ", ".join(sorted(there)) or "none"
        raise ConfigError(f"Batch endpoint {endpoint} has no deployment {deployment} (it has: {names}).")
    if must_be_ready and there[deployment].state != READY:
        raise NotReadyError(
            f"Deployment {deployment} of batch endpoint {endpoint} is {there[deployment].state or 'in no state'}: "
            "nothing was changed. A retry looks again."
        )
    return found
