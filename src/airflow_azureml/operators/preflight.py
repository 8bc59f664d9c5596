"""Looking, in a worker, for what a job needs, before it is submitted."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from airflow_azureml.core.jobs import JobKey, JobSnapshot
from airflow_azureml.core.needs import Needs, Passed
from airflow_azureml.core.pipelines import URI_TYPES, BatchEndpoint, Pipeline, PipelineComponent
from airflow_azureml.core.plain import AnyPipeline
from airflow_azureml.core.preflight import Finding, Gravity, error_of
from airflow_azureml.core.published import PipelineEndpoint, PublishedPipeline
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, RefusedError
from airflow_azureml.operators.start import Backend, Try
from airflow_azureml.wire import preflight as wire
from airflow_azureml.wire.http import NOT_FOUND
from airflow_azureml.wire.stores import Place

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.operators.backends import Order

log = logging.getLogger(__name__)

_FORBIDDEN = 403
#: Storage that lets nobody in from here, whatever the right. Source: Azure Storage, "Common REST API error codes".
_NETWORK = frozenset({"AuthorizationFailure", "PublicNetworkAccessDisabled"})

#: What a job needs, and what was found out while that was read.
Asked = Callable[[], tuple[Needs, Sequence[Finding]]]


@frozen(kw_only=True)
class Preflight:
    """Looks for what one job needs.

    Attributes:
        subject: What to call the job in messages.
        needs: Finds out what it needs, when it is time.
    """

    client: "Client"
    settings: ConnectionSettings
    subject: str
    needs: Asked

    def check(self) -> None:
        """Look at everything, and complain once; what could not be looked at is one warning in the log.

        Raises:
            ConfigError: Something is missing or wrong that no retry brings.
            NotReadyError: What is missing may come.
        """
        needs, findings = self.needs()
        domain = self.settings.addresses.storage
        seen = self.client.run(wire.look(self.settings.workspace, needs, domain=domain))
        everything = [*findings, *seen.findings, *_looked(self.settings, seen.places)]
        unknown = [each.sentence for each in everything if each.gravity is Gravity.UNKNOWN]
        if unknown:
            log.warning("The preflight of %s could not tell everything: %s", self.subject, " ".join(unknown))
        error = error_of(self.subject, everything)
        if error is not None:
            raise error
        log.info("The preflight of %s found nothing wrong", self.subject)


@frozen(kw_only=True)
class PreflightBackend:
    """A back end that looks for what its job needs just before it submits one; it adopts without looking."""

    backend: Backend
    preflight: Preflight

    def check(self) -> None:
        """Find out whatever is wrong with what is passed."""
        self.backend.check()

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look for the jobs that carry a key."""
        return self.backend.find(key)

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Look, and start a job."""
        self.preflight.check()
        return self.backend.submit(this, attempt)


def looking_first(
    backend: Backend, client: "Client", settings: ConnectionSettings, *, pipeline: AnyPipeline, order: "Order"
) -> Backend:
    """Let the back end of a published pipeline look first; one of a job of azure-ai-ml's does so by itself."""
    if isinstance(pipeline, BatchEndpoint | PipelineComponent | PublishedPipeline | PipelineEndpoint):
        return PreflightBackend(backend=backend, preflight=of_pipeline(client, settings, pipeline, order))
    return backend


def of_pipeline(client: "Client", settings: ConnectionSettings, pipeline: Pipeline, order: "Order") -> Preflight:
    """Make the preflight of a published pipeline."""

    def _needs() -> tuple[Needs, Sequence[Finding]]:
        if not isinstance(pipeline, BatchEndpoint | PipelineComponent):
            told = f"What the steps of {pipeline} run on cannot be read beforehand."
            return Needs(), [Finding(Gravity.UNKNOWN, told)]
        needs, found = client.run(wire.of_pipeline(settings.workspace, pipeline, settings=order.settings))
        inputs = _uris(order.passed.values, types={name: one.type for name, one in needs.inputs.items()})
        return evolve(needs, inputs=inputs, outputs=_uris(order.outputs, types={})), found

    return Preflight(client=client, settings=settings, subject=str(pipeline), needs=_needs)


def of_job(client: "Client", settings: ConnectionSettings, job: Any) -> Preflight:
    """Make the preflight of a job of azure-ai-ml that is ready to be submitted."""

    def _needs() -> tuple[Needs, Sequence[Finding]]:
        from airflow_azureml.client.sdk_needs import needs_of_job  # noqa: PLC0415  # not when a DAG is parsed

        return needs_of_job(job), ()

    subject = str(getattr(job, "display_name", "") or getattr(job, "experiment_name", "") or "the job")
    return Preflight(client=client, settings=settings, subject=f"job {subject!r}", needs=_needs)


def _uris(values: Mapping[str, Any], *, types: Mapping[str, str]) -> dict[str, Passed]:
    """Keep what is a URI: what is declared as one, or where nothing is known of it, what looks like one."""
    found = {}
    for name, value in values.items():
        uri = value.get("uri") if isinstance(value, Mapping) else value
        kind = types.get(name, "")
        is_uri = kind in URI_TYPES or (not kind and isinstance(uri, str) and "://" in uri)
        if is_uri and isinstance(uri, str):
            found[name] = Passed(uri=uri, type=kind)
    return found


def _looked(settings: ConnectionSettings, places: Sequence[Place]) -> Iterator[Finding]:
    """Really look at each input, with the connection's identity."""
    if not places:
        return
    from airflow_azureml.client.containers import is_there  # noqa: PLC0415  # not when a DAG is parsed
    from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # as above

    with emulator_in_reach(settings):
        for place in places:
            try:
                there = is_there(settings, place.url)
            except AzureMLError as error:
                yield _judged(place, error)
            else:
                if not there:
                    yield Finding(Gravity.WRONG, f"{place.what}: there is nothing; look at the path.")


def _judged(place: Place, error: AzureMLError) -> Finding:
    """Say what it means that an input could not be looked at."""
    if isinstance(error, RefusedError) and error.status == NOT_FOUND:
        return Finding(Gravity.WRONG, f"{place.what}: there is no such container; look at the path.")
    forbidden = isinstance(error, RefusedError) and error.status == _FORBIDDEN and error.code not in _NETWORK
    if forbidden and not place.keeps_credentials:
        return Finding(
            Gravity.WRONG,
            f"{place.what} may not be read by this identity: {error}. The role Storage Blob Data Reader on the storage"
            " account has the right.",
        )
    return Finding(Gravity.UNKNOWN, f"{place.what} could not be looked at: {error}.")
