"""What a finished pipeline leaves in XCom."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.reports import Report, fit
from airflow_azureml.errors import ConfigError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: A result is small, so that XCom stays a table and does not become a store. Bytes of its JSON.
MOST_BYTES = 4096


@frozen(kw_only=True)
class PipelineResult:
    """A finished pipeline, as its XCom shows it.

    Attributes:
        key: The idempotency key it was submitted with.
        pipeline: What ran it, for people.
        asked: The URI of each output that was asked for.
        report: What became of the job.
    """

    job: JobSnapshot
    pipeline: str
    key: str
    asked: Mapping[str, str] = field(factory=dict)
    report: Report = field(factory=Report)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it: ``schema``, ``job``, ``status``, ``pipeline``, ``attempt``, ``key``,
        ``outputs``, ``steps``, ``metrics``, ``left_out``, ``url``.
        """  # noqa: D205  # the list of fields is the sentence
        result = {
            "schema": SCHEMA,
            "job": self.job.name,
            "status": self.job.status,
            "pipeline": self.pipeline,
            "attempt": self.job.attempt,
            "key": self.key,
            "outputs": {**self.report.outputs, **self.asked},
            "steps": [step.to_wire() for step in self.report.steps],
            "metrics": dict(self.report.metrics),
            "url": self.job.studio_url,
        }
        return fit(result, MOST_BYTES, kept_outputs=self.asked)


def check_outputs_fit(outputs: Mapping[str, str]) -> None:
    """Refuse outputs whose URIs would not fit into a result, before anything is submitted.

    Raises:
        ConfigError: Together they are longer than half of what a result may be.
    """
    written = sum(len(name.encode()) + len(uri.encode()) + 8 for name, uri in outputs.items())
    if written > MOST_BYTES // 2:
        raise ConfigError(
            f"The outputs' URIs are {written} bytes together; a result in XCom has room for {MOST_BYTES // 2}."
        )
