"""Keeping evidence beside the job: signed documents in the workspace's blob store, and tags that name them."""

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define, evolve, frozen

from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.client.register_store import BlobShelf, Shelf
from airflow_azureml.core.evidence import (
    DIGEST_TAG,
    MOST_BYTES,
    URI_TAG,
    Demand,
    Evidence,
    Signed,
    document_of,
    folder_of,
    is_environment_name,
    is_sha,
)
from airflow_azureml.core.places import in_datastore
from airflow_azureml.errors import (
    ConfigError,
    EvidenceAlteredError,
    EvidenceError,
    EvidenceKeyError,
    EvidenceMismatchError,
    EvidenceMissingError,
)
from airflow_azureml.wire import datastores, models, tags, workspaces

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.signatures import Keys
    from airflow_azureml.core.environments import RequiredEvidence
    from airflow_azureml.core.publication import Source
    from airflow_azureml.core.workspace import ConnectionSettings

log = logging.getLogger(__name__)

#: Where evidence is kept, unless told otherwise: in the datastore that every workspace has.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/evidence/"
#: Documents of one commit in one environment that are read; whoever has more has another trouble.
MOST_DOCUMENTS = 200


@frozen(kw_only=True)
class Stored:
    """Evidence that was verified.

    Attributes:
        uri: Where it is kept.
        signer: What its key is called here.
    """

    evidence: Evidence
    uri: str
    signer: str


@define(kw_only=True)
class Evidences:
    """The evidence in a workspace, from a worker; see `open_evidences`.

    All verbs raise `RefusedError` or `UnavailableError` when the workspace or its storage says no or nothing.

    Attributes:
        settings: The connection.
        client: Speaks with the workspace.
        shelf: Where the documents are.
        blobs: The same, to be listed.
        folder: Its URI, with a slash at its end.
        keys: Sign and verify.
    """

    settings: "ConnectionSettings"
    client: "Client"
    shelf: Shelf
    blobs: BlobFolder
    folder: str
    keys: "Keys"

    def write(self, evidence: Evidence) -> Stored:
        """Sign evidence and keep it; evidence that is the newest, but for when it ended, is not kept a second time.

        Raises:
            ConfigError: Something of it is wrong, it is too large, or there is no private key.
            EvidenceError: What is kept beside it or in its place cannot be believed.
        """
        if wrong := "; ".join(evidence.faults()):
            raise ConfigError(f"Evidence of commit {evidence.sha!r:.80}: {wrong}.")
        text, name = self.keys.sign(evidence).to_text(), document_of(evidence)
        if len(text.encode()) > MOST_BYTES:
            raise ConfigError(f"Evidence of commit {evidence.sha} has more than {MOST_BYTES} bytes: record less.")
        before = self.find(evidence.sha, evidence.environment)
        if before is not None and evolve(before.evidence, ended=evidence.ended) == evidence:
            return before
        self.shelf.write(name, text)
        stored = self._read(name)
        if stored.evidence != evidence:
            raise EvidenceMismatchError(f"{stored.uri} has other evidence than its name says.")
        return stored

    def mark(self, stored: Stored) -> None:
        """Let the job and the model version of some evidence name it, by tags.

        Raises:
            RefusedError: There is no such job, or the identity may not tag it.
            ConfigError: There is no such model version.
        """
        evidence, workspace = stored.evidence, self.settings.workspace
        told = {URI_TAG: stored.uri, DIGEST_TAG: evidence.digest}
        if evidence.job:
            plane = self.client.run(workspaces.data_plane(workspace))
            for name, value in told.items():
                self.client.run(tags.put(workspace, evidence.job, plane, name=name, value=value))
        if evidence.model:
            model, _, version = evidence.model.rpartition(":")
            found = self.client.run(models.get(workspace, model, version)) if model and version else None
            if found is None:
                raise ConfigError(f"{evidence.model!r} is no version of a model of workspace {workspace.name}.")
            if any(found.tags.get(name) != value for name, value in told.items()):
                self.client.run(models.change(workspace, model, found, tags={**found.tags, **told}))

    def read(self, uri: str) -> Stored:
        """Read evidence by its URI, and verify it.

        Raises:
            EvidenceMissingError: It is not there.
            EvidenceAlteredError: It was written to since it was signed, or is none.
            EvidenceKeyError: It is signed with a key that is not trusted.
            EvidenceMismatchError: The place is of another commit, environment or evidence than what is kept there.
            ConfigError: It is no URI below the folder.
        """
        if not uri.startswith(self.folder):
            raise ConfigError(f"{uri!r:.300} is no evidence in {self.folder}.")
        return self._read(uri.removeprefix(self.folder))

    def find(self, sha: str, environment: str) -> Stored | None:
        """Find the newest evidence of a commit in an environment, whatever it says; None where there is none.

        Evidence of keys that are not trusted counts as none, and the log says so.

        Raises:
            EvidenceAlteredError: A document was written to since it was signed: then nothing there is believed.
            EvidenceMismatchError: A document is in the place of another.
        """
        with contextlib.suppress(EvidenceKeyError):
            return self._newest(sha, environment)
        return None

    def require(self, demand: Demand, *, now: datetime) -> Stored:
        """Find the newest evidence, and see that it proves what is asked.

        Args:
            demand: What must be proved.
            now: With its zone.

        Raises:
            EvidenceError: It does not; the class says why.
        """
        found = self._newest(demand.sha, demand.environment)
        if found is None:
            raise EvidenceMissingError(
                f"There is no evidence of commit {demand.sha} in environment {demand.environment}, in {self.folder}:"
                " run it there first, and nothing is done until it has passed."
            )
        try:
            demand.check(found.evidence, now=now)
        except EvidenceError as error:
            raise type(error)(f"{error} [{found.uri}]") from error
        return found

    def _newest(self, sha: str, environment: str) -> Stored | None:
        """Find it; where there is none but of keys that are not trusted, that is an error."""
        found: list[Stored] = []
        strange: EvidenceKeyError | None = None
        for name in self._names(sha, environment):
            try:
                found.append(self._read(name))
            except EvidenceKeyError as error:
                log.warning("%s%s is not counted: %s", self.folder, name, error)
                strange = error
        if not found and strange is not None:
            raise strange
        return max(found, key=lambda each: each.evidence.order, default=None)

    def _names(self, sha: str, environment: str) -> list[str]:
        if not is_sha(sha) or not is_environment_name(environment):
            raise ConfigError(
                f"Evidence of {sha!r:.80} in {environment!r:.80}: give a commit's 40 digits and an environment's name."
            )
        below = folder_of(environment, sha)
        names = [each.path[len(self.blobs.path) :] for each in self.blobs.files(below) if each.path.endswith(".json")]
        if len(names) > MOST_DOCUMENTS:
            raise ConfigError(f"{self.folder}{below} has {len(names)} documents; {MOST_DOCUMENTS} are the most.")
        return names

    def _read(self, name: str) -> Stored:
        document, uri = self.shelf.read(name), f"{self.folder}{name}"
        if document is None:
            raise EvidenceMissingError(f"{uri} is not there.")
        if len(document.text) > MOST_BYTES:
            raise EvidenceAlteredError(f"{uri} has more than {MOST_BYTES} bytes, which no evidence has.")
        try:
            signed = Signed.from_text(document.text)
            signer = self.keys.verify(signed)
        except EvidenceError as error:
            raise type(error)(f"{uri}: {error}") from error
        if document_of(signed.evidence) != name:
            raise EvidenceMismatchError(
                f"{uri} has the evidence of commit {signed.evidence.sha} in environment {signed.evidence.environment},"
                f" whose place is {document_of(signed.evidence)}: somebody has put it there."
            )
        return Stored(evidence=signed.evidence, uri=uri, signer=signer)


def see_proved(
    required: "RequiredEvidence", source: "Source", *, settings: "ConnectionSettings", keys: "Keys", now: datetime
) -> Stored:
    """See that the evidence is there without which a commit is not published; nothing is changed.

    Args:
        required: What must be proved.
        source: What is to be published.
        settings: The connection of the workspace where it ran.
        keys: Verify.
        now: With its zone.

    Raises:
        EvidenceError: It is not, or does not prove it; the class says why.
    """
    if source.dirt:
        raise EvidenceMissingError(
            f"What is on the disk differs from commit {source.sha}, and there is evidence of commits alone: commit it,"
            f" and run it in environment {required.environment} first. Nothing was published."
        )
    demand = Demand(
        environment=required.environment,
        sha=source.sha,
        most_age=required.most_age,
        approved=required.approved,
        workspace=settings.workspace.arm_id,
    )
    with open_evidences(settings, keys, folder=required.folder or FOLDER) as evidences:
        return evidences.require(demand, now=now)


@contextlib.contextmanager
def open_evidences(settings: "ConnectionSettings", keys: "Keys", *, folder: str = FOLDER) -> Iterator[Evidences]:
    """Open the evidence of a connection's workspace, from a worker.

    Args:
        settings: The connection; whoever records needs the role Storage Blob Data Contributor there.
        keys: Sign and verify.
        folder: Where evidence is kept, ``azureml://datastores/NAME/paths/FOLDER/``; all must name the same.

    Raises:
        ConfigError: The folder is none of a datastore of blobs.
    """
    from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # not when a DAG is parsed
    from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # as above

    place = in_datastore(folder)
    if place is None or not place.path or place.workspace not in {"", settings.workspace.name.lower()}:
        raise ConfigError(f"folder is {folder!r}; it must be a folder azureml://datastores/NAME/paths/FOLDER/.")
    inside = f"{place.path.rstrip('/')}/"
    with contextlib.ExitStack() as opened:
        opened.enter_context(emulator_in_reach(settings))
        client = opened.enter_context(Client(settings))
        store = client.run(datastores.named(settings.workspace, place.name))
        container = store.container_url(settings.addresses.storage)
        yield Evidences(
            settings=settings,
            client=client,
            shelf=opened.enter_context(BlobShelf(settings, container, folder=inside)),
            blobs=opened.enter_context(BlobFolder(settings, f"{container}/{quote(inside)}")),
            folder=f"{folder.rstrip('/')}/",
            keys=keys,
        )
