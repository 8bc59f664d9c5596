"""The folder of an evaluation: what a pipeline wrote there is read, and the gate's verdict is written beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from airflow_azureml.client.small_files import read_small
from airflow_azureml.client.versions import GoneError, download, version_now, write_blob
from airflow_azureml.core.evaluation import MOST_BYTES, Evaluation, Losses
from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.workspace import ConnectionSettings

#: The document in the folder.
EVALUATION = "evaluation.json"
#: The largest file of losses that is read. Bytes.
MOST_LOSSES = 1 << 30


class EvaluationFolder:
    """One folder, in a datastore of the connection's workspace.

    Args:
        client: Asks Azure ML where datastores are.
        settings: The connection whose identity reads and writes.
        uri: ``azureml://…/datastores/NAME/paths/FOLDER``.
    """

    def __init__(self, client: "Client", settings: "ConnectionSettings", uri: str) -> None:
        self._client = client
        self._settings = settings
        self.uri = uri.rstrip("/")

    def read(self) -> Evaluation:
        """Read the evaluation; one that is not there, or that cannot be read, is one with faults.

        Raises:
            ConfigError: The URI is none of this workspace's datastores.
            RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
            UnavailableError: Nobody knows whether it is there; trying again later may work.
        """
        try:
            content = read_small(self._settings, self._address(EVALUATION), most_bytes=MOST_BYTES)
        except ProtocolError as error:
            return Evaluation.missing(f"{error}.")
        if content is None:
            return Evaluation.missing(f"There is no {EVALUATION} in {self.uri}: let the pipeline write it there.")
        if not content.strip():
            return Evaluation.missing(f"{self.uri}/{EVALUATION} is empty: the pipeline began to write it, and did not.")
        return Evaluation.parse(content)

    def read_losses(self, losses: Losses, scratch: Path) -> Path:
        """Read the losses of single rows into a folder, some megabytes at a time; return the file.

        Raises:
            ProtocolError: The file is not there, or is too large.
            ConfigError: The disk of this worker has no room for it.
            NotReadyError: It was replaced meanwhile; trying again is safe.
            RefusedError: The identity may not read it.
            UnavailableError: Storage does not answer; trying again later may work.
        """
        url = self._address(losses.path)
        file = scratch / f"losses{Path(losses.path).suffix.lower()}"
        try:
            head = version_now(self._settings, url)
            if head.size_bytes > MOST_LOSSES:
                raise ProtocolError(
                    f"The losses {self.uri}/{losses.path} have {head.size_bytes} bytes, and {MOST_LOSSES} are the most."
                )
            download(self._settings, url, file, etag=head.etag)
        except GoneError as error:
            raise ProtocolError(
                f"The evaluation names losses in {losses.path}, and there is no such file in {self.uri}."
            ) from error
        return file

    def write(self, name: str, content: bytes) -> str:
        """Write a small file into the folder, over what is there; return its URI.

        Raises:
            ConfigError: The URI is none of this workspace's datastores.
            RefusedError: The identity may not write there; it needs the role Storage Blob Data Contributor.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        write_blob(self._settings, self._address(name), content)
        return f"{self.uri}/{name}"

    def _address(self, name: str) -> str:
        workspace, domain = self._settings.workspace, self._settings.addresses.storage
        return self._client.run(outputs.blob_url(workspace, f"{self.uri}/{name}", domain=domain))
