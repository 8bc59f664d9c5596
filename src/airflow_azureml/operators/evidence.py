"""Evidence in a DAG: recorded when something has run, and required before it goes on to the next environment."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from attrs import evolve

from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import Demand, Evidence
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.lineage import DataVersion
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.evidence import EVIDENCE_CONNECTION, evidence_keys
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.wire import usage, workspaces

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.evidence import Evidences, Stored

__all__ = ["AzureMLRecordEvidenceOperator", "AzureMLRequireEvidenceOperator"]

#: Where evidence is kept, unless told otherwise.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/evidence/"


class _EvidenceOperator(BaseOperator):
    """Base of the operators that work with the evidence of a commit in an environment."""

    template_fields: Sequence[str] = ("environment", "sha", "folder", "conn_id", "evidence_conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        environment: str,
        sha: str,
        folder: str = FOLDER,
        conn_id: str = AzureMLHook.default_conn_name,
        evidence_conn_id: str = EVIDENCE_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.sha = sha
        self.folder = folder
        self.conn_id = conn_id
        self.evidence_conn_id = evidence_conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Do it, and return what the evidence is."""
        from airflow_azureml.client.evidence import open_evidences  # noqa: PLC0415  # not when a DAG is parsed

        try:
            keys = evidence_keys(self.evidence_conn_id)
            with open_evidences(AzureMLHook(self.conn_id).settings, keys, folder=self.folder) as evidences:
                stored = self.work(context, evidences)
        except AzureMLError as error:
            raise for_airflow(error) from error
        found = stored.evidence
        return {
            "environment": found.environment,
            "sha": found.sha,
            "digest": found.digest,
            "uri": stored.uri,
            "passed": found.passed,
            "job": found.job,
            "model": found.model,
            "model_sha256": found.model_sha256,
        }

    def work(self, context: "Context", evidences: "Evidences") -> "Stored":
        """Do what the operator is for."""
        raise NotImplementedError


class AzureMLRecordEvidenceOperator(_EvidenceOperator):
    """Records what ran in an environment and what came of it, signed, beside the job; the job and the model name it.

    Also a run that did not pass is recorded: the newest evidence of a commit counts. On every try, and again with the
    same facts, it is one document.

    Returns ``environment``, ``sha``, ``digest``, ``uri``, ``passed`` (whether what was judged is accepted, and nobody
    has rejected it), ``job``, ``model`` and ``model_sha256``.

    Args:
        environment: The environment's name, templated.
        sha: The commit of the code, all 40 digits, templated.
        result: What the task of the pipeline returned, templated; None where no job ran.
        verdict: What the gate returned, templated; None where there was none, or it was skipped.
        checks: What the integration checks returned, templated, likewise.
        approval: What `airflow_azureml.operators.approval.AzureMLApprovalOperator` returned, templated, likewise.
        data: What it was trained on, templated: paths, mappings with ``path``, ``etag``, ``rows`` and ``digest``, or
            what data tests returned.
        metrics: Figures, templated; those of the job by default.
        model: The version that came of it, templated: ``NAME:VERSION``, or what registering returned.
        model_sha256: What identifies its files, templated; by default the digest that registering returned.
        previous: The digest of the evidence of the environment before, or what recording or requiring it returned,
            templated.
        folder: Where evidence is kept, ``azureml://datastores/NAME/paths/FOLDER/``, templated.
        conn_id: The Airflow connection of the environment's workspace, templated.
        evidence_conn_id: The Airflow connection with the keys, templated: its password signs.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = (
        *_EvidenceOperator.template_fields,
        *("result", "verdict", "checks", "approval", "data", "metrics", "model", "model_sha256", "previous"),
    )
    template_fields_renderers = dict.fromkeys(
        ("result", "verdict", "checks", "data"), "json"
    )  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        result: Any = None,
        verdict: Any = None,
        checks: Any = None,
        approval: Any = None,
        data: Any = (),
        metrics: Mapping[str, float] | None = None,
        model: Any = "",
        model_sha256: str = "",
        previous: Any = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.result = result
        self.verdict = verdict
        self.checks = checks
        self.approval = approval
        self.data = data
        self.metrics = metrics
        self.model = model
        self.model_sha256 = model_sha256
        self.previous = previous

    def work(self, context: "Context", evidences: "Evidences") -> "Stored":
        """Write the evidence, and let the job and the model name it."""
        stored = evidences.write(self._evidence(context, evidences))
        evidences.mark(stored)
        found = stored.evidence
        self.log.info("Evidence %s of commit %s in %s", found.digest, found.sha, found.environment)
        for reason in found.failures:
            self.log.warning("It did not pass. %s", reason)
        return stored

    def _evidence(self, context: "Context", evidences: "Evidences") -> Evidence:
        workspace = evidences.settings.workspace
        result, now = self._result(), datetime.now(UTC)
        ti: Any = context["ti"]
        job = str(result.get("job") or "")
        began: datetime = ti.start_date or now
        if job:
            plane = evidences.client.run(workspaces.data_plane(workspace))
            began, _ = evidences.client.run(usage.times(workspace, job, plane))
        model, digest = _model(self.model)
        previous = self.previous.get("digest") if isinstance(self.previous, Mapping) else self.previous
        return Evidence(
            environment=self.environment,
            workspace=workspace.arm_id,
            sha=self.sha,
            pipeline=str(result.get("pipeline") or ""),
            job=job,
            data=_data(self.data),
            metrics=_figures(self.metrics if self.metrics is not None else result.get("metrics") or {}),
            verdict=_verdict("verdict", self.verdict),
            checks=_verdict("checks", self.checks),
            approval=_approval(self.approval),
            model=model,
            model_sha256=self.model_sha256 or digest,
            began=began.replace(microsecond=0),
            ended=max(now, began).replace(microsecond=0),
            previous=str(previous or ""),
        )

    def _result(self) -> Mapping[str, Any]:
        if self.result is None or self.result == "":
            return {}
        if not isinstance(self.result, Mapping) or not self.result.get("job"):
            raise ConfigError(f"result is {self.result!r:.200}; give what the task of the pipeline returned.")
        return self.result


class AzureMLRequireEvidenceOperator(_EvidenceOperator):
    """Sees that a commit has passed in an environment, before anything is done in the next; else it fails, by a name.

    The newest evidence counts, whatever it says. Its signature, its commit, its age, its verdicts and its approval are
    looked at; what is missing is a no. Nothing is changed.

    Returns what `AzureMLRecordEvidenceOperator` does.

    Args:
        environment: The name of the environment where it must have passed, templated.
        sha: The commit, all 40 digits, templated.
        most_age: How old the evidence may be; any age by default.
        approved: Whether a person must have agreed.
        model_sha256: What identifies the files of the model that is to go on, templated; empty where it is about code.
        folder: Where evidence is kept, ``azureml://datastores/NAME/paths/FOLDER/``, templated.
        conn_id: The Airflow connection of the workspace where it ran, templated.
        evidence_conn_id: The Airflow connection with the keys that are trusted, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = (*_EvidenceOperator.template_fields, "model_sha256")

    def __init__(
        self,
        *,
        most_age: timedelta | None = None,
        approved: bool = False,
        model_sha256: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.most_age = most_age
        self.approved = approved
        self.model_sha256 = model_sha256

    def work(self, context: "Context", evidences: "Evidences") -> "Stored":
        """Find it, and see what it proves."""
        del context
        demand = Demand(
            environment=self.environment,
            sha=self.sha,
            most_age=self.most_age,
            approved=self.approved,
            model_sha256=self.model_sha256,
            workspace=evidences.settings.workspace.arm_id,
        )
        stored = evidences.require(demand, now=datetime.now(UTC))
        self.log.info("%s has passed: %s, signed with %s", demand.told, stored.uri, stored.signer)
        return stored


def _verdict(name: str, raw: Any) -> Verdict | None:
    """Read a verdict from XCom, and remember where the whole of it is."""
    if raw is None or raw == "":
        return None
    try:
        found = Verdict.from_wire(raw)
    except (ProtocolError, AttributeError) as error:
        raise ConfigError(f"{name} is {raw!r:.200}; give what the task that judged returned ({error}).") from error
    uri = raw.get("verdict_uri")
    return evolve(found, facts={**found.facts, "verdict_uri": str(uri)}) if uri else found


def _approval(raw: Any) -> Approval | None:
    if raw is None or raw == "":
        return None
    try:
        return Approval.from_wire(raw)
    except ProtocolError as error:
        raise ConfigError(f"approval is {raw!r:.200}; give what AzureMLApprovalOperator returned ({error}).") from error


def _figures(raw: Mapping[str, Any]) -> dict[str, float]:
    """Keep the finite numbers; JSON has no other."""
    numbers = {str(name): value for name, value in raw.items() if type(value) in (int, float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _model(raw: Any) -> tuple[str, str]:
    """Read which model it is, and what identifies its files where registering says so."""
    if isinstance(raw, Mapping):
        return f"{raw.get('model')}:{raw.get('version')}", str(raw.get("digest") or "")
    return str(raw or ""), ""


def _data(raw: Any) -> list[DataVersion]:
    several = [raw] if isinstance(raw, str | Mapping) else raw or []
    return [DataVersion.parse(each) for each in several if each]
