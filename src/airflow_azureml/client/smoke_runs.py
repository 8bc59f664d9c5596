"""Running a new deployment once, before it becomes the default; from a worker."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.jobs import Adopt, JobKey, JobSnapshot, Phase, Situation, StopFirst, Submit, plan
from airflow_azureml.core.pipelines import BatchEndpoint, Invocation, Target
from airflow_azureml.errors import ConfigError, JobError
from airflow_azureml.wire import datastores, endpoints, logs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.publication import Wanted, WantedDeployment
    from airflow_azureml.core.workspace import ConnectionSettings

log = logging.getLogger(__name__)

#: Where smoke runs read what the folder brings along, and write what they make.
STORE = "workspaceblobstore"
FOLDER = "airflow-azureml/publications"
_SINGLE = "uri_file"


@frozen(kw_only=True)
class Pending:
    """A smoke run that has not ended.

    Attributes:
        endpoint: Whose.
        job: Its job.
        timeout_s: How long it may take. Seconds.
    """

    endpoint: str
    job: JobSnapshot
    timeout_s: float


@define(kw_only=True)
class SmokeRuns:
    """The smoke runs of one publication. The job of a run is known by its key, whoever has started it.

    Args:
        client: Speaks with the workspace.
        settings: The connection.
        wanted: What is published.
        folder: Where its files are.
        owner: Whose the jobs are, as ``dag/run/task/map index/try``.
        marks: What else they are to say, among their properties.
    """

    client: "Client"
    settings: "ConnectionSettings"
    wanted: "Wanted"
    folder: Path
    owner: str
    marks: Mapping[str, str] = field(factory=dict)
    _passed: dict[str, JobSnapshot] = field(factory=dict, init=False)
    _targets: dict[str, Target] = field(factory=dict, init=False)

    def has_passed(self, endpoint: str) -> bool:
        """Tell whether the wanted deployment of an endpoint, which is there, has passed its run.

        Raises:
            RefusedError: We may not list the endpoint's jobs.
            UnavailableError: The service did not say; asking again is safe.
        """
        if endpoint not in self._passed:
            done = [job for job in self._jobs(endpoint) if job.phase is Phase.SUCCEEDED]
            if not done:
                return False
            self._passed[endpoint] = max(done, key=lambda job: job.attempt)
        return True

    def passed_job(self, endpoint: str) -> str:
        """Name the job of a run that has passed; empty where none is known."""
        job = self._passed.get(endpoint)
        return job.name if job else ""

    def start(self, endpoint: str) -> Pending | None:
        """Start a run, or find the one that goes on; None where those whose outputs it takes have not passed yet.

        Raises:
            ConfigError: What is passed does not fit the pipeline, or is not in the folder.
            RefusedError: The service refuses.
            UnavailableError: Nobody knows whether it was taken; whoever tries again looks first.
        """
        wanted = self.wanted.deployments[endpoint]
        if not all(self.has_passed(other) for other in wanted.smoke.after):
            return None
        match plan(self._jobs(endpoint), _key(wanted), Situation()):
            case Adopt(job=job) | StopFirst(job=job):
                log.info("Job %s (%s) is the smoke run of endpoint %s already", job.name, job.status, endpoint)
            case Submit(attempt=attempt):
                job = self._invoke(wanted, attempt)
                log.info("Job %s, the smoke run of endpoint %s, started: %s", job.name, wanted.address, job.studio_url)
            case _:
                raise AssertionError("a lasting key is never refused without if_exists")
        return Pending(endpoint=endpoint, job=job, timeout_s=wanted.smoke.timeout_s)

    def failure(self, endpoint: str, job: JobSnapshot) -> JobError:
        """Say why a run that has ended did not pass."""
        reason, last_words = self.client.run(logs.post_mortem(self.settings.workspace, job))
        for words in last_words:
            log.error("%s", words)
        deployment = self.wanted.deployments[endpoint].name
        return JobError(
            f"The smoke run of deployment {deployment} of endpoint {endpoint} ended as {job.status}:"
            f" {reason or 'nobody says why'} (job {job.name}, {job.studio_url}). No default deployment was switched."
        )

    def _jobs(self, endpoint: str) -> list[JobSnapshot]:
        wanted = self.wanted.deployments[endpoint]
        key = _key(wanted).digest
        found = self.client.run(endpoints.jobs_of(self.settings.workspace, self._target(wanted)))
        return [job for job in found if job.key == key]

    def _target(self, wanted: "WantedDeployment") -> Target:
        if wanted.endpoint not in self._targets:
            pipeline = BatchEndpoint(name=wanted.address, deployment=wanted.name)
            found = self.client.run(endpoints.describe(self.settings.workspace, pipeline))
            self._targets[wanted.endpoint] = found
        return self._targets[wanted.endpoint]

    def _invoke(self, wanted: "WantedDeployment", attempt: int) -> JobSnapshot:
        target = self._target(wanted)
        made = {
            other: self._outputs(self.wanted.deployments[other], self._passed[other].attempt)
            for other in wanted.smoke.after
        }
        inputs = wanted.smoke.filled(data=self.wanted.environment.data, uploaded=self._uploaded(wanted), made=made)
        workspace = self.settings.workspace
        invocation = Invocation.bind(
            target.interface,
            inputs=inputs,
            outputs=self._outputs(wanted, attempt),
            assets=workspace.arm_id,
            pipeline=f"{wanted.address}/{wanted.name}",
        )
        submission = endpoints.Submission(
            key=_key(wanted), attempt=attempt, owner=self.owner, invocation=invocation, besides=self.marks
        )
        return self.client.run(endpoints.invoke(workspace, target, submission))

    def _outputs(self, wanted: "WantedDeployment", attempt: int) -> dict[str, str]:
        """Say where a run writes: each attempt into folders of its own."""
        at = self._uri(f"smoke/{wanted.endpoint}/{wanted.name}/{attempt}")
        return {
            name: f"{at}/{name}" if kind == _SINGLE else f"{at}/{name}/" for name, kind in wanted.smoke.outputs.items()
        }

    def _uri(self, path: str) -> str:
        return f"azureml://datastores/{STORE}/paths/{FOLDER}/{self._own}/{path}"

    @property
    def _own(self) -> str:
        return f"{self.wanted.bundle.name}/{self.wanted.source.version}"

    def _uploaded(self, wanted: "WantedDeployment") -> Mapping[str, str]:
        """Put what a run reads of the folder into the workspace; what is there already is of the same commit."""
        if not wanted.smoke.paths:
            return {}
        store = self.client.run(datastores.named(self.settings.workspace, STORE))
        url = f"{store.container_url(self.settings.addresses.storage)}/"
        uris = {}
        with emulator_in_reach(self.settings), BlobFolder(self.settings, url) as blobs:
            for path in wanted.smoke.paths:
                source = self.folder / path
                if not source.exists():
                    raise ConfigError(
                        f"The smoke run of {wanted.endpoint} reads ./{path}, and it is not in the folder."
                    )
                files = [source] if source.is_file() else sorted(each for each in source.rglob("*") if each.is_file())
                for file in files:
                    blobs.put(f"{FOLDER}/{self._own}/files/{file.relative_to(self.folder).as_posix()}", file)
                uris[path] = self._uri(f"files/{path}") + ("" if source.is_file() else "/")
        return uris


def _key(wanted: "WantedDeployment") -> JobKey:
    """Name the run of a deployment: its name and its tags say of what it is made."""
    return JobKey.given("publication", wanted.endpoint, f"{wanted.name}/{sorted(wanted.tags.items())}")
