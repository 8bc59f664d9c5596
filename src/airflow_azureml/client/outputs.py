"""The tables in a job's output, fetched to a worker's disk."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.data_tests import Format
from airflow_azureml.errors import ConfigError, NotReadyError
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.workspace import ConnectionSettings

#: Bytes of an output that are compared on a worker, at most.
MOST_BYTES = 2 << 30


def fetch_tables(client: "Client", settings: "ConnectionSettings", uri: str, to: Path) -> Sequence[tuple[Path, str]]:
    """Fetch the tables of an output: a file, or every file of a folder whose name says that it is one.

    Args:
        client: Asks Azure ML where datastores are.
        settings: The connection whose identity reads.
        uri: ``azureml://…/datastores/NAME/paths/PATH``.
        to: A folder that is there.

    Returns:
        Each with its format, in the order of their names.

    Raises:
        ConfigError: The URI is none of this workspace's datastores, or there is too much.
        NotReadyError: A file was replaced meanwhile.
        RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    workspace, domain = settings.workspace, settings.addresses.storage
    address = client.run(outputs.blob_url(workspace, uri.rstrip("/"), domain=domain))
    parent, _, quoted = address.rpartition("/")
    last = unquote(quoted)
    found: list[tuple[Path, str]] = []
    with emulator_in_reach(settings), BlobFolder(settings, f"{parent}/") as folder:
        root = f"{folder.path}{last}"
        files = [each for each in folder.files(last) if each.path == root or each.path.startswith(f"{root}/")]
        tables = sorted((each for each in files if _format(each.path)), key=lambda each: each.path)
        size = sum(each.size_bytes for each in tables)
        if size > MOST_BYTES:
            raise ConfigError(f"Output {uri} has {size} bytes of tables, and {MOST_BYTES} are the most to compare.")
        for number, each in enumerate(tables):
            file = to / f"{number}{PurePosixPath(each.path).suffix}"
            if not folder.fetch(each.path, file, etag=each.etag):
                raise NotReadyError(f"{each.path} of output {uri} was replaced meanwhile; a retry reads it anew.")
            found.append((file, _format(each.path)))
    return found


def _format(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower().removeprefix(".")
    return suffix if suffix in set(Format) else ""
