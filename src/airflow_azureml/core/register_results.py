"""What registering takes from a finished pipeline, and what it leaves in XCom and in an asset's event."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from attrs import evolve, field, frozen

from airflow_azureml.core.models import Coronation, Registration, Stage
from airflow_azureml.core.workspace import ConnectionSettings, is_loopback
from airflow_azureml.errors import ConfigError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: The output that holds a pipeline's evaluation.
EVALUATION = "evaluation"


@frozen(kw_only=True)
class JobOutput:
    """An output of a completed pipeline, as `AzureMLPipelineOperator` told of it.

    Attributes:
        uri: Where it is.
        pipeline: What ran it, for people.
        evaluation: The URI of the evaluation; empty where there is none.
        metrics: The job's own metrics.
    """

    job: str
    uri: str
    pipeline: str = ""
    evaluation: str = ""
    metrics: Mapping[str, float] = field(factory=dict)

    @classmethod
    def of_result(cls, raw: Any, output: str) -> Self:
        """Read what the task of the pipeline returned.

        Raises:
            ConfigError: It is no such result, its job is not completed, or it has no such output.
        """
        if not isinstance(raw, Mapping) or not raw.get("job"):
            raise ConfigError(
                f"result is {raw!r:.200}; give what the task of the training pipeline returned, as an object:"
                " TASK.output in Python, or a template with render_template_as_native_obj."
            )
        job, status = str(raw["job"]), str(raw.get("status") or "of no status")
        if status != "Completed":
            raise ConfigError(f"Job {job} is {status}; only what a completed job made is registered.")
        found = raw.get("outputs")
        outputs = {str(name): str(uri or "") for name, uri in found.items()} if isinstance(found, Mapping) else {}
        if not outputs.get(output):
            more = " (some were left out of the result, for its size)" if raw.get("left_out") else ""
            raise ConfigError(
                f"Job {job} has no output {output!r}; it has {', '.join(sorted(outputs)) or 'none'}{more}."
            )
        measured = raw.get("metrics")
        return cls(
            job=job,
            uri=outputs[output],
            pipeline=str(raw.get("pipeline") or ""),
            evaluation=outputs.get(EVALUATION, ""),
            metrics=_numbers(measured) if isinstance(measured, Mapping) else {},
        )


@frozen(kw_only=True)
class RegisterResult:
    """What came of registering a model.

    Attributes:
        uri: Where the version's files are.
        coronation: What came of crowning it; None where it was not to be the champion.
        shared: Its id in the registry; empty where it was not shared.
    """

    registration: Registration
    version: str
    uri: str
    coronation: Coronation | None = None
    shared: str = ""

    @property
    def became(self) -> bool:
        """Whether it is what it was to become: the champion, or a version."""
        return self.coronation is None or self.coronation.crowned

    @property
    def stage(self) -> Stage:
        """What it is."""
        if self.coronation is None:
            return Stage.CHALLENGER
        return self.coronation.register.stage_of(self.version)

    def after(self, coronation: Coronation) -> Self:
        """Return the same after it was crowned, or was not."""
        return evolve(self, coronation=coronation)

    def shared_as(self, asset_id: str) -> Self:
        """Return the same after it was shared."""
        return evolve(self, shared=asset_id)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it: ``schema``, ``model``, ``version``, ``stage`` (``champion``, ``challenger`` or
        ``retired``), ``champion`` (the version that is it now, or an empty text), ``reason`` (why this one is not),
        ``asset`` (``azureml:MODEL:VERSION``), ``uri``, ``job``, ``output``, ``digest``, ``registered_in`` (its id in
        the registry it is shared with, or an empty text).
        """  # noqa: D205  # the list of fields is the sentence
        crowned = self.coronation
        return {
            "schema": SCHEMA,
            "model": self.registration.model,
            "version": self.version,
            "stage": self.stage.value,
            "champion": crowned.register.champion if crowned else "",
            "reason": crowned.reason if crowned else "",
            "asset": f"azureml:{self.registration.model}:{self.version}",
            "uri": self.uri,
            "job": self.registration.job,
            "output": self.registration.output,
            "digest": self.digest,
            "registered_in": self.shared,
        }

    def to_event(self) -> dict[str, Any]:
        """Write what an event of the asset tells: ``model``, ``version``, ``stage``, ``job``, ``digest``."""
        told = self.to_wire()
        return {name: told[name] for name in ("model", "version", "stage", "job", "digest")}

    @property
    def digest(self) -> str:
        """What identifies the model's content, as its evaluation tells it; what identifies the registration else."""
        return self.registration.lineage.evaluated.model_sha256 or self.registration.key

    def page(self, settings: ConnectionSettings) -> str:
        """Name its page in the studio; empty for an emulator, which has none."""
        workspace = settings.workspace
        if is_loopback(workspace.endpoint):
            return ""
        name = quote(f"{self.registration.model}:{self.version}", safe=":")
        where = quote(workspace.arm_id, safe="/")
        return f"{settings.addresses.machine_learning}/model/{name}/details?wsid={where}"


def is_told(extra: Any, told: RegisterResult) -> bool:
    """Tell whether an event's extra is of this version, at the stage that it has now."""
    event = told.to_event()
    return isinstance(extra, Mapping) and all(extra.get(name) == event[name] for name in ("model", "version", "stage"))


def _numbers(raw: Mapping[Any, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in raw.items() if type(value) in (int, float)}
