"""The files of a job's output, from a worker: how many there are, and a copy of one."""

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.core.scoring_logs import Segment
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.workspace import ConnectionSettings

#: Files of an output that are counted; more are not looked at.
MOST_FILES = 10_000


@frozen(kw_only=True)
class OutputFiles:
    """The files of one output: all below its folder, or the one that it is.

    Use it within `airflow_azureml.client.sdk.emulator_in_reach`.

    Attributes:
        settings: The connection whose identity reads.
        client: Asks Azure ML where datastores are.
        uri: ``azureml://…/datastores/NAME/paths/PATH``, with a slash at its end or without.
    """

    settings: "ConnectionSettings"
    client: "Client" = field(repr=False)
    uri: str

    def count(self) -> tuple[int, int]:
        """Count the files and their bytes.

        Raises:
            ConfigError: The URI is of no datastore of the workspace.
            RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
            UnavailableError: Storage does not answer; trying again later may work.
        """
        with self._folder() as folder:
            found = [each.size_bytes for each in self._files(folder)]
        return len(found), sum(found)

    def fetch(self, pattern: str, into: Path, *, most_bytes: int) -> Iterator[tuple[str, Path]]:
        """Fetch the files whose path below the output fits a pattern, one by one; a star stands for anything.

        Args:
            pattern: Such as ``part-*.csv``; empty for the output that is a file itself.
            into: A folder; each file is deleted when the next one is asked for.
            most_bytes: The largest file that is fetched.

        Yields:
            Its path below the output, and where it is.

        Raises:
            ConfigError: A file is larger.
            RefusedError: As `count`.
            UnavailableError: Likewise.
        """
        with self._folder() as folder:
            for each in self._files(folder):
                path = each.path[len(folder.path) :].removeprefix(self._own.rpartition("/")[2]).lstrip("/")
                if not fnmatch.fnmatchcase(path, pattern):
                    continue
                if each.size_bytes > most_bytes:
                    raise ConfigError(f"{self.uri} has {path} with {each.size_bytes} bytes; {most_bytes} are tested.")
                file = into / Path(each.path).name
                folder.fetch(each.path, file)
                yield path, file
                file.unlink(missing_ok=True)

    @property
    def _own(self) -> str:
        return "" if self.uri.endswith("/") else self.uri

    def _folder(self) -> BlobFolder:
        """Open the folder, or the one that the file is in."""
        workspace, domain = self.settings.workspace, self.settings.addresses.storage
        url = self.client.run(outputs.blob_url(workspace, self.uri, domain=domain))
        return BlobFolder(self.settings, url if url.endswith("/") else f"{url.rpartition('/')[0]}/")

    def _files(self, folder: BlobFolder) -> Iterator[Segment]:
        """List the files: of a name without a slash those that are it, or are below it."""
        name = self._own.rpartition("/")[2]
        whole = f"{folder.path}{name}"
        for number, each in enumerate(folder.files(name)):
            if number >= MOST_FILES:
                return
            if not name or each.path == whole or each.path.startswith(f"{whole}/"):
                yield each
