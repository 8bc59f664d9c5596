"""Judging a new model in a worker: both evaluations are read, and what the policy needs beside them is computed."""

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from airflow_azureml.core.evaluation import Evaluation, Losses
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.gate import IntervalRule, Policy, judge
from airflow_azureml.core.gate_evidence import Evidence
from airflow_azureml.core.gate_results import PICTURE_FILE, VERDICT_FILE, Challenger
from airflow_azureml.core.intervals import Interval
from airflow_azureml.core.models import Champion
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, ProtocolError, UnavailableError
from airflow_azureml.wire import jobs, reports, workspaces

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.evaluations import EvaluationFolder

log = logging.getLogger(__name__)

INSTALL = "install airflow-provider-azureml[quality] where tasks run"


def read_policy(told: Any) -> Policy:
    """Read a policy: a `Policy`, its content as a mapping, or the path of its file on this worker.

    Raises:
        ConfigError: It is none of these, there is no such file, or it is no policy.
    """
    from airflow_azureml.core import gate_policy  # noqa: PLC0415  # what reads YAML stays out of DAG parsing

    if isinstance(told, Policy):
        return told.checked()
    if isinstance(told, Mapping):
        return gate_policy.from_wire(dict(told), name="policy")
    if not isinstance(told, str | PathLike) or not str(told):
        raise ConfigError(f"policy is {told!r:.200}; it must be a Policy, a mapping, or the path of a file.")
    try:
        text = Path(told).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Policy file {told} cannot be read on this worker: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"Policy file {told} is no text in UTF-8.") from error
    return gate_policy.parse(text, name=Path(told).name)


@frozen(kw_only=True)
class Records:
    """What there is on record of two models.

    Attributes:
        client: Asks Azure ML.
        settings: The connection whose identity reads and writes.
        output: The job's output that is the folder of the evaluation.
    """

    client: "Client"
    settings: ConnectionSettings
    output: str

    def challenger(self, told: Any) -> Challenger:
        """Read what a task told of its job; what did not fit into that is asked of Azure ML.

        Raises:
            ConfigError: It is no result of a job.
            RefusedError: There is no such job, or the identity may not look.
            UnavailableError: Azure ML does not say; trying again later may work.
        """
        found = Challenger.from_wire(told, output=self.output)
        if found.is_whole:
            return found
        workspace = self.settings.workspace
        job = self.client.run(jobs.get(workspace, found.job))
        report = self.client.run(reports.read(workspace, job, self.client.run(workspaces.data_plane(workspace))))
        if report.unread and not report.steps:
            raise UnavailableError(f"Look which steps of job {found.job} were run", message=" ".join(report.unread))
        outputs = {**report.outputs, **found.outputs}
        return evolve(
            found, evaluation=outputs.get(self.output, ""), outputs=outputs, reused=report.stale, is_whole=True
        )

    def of_challenger(self, challenger: Challenger) -> Evaluation:
        """Read the challenger's evaluation; see `airflow_azureml.client.evaluations.EvaluationFolder.read`."""
        if challenger.evaluation:
            return self.folder(challenger.evaluation).read()
        there = ", ".join(sorted(challenger.outputs)) or "none"
        return Evaluation.missing(f"Job {challenger.job} has no output {self.output!r}; its outputs are: {there}.")

    def of_champion(self, champion: Champion) -> Evaluation:
        """Read the champion's evaluation, likewise."""
        if champion.evaluation:
            return self.folder(champion.evaluation).read()
        return Evaluation.missing(
            f"Nobody knows where the evaluation of version {champion.version} of model {champion.model} is: let"
            " AzureMLReevaluateOperator evaluate it."
        )

    def folder(self, uri: str) -> "EvaluationFolder":
        """Open the folder of an evaluation; nothing is asked yet."""
        from airflow_azureml.client.evaluations import EvaluationFolder  # noqa: PLC0415  # not when a DAG is parsed

        return EvaluationFolder(self.client, self.settings, uri)

    def keep(self, verdict: Verdict, uri: str) -> dict[str, str]:
        """Write the verdict and its picture into a folder; return where they are."""
        from airflow_azureml.quality.gate_picture import picture  # noqa: PLC0415  # not when a DAG is parsed

        folder = self.folder(uri)
        text = json.dumps(verdict.to_wire(), ensure_ascii=False, indent=1)
        drawn = folder.write(PICTURE_FILE, picture(verdict).encode())
        return {"verdict_uri": folder.write(VERDICT_FILE, text.encode()), "picture_uri": drawn}


def judged(
    records: Records, policy: Policy, challenger: Challenger, champion: Champion | None, *, gone: str, now: datetime
) -> Verdict:
    """Judge a new model.

    Args:
        records: Where to read.
        policy: What it must hold.
        challenger: The job that made it.
        champion: What it is compared with; None where there is no champion yet.
        gone: Why there is nothing to compare with, though there is a champion; empty where there is.
        now: With its zone.

    Raises:
        ConfigError: A folder is in no datastore of this workspace, or what computes intervals is not installed.
        RefusedError: The identity may not read.
        UnavailableError: Nobody knows what there is; trying again later may work.
    """
    ours, theirs = records.of_challenger(challenger), None
    if champion is not None:
        theirs = Evaluation.missing(gone) if gone else records.of_champion(champion)
    intervals: dict[str, Interval] = {}
    wrong: list[Finding] = []
    if champion and theirs and not ours.faults and not Evidence(challenger=ours, champion=theirs).apart:
        folders = records.folder(challenger.evaluation), records.folder(champion.evaluation)
        intervals, wrong = _intervals(policy, folders, (ours.losses, theirs.losses))
    verdict = judge(policy, ours, theirs, now=now, intervals=intervals, reused=challenger.reused)
    facts = {
        "model": champion.model if champion else "",
        "job": challenger.job,
        **verdict.facts,
        "champion": champion.version if champion else "none",
        "champion job": champion.job if champion else "",
    }
    compared = f" against version {champion.version} of {champion.model}" if champion else ""
    return evolve(
        verdict,
        subject=f"The model of job {challenger.job}{compared}",
        findings=(*wrong, *verdict.findings),
        facts={name: value for name, value in facts.items() if value},
    )


def _intervals(
    policy: Policy, folders: tuple["EvaluationFolder", "EvaluationFolder"], losses: tuple[Losses | None, Losses | None]
) -> tuple[dict[str, Interval], list[Finding]]:
    """Compute what the policy needs and both evaluations have the losses for; where that cannot be done, it is a no."""
    found: dict[str, Interval] = {}
    wrong: list[Finding] = []
    ours, theirs = losses
    for rule in policy.needs.intervals:
        if not (ours and theirs and {ours.column, theirs.column} == {rule.loss}):
            continue
        try:
            found[rule.loss] = interval(rule, folders, (ours, theirs))
        except ProtocolError as error:
            check = f"{rule.loss} of single rows can be compared"
            wrong.append(Finding(check=check, subject=rule.loss, passed=False, reason=str(error)))
    return found, wrong


def interval(
    rule: IntervalRule, folders: tuple["EvaluationFolder", "EvaluationFolder"], losses: tuple[Losses, Losses]
) -> Interval:
    """Compute the interval that a rule asks for, from the challenger's losses and the champion's.

    Raises:
        ConfigError: What computes it is not installed.
        ProtocolError: The losses cannot be compared.
    """
    try:
        from airflow_azureml.quality import bootstrap  # noqa: PLC0415  # only a worker has it
        from airflow_azureml.quality.losses import LossesFile, differences  # noqa: PLC0415  # as above
    except ImportError as error:
        raise ConfigError(f"An interval of {rule.loss} needs numpy and polars: {INSTALL} ({error}).") from error
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for whose, folder, one in zip(("challenger", "champion"), folders, losses, strict=True):
            (place := Path(scratch) / whose).mkdir()
            file = folder.read_losses(one, place)
            files.append(LossesFile(file=file, whose=f"the {whose}'s losses", column=one.column, key=one.key))
        apart = differences(*files)
    how = bootstrap.Resampling(resamples=rule.resamples, level=rule.confidence, seed=rule.seed, method=str(rule.method))
    mean = bootstrap.interval(apart, how)
    log.info("The interval of %s over %s rows took %.1f s", rule.loss, mean.rows, time.monotonic() - began)
    return Interval(
        metric=rule.loss,
        estimate=mean.mean,
        low=mean.low,
        high=mean.high,
        rows=mean.rows,
        confidence=rule.confidence,
        resamples=rule.resamples,
        seed=rule.seed,
        method=str(rule.method),
    )
