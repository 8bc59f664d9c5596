"""Integration checks in a DAG: whether a whole run in one environment is fit to go on to the next."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from attrs import evolve

from airflow_azureml.core.costs import Prices, cost_of
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.gate_results import small
from airflow_azureml.core.integration_checks import Bounds, Seen, judge
from airflow_azureml.errors import AzureMLError, ConfigError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.wire import jobs, reports, usage, workspaces

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.data_tests import DataTests
    from airflow_azureml.core.workspace import ConnectionSettings

__all__ = ["AzureMLIntegrationChecksOperator"]

#: What becomes of the run when the answer is no.
ON_FAIL = ("fail", "skip", "pass")
#: The largest table that is tested here; test larger ones in a task or a job of their own. Bytes.
MOST_BYTES = 1 << 30
#: What a table is, by the ending of its name.
FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}


class AzureMLIntegrationChecksOperator(BaseOperator):
    """Checks a whole run: outputs are there, schemas hold, metrics are sane, time and cost are within bounds.

    Fails closed: what is missing, is no finite number or is not known is a no. So is a run of which nothing is checked.

    Returns the verdict, as `airflow_azureml.core.findings.Verdict.from_wire` reads it, with ``seconds`` (how long the
    job took), ``cost`` (a number; None where it is not known) and ``cost_text`` (for people).

    Args:
        result: What the task of the pipeline returned, templated: ``result=train.output``.
        outputs: The outputs that must have something in them, templated; all that the job has by default.
        schemas: What tables must be like, templated: the file with data tests on the worker, by the output and the path
            in it, ``{"predictions/*.csv": "tests/predictions.yaml"}``; of a path with a star every file is tested.
        metrics: The least and the most of metrics, templated: ``{"rmse": (0, 100), "r2": (0.2, None)}``. Every metric
            must be a finite number in any case.
        most_time: How long the job may take, from its start to its end.
        most_cost: How much it may cost, at these prices.
        prices: What an hour of a machine costs, templated: ``{"Standard_DS3_v2": 0.25, "currency": "EUR"}``, by its
            size or by the compute's name. Without it no cost is known.
        on_fail: ``fail`` the task where something does not hold, ``skip`` what follows, or ``pass`` the verdict on to
            whoever reads it.
        conn_id: The Airflow connection of the environment's workspace, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("result", "outputs", "schemas", "metrics", "prices", "conn_id")
    template_fields_renderers = dict.fromkeys(("result", "schemas", "metrics", "prices"), "json")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        result: Any,
        outputs: Sequence[str] | None = None,
        schemas: Mapping[str, str | PathLike[str]] | None = None,
        metrics: Mapping[str, Sequence[float | None]] | None = None,
        most_time: timedelta | None = None,
        most_cost: float | None = None,
        prices: Mapping[str, Any] | None = None,
        on_fail: str = "fail",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.result = result
        self.outputs = outputs
        self.schemas = schemas
        self.metrics = metrics
        self.most_time = most_time
        self.most_cost = most_cost
        self.prices = prices
        self.on_fail = on_fail
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look, judge, tell, and go on as it says."""
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

        try:
            prices, tests = self._checked()
            settings = AzureMLHook(self.conn_id).settings
            with emulator_in_reach(settings), AzureMLHook.open(settings) as client:
                bounds, seen = self._look(client, settings, prices, tests)
        except AzureMLError as error:
            raise for_airflow(error) from error
        verdict = judge(bounds, seen)
        cost = None if seen.cost is None or not seen.cost.is_known else seen.cost.amount
        figures = {"seconds": seen.seconds, "cost": cost, "cost_text": seen.cost.text if seen.cost else ""}
        told = {**small(verdict, uris={}), **figures}
        ti: Any = context["ti"]
        ti.xcom_push(key="return_value", value=told)  # whoever fails or skips ends by an exception, and returns nothing
        self._tell(verdict)
        if not verdict.accepted and self.on_fail == "fail":
            raise AirflowFailException(verdict.sentence)
        if not verdict.accepted and self.on_fail == "skip":
            raise AirflowSkipException(verdict.sentence)
        return told

    def _tell(self, verdict: Verdict) -> None:
        for each in verdict.findings:
            tell = self.log.info if each.passed else self.log.warning
            tell("%s%s: %s %s", f"{each.subject}: " if each.subject else "", each.check, each.passed, each.reason)

    def _checked(self) -> "tuple[Prices | None, dict[str, DataTests]]":
        """See that the options are such, before anything is asked.

        Raises:
            ConfigError: One is not.
        """
        from airflow_azureml.core.data_tests import DataTests  # noqa: PLC0415  # what reads YAML stays out of parsing

        if self.on_fail not in ON_FAIL:
            raise ConfigError(f"on_fail is {self.on_fail!r}; it must be one of {', '.join(ON_FAIL)}.")
        if not isinstance(self.result, Mapping) or not self.result.get("job"):
            raise ConfigError(f"result is {self.result!r:.200}; give what the task of the pipeline returned.")
        if self.most_cost is not None and not self.prices:
            raise ConfigError("most_cost is given without prices: say what an hour of each machine costs.")
        tests = {}
        for place, file in (self.schemas or {}).items():
            if Path(place).suffix.lower() not in FORMATS:
                raise ConfigError(f"schemas has {place!r}; a table's name ends with {', '.join(FORMATS)}.")
            try:
                tests[str(place)] = DataTests.parse(Path(file).read_text(encoding="utf-8"), name=Path(file).name)
            except OSError as error:
                raise ConfigError(f"Data tests {file} cannot be read on this worker: {error.strerror}.") from error
        return Prices.parse(self.prices) if self.prices else None, tests

    def _look(
        self, client: "Client", settings: "ConnectionSettings", prices: Prices | None, tests: "Mapping[str, DataTests]"
    ) -> tuple[Bounds, Seen]:
        """See what the run has left."""
        from airflow_azureml.client.job_outputs import OutputFiles  # noqa: PLC0415  # not when a DAG is parsed

        name = str(self.result["job"])
        plane = client.run(workspaces.data_plane(settings.workspace))
        job = client.run(jobs.get(settings.workspace, name))
        report = client.run(reports.read(settings.workspace, job, plane))
        if report.unread:
            raise UnavailableError(f"Look what became of job {name}", message=" ".join(report.unread))
        uris = {**(self.result.get("outputs") or {}), **report.outputs}
        bounds = Bounds.parse(
            outputs=sorted(uris) if self.outputs is None else self.outputs,
            metrics=self.metrics,
            most_seconds=None if self.most_time is None else self.most_time.total_seconds(),
            most_cost=self.most_cost,
        )
        files = {each: OutputFiles(settings=settings, client=client, uri=str(uri)) for each, uri in uris.items() if uri}
        found = client.run(usage.read(settings.workspace, name, plane))
        seen = Seen(
            job=name,
            outputs={each: one.count() if each in bounds.outputs else None for each, one in files.items()},
            metrics={**(self.result.get("metrics") or {}), **report.metrics},
            seconds=found.seconds,
            cost=None if prices is None else cost_of(found.uses, prices),
        )
        return bounds, evolve(seen, tables=dict(_tables(files, tests)))


def _tables(files: Mapping[str, Any], tests: "Mapping[str, DataTests]") -> Iterator[tuple[str, Verdict]]:
    """Test tables, one by one.

    Raises:
        ConfigError: What tests them is not installed, or a table is too large.
    """
    for place, spec in tests.items():
        output, _, pattern = place.partition("/")
        if output not in files:
            yield place, _no(place, f"The job has no output {output}; it has {', '.join(sorted(files)) or 'none'}.")
            continue
        try:
            from airflow_azureml.quality.checks import run  # noqa: PLC0415  # only a worker has it
        except ImportError as error:
            raise ConfigError(
                f"Testing {place} needs polars: install airflow-provider-azureml[quality] where tasks run ({error})."
            ) from error
        tested = 0
        with tempfile.TemporaryDirectory() as scratch:
            for path, file in files[output].fetch(pattern, Path(scratch), most_bytes=MOST_BYTES):
                ending = FORMATS[Path(place).suffix.lower()]
                yield f"{output}/{path}", run(spec, file, format=ending, now=datetime.now(UTC))
                tested += 1
        if not tested:
            yield place, _no(place, f"Output {output} has no file {pattern}.")


def _no(place: str, reason: str) -> Verdict:
    finding = Finding(check="there is a table", passed=False, reason=reason, subject=place)
    return Verdict(subject=place, policy="data tests", findings=[finding])
