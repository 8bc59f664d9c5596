"""Testing data before money is spent on it."""

import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.data_results import OnFail, RunOn
from airflow_azureml.core.data_tests import DataTests
from airflow_azureml.core.jobs import JobKey, JobSnapshot
from airflow_azureml.core.quarantine import Cell
from airflow_azureml.core.reports import Report
from airflow_azureml.core.triage import Cause
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError, JobCanceledError, JobError, NotReadyError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.data_test_engine import (
    ERROR,
    OUTPUTS,
    Child,
    call_of,
    environment_of,
    failure,
    job_of,
    lay_out,
)
from airflow_azureml.operators.data_test_plan import REPORTS, Plan, Rules, Subject, address, format_named, reports_in
from airflow_azureml.operators.data_test_work import (
    MOST_VERDICT,
    Found,
    put_away,
    read,
    read_found,
    reference_of_job,
    tested_here,
)
from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.operators.start import SupersededError
from airflow_azureml.operators.tries import map_index
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = ["AzureMLDataTestOperator"]

#: Where a no is told too, whatever becomes of the task.
RETURN_VALUE = "return_value"
#: What of a job is this operator's own to say.
OURS = ("$schema", "type", "name", "command", "code", "environment", "compute", "experiment_name", "inputs", "outputs")
#: Most findings of a no that the log tells.
MOST_LOGGED = 100


class DataTestJobError(JobError):
    """The job that was to test the data could not, for a reason that is there at the next try, too."""

    retryable = False


class AzureMLDataTestOperator(AzureMLJobOperator):
    """Tests a blob against rules for its table, its columns and their distributions, before anything is trained on it.

    What is tested is one version of the blob: that of the arrival, or the one that is there when the task begins; where
    it was replaced meanwhile, nothing counts. Data that cannot be read has failed, as data that breaks a rule has.
    Whatever follows the task runs only after a yes.

    Returns less than 4 kB, described at `airflow_azureml.core.data_results.DataResult.to_wire`; of a no it is in XCom,
    too. Needs the extra ``quality`` where the data is tested, and PyYAML of it where the task runs.

    Args:
        data: The blob, templated: an arrival, as ``ClaimArrivalsOperator`` returns it in a list (expand the task over
            it), or a URI: ``azureml://datastores/NAME/paths/PATH`` or ``https://ACCOUNT.blob.core.windows.net/…``.
        spec: The rules: a YAML file on the worker, its content as a mapping, or
            `airflow_azureml.core.data_tests.DataTests`; templated. See ``docs/how-to/data-tests.md``.
        schema: A pandera schema for polars instead, ``module:attribute``; it is imported where the data is tested.
        reference: What distributions are compared with, templated: the URI of a profile (``….json``) or of a file like
            the data, whose profile is then kept beside it for the next time.
        format: ``csv``, ``parquet`` or ``jsonl``; by default as the blob's name ends.
        on_fail: What becomes of data that fails: ``fail`` (the task fails and is not retried), ``skip`` (the task is
            skipped and the run stays green) or ``quarantine`` (likewise, and the service copies the blob to
            ``quarantine`` with its report; it is never deleted).
        quarantine: The address of a container, or of a folder in one, in the blob's account, templated; by default the
            container ``airflow-azureml-quarantine``. It should lie where nobody waits for blobs.
        reports: The folder for report and verdict, templated, ``azureml://datastores/NAME/paths/…/``.
        run_on: ``worker``, in a process beside the task's, or ``job``, as a command job of Azure ML, for data that is
            too large for a worker's disk or time. The task then waits without a worker slot.
        environment: Of a job: an image, ``azureml:NAME:VERSION`` or a mapping, templated; by default an image of
            Azure ML's with the extra ``quality`` installed.
        compute: Of a job: a compute's name, templated; empty for serverless.
        job_options: Of a job: more of it, as its YAML says it (``resources``, ``limits``, ``identity``, …); templated.
        kwargs: What `airflow_azureml.operators.job.AzureMLJobOperator` takes but ``job`` and ``idempotency_key``, and
            Airflow's own.
    """

    template_fields: Sequence[str] = (
        *("data", "spec", "schema", "reference", "quarantine", "reports", "environment", "compute", "job_options"),
        *("experiment", "conn_id"),
    )
    template_fields_renderers = {"data": "json", "spec": "json", "job_options": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        data: Any,
        spec: str | os.PathLike[str] | Mapping[str, Any] | DataTests | None = None,
        schema: str = "",
        reference: str = "",
        format: str = "",  # noqa: A002  # the data's format
        on_fail: str = "fail",
        quarantine: str = "",
        reports: str = REPORTS,
        run_on: str = "worker",
        environment: str | Mapping[str, Any] = "",
        compute: str = "",
        job_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(job="", **kwargs)
        self.data = data
        self.spec = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
        self.schema = schema
        self.reference = reference
        self.format = format
        self.on_fail = on_fail
        self.quarantine = quarantine
        self.reports = reports
        self.run_on = run_on
        self.environment = environment
        self.compute = compute
        self.job_options = job_options
        # What a kill, which comes at any moment, has to end; and the key of the version that this try is about.
        self._child: Child | None = None
        self._version: JobKey | None = None

    def execute(self, context: "Context") -> Any:
        """Find the version, test it here or submit the job that does, and say what becomes of it."""
        try:
            settings = self._connection = AzureMLHook(self.conn_id).settings
            options = self._options()
            with AzureMLHook.open(settings) as client:
                plan = self._plan(context, client, settings, options)
                plan.check()
                if plan.run_on is RunOn.WORKER:
                    return self._end(context, settings, self._test_here(client, settings, plan))
        except SupersededError as error:
            raise AirflowSkipException(str(error)) from error
        except AzureMLError as error:
            raise for_airflow(error) from error
        self._version = plan.key
        with tempfile.TemporaryDirectory(prefix="airflow-azureml-") as folder:
            self.job = functools.partial(self._lay_out, plan, Path(folder))
            return super().execute(context)

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:  # noqa: ARG002  # as of every job
        """Read what the job has found, see that the version is still there, and say what becomes of it."""
        settings = AzureMLHook(self.conn_id).settings
        try:
            with AzureMLHook.open(settings) as client:
                plan = self._plan(context, client, settings, self._options())
                if plan.key.digest != job.key:
                    raise NotReadyError(
                        f"Blob {plan.subject.path} was replaced while job {job.name} tested it; it has version"
                        f" {plan.subject.etag} now. What was found does not count."
                    )
                return self._end(context, settings, read_found(client, settings, plan))
        except SupersededError as error:
            raise AirflowSkipException(str(error)) from error

    def failed(self, context: "Context", job: JobSnapshot, error: JobError) -> JobError:
        """Say what the engine complained of, where it did."""
        told = None
        if not isinstance(error, JobCanceledError):
            try:
                hook = AzureMLHook(self.conn_id)
                with hook.get_conn() as client:
                    told = read(
                        client, hook.settings, outputs.artifact(job.name, f"{OUTPUTS}/{ERROR}"), most_bytes=MOST_VERDICT
                    )
            except AzureMLError as unread:
                self.log.warning("What was complained of in job %s could not be read: %s", job.name, unread)
        if told is None:
            return super().failed(context, job, error)
        words = failure(told, status=1, said="")
        return DataTestJobError(f"Job {job.name}: {words}\nThe job: {job.studio_url}", cause=Cause.USER_CODE)

    def on_kill(self) -> None:
        """End the process that tests the data, and the job as every job's is."""
        super().on_kill()
        if self._child is not None:
            self._child.end()

    def _options(self) -> tuple[Rules, OnFail, RunOn]:
        """Read the rules and the words; nothing is asked of Azure before.

        Raises:
            ConfigError: One of them is wrong.
        """
        for name, said, words in (("on_fail", self.on_fail, OnFail), ("run_on", self.run_on, RunOn)):
            if said not in set(words):
                raise ConfigError(f"{name} is {said!r}; it must be one of {', '.join(words)}.")
        wrong = sorted(name for name in self.job_options or {} if name in OURS)
        if wrong:
            raise ConfigError(f"job_options must not have {', '.join(wrong)}; that is ours to say.")
        return Rules.read(self.spec, self.schema), OnFail(self.on_fail), RunOn(self.run_on)

    def _plan(
        self, context: "Context", client: "Client", settings: ConnectionSettings, options: tuple[Rules, OnFail, RunOn]
    ) -> Plan:
        """Find the version and the places."""
        rules, on_fail, run_on = options
        subject = Subject.find(client, settings, self.data)
        ti = context["ti"]
        version = f"{ti.task_id}|{subject.url}|{subject.etag}"
        key = JobKey.of_task(ti.dag_id, ti.run_id, version, map_index(ti))
        cell = None
        if on_fail is OnFail.QUARANTINE:
            kept = address(client, settings, self.quarantine) if self.quarantine else ""
            cell = Cell.of(StorageUrl.parse(subject.url), subject.etag, quarantine=kept)
        return Plan(
            rules=rules,
            subject=subject,
            key=key,
            format=format_named(self.format, subject.path),
            on_fail=on_fail,
            run_on=run_on,
            cell=cell,
            reports=reports_in(self.reports, key),
            reference=self.reference,
        )

    def _key(self, context: "Context") -> JobKey:
        """Name the job by the version, so that a try that finds another one submits another job."""
        return self._version or super()._key(context)

    def _test_here(self, client: "Client", settings: ConnectionSettings, plan: Plan) -> Found:
        """Test the data in a process beside this one, whose files are deleted at the end."""
        with tempfile.TemporaryDirectory(prefix="airflow-azureml-") as folder:
            self._child = Child(Path(folder), cwd=plan.rules.folder)
            try:
                return tested_here(client, settings, plan, self._child)
            finally:
                self._child.end()
                self._child = None

    def _lay_out(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the job's code into a folder, and describe the job, as its YAML would."""
        settings = AzureMLHook(self.conn_id).settings
        with AzureMLHook.open(settings) as client:
            reference, told = reference_of_job(client, settings, plan)
        lay_out(folder, call_of(plan, **told), plan.rules)
        described = {
            "display_name": self.task_id,
            **(self.job_options or {}),
            **job_of(plan, reference),
            "environment": environment_of(self.environment),
            "code": str(folder),
        }
        return {**described, "compute": self.compute} if self.compute else described

    def _end(self, context: "Context", settings: ConnectionSettings, found: Found) -> dict[str, Any]:
        """Return the result of a yes; of a no keep it in XCom, put the data away where it is wanted, and raise."""
        result = found.result
        if result.verdict.accepted:
            self.log.info("%s", result.sentence)
            return result.to_wire()
        if found.plan.on_fail is OnFail.QUARANTINE:
            result = put_away(settings, found)
            self.log.warning("Version %s of %s is in quarantine: %s", result.etag, result.path, result.quarantine)
        context["ti"].xcom_push(key=RETURN_VALUE, value=result.to_wire())
        for finding in result.verdict.failed[:MOST_LOGGED]:
            self.log.error("%s", finding.reason)
        if found.plan.on_fail is OnFail.FAIL:
            raise AirflowFailException(result.sentence)
        raise AirflowSkipException(result.sentence)
