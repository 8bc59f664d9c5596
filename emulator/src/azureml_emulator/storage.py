"""Blobs as jobs see them: which blob a URI means, and moving files between blobs and folders."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ExponentialRetry

from azureml_emulator.names import WorkspaceName
from azureml_emulator.settings import Settings
from azureml_emulator.store import Store

#: One that an Azurite without --skipApiVersionCheck knows.
API_VERSION = "2024-11-04"
SAS_LIFETIME = timedelta(days=1)
#: How many blobs of one folder move at a time.
PARALLEL = 8
#: Azure's own bound for one append is 4 MiB (100 MiB since 2022-11-02); Azurite keeps to the former.
APPEND_BYTES = 4 * 1024 * 1024
#: An asset may be a job's output, which is a datastore path: more than a few hops are a circle.
HOPS = 5

_ANY_DATASTORE = re.compile(
    r"azureml://(?:(?P<workspace>subscriptions/[^/]+/resourcegroups/[^/]+(?:/providers/[^/]+)?/workspaces/[^/]+)/)?"
    r"datastores/(?P<datastore>[^/]+)(?:/paths/(?P<path>.*))?",
    re.IGNORECASE,
)
_JOB_OUTPUT = re.compile(r"azureml://jobs/(?P<run>[^/]+)/outputs/(?P<output>[^/]+)(?:/(?:paths/)?(?P<path>.*))?")
_ASSET = re.compile(r"azureml:(?P<name>[A-Za-z0-9_.-]+)(?P<by>[:@])(?P<version>[^/:@]+)")


class StorageError(Exception):
    """A URI means nothing here, or there is no blob behind it; the message says which and what to do."""


@attrs.frozen
class BlobPlace:
    """A blob, or a folder of blobs; ``path`` has no leading slash and ends in one only where the URI did."""

    container: str
    path: str

    def __str__(self) -> str:
        return f"{self.container}/{self.path}"

    def __truediv__(self, name: str) -> BlobPlace:
        return BlobPlace(self.container, f"{self.path.rstrip('/')}/{name}".lstrip("/"))


def long_uri(uri: str, workspace: str) -> str:
    """Name the workspace in a short datastore URI; other URIs stay as they are.

    Args:
        uri: Any URI.
        workspace: The workspace's ARM id.
    """
    short = "azureml://datastores/"
    if not uri.startswith(short):
        return uri
    return f"azureml://{WorkspaceName.of_arm_id(workspace).short}/datastores/{uri.removeprefix(short)}"


class Storage:
    """Azurite, by the account key; connections are opened on first use and belong to one event loop."""

    def __init__(self, store: Store, settings: Settings, *, blob_url: str | None = None) -> None:
        """Know where blobs are.

        Args:
            store: Holds datastores, assets and runs.
            settings: The account and where Azurite is.
            blob_url: The blob service to use instead of Azurite itself, e.g. the proxy that tells of new blobs.
        """
        self._store = store
        self._settings = settings
        self._url = f"{blob_url or settings.azurite_blob}/{settings.account}"
        self._client: BlobServiceClient | None = None

    @property
    def _service(self) -> BlobServiceClient:
        if self._client is None:
            self._client = BlobServiceClient(
                self._url,
                credential={"account_name": self._settings.account, "account_key": self._settings.account_key},
                api_version=API_VERSION,
                retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2),
            )
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ensure_container(self, name: str) -> None:
        """Create a container unless it is there."""
        try:
            await self._service.create_container(name)
        except ResourceExistsError:
            return

    def sas(self, container: str) -> str:
        """Sign a token (a query string) for reading, writing and listing one container, good for a day."""
        now = datetime.now(UTC)
        return generate_container_sas(
            self._settings.account,
            container,
            self._settings.account_key,
            permission=ContainerSasPermissions(read=True, write=True, list=True, create=True, add=True, delete=True),
            start=now - timedelta(minutes=5),
            expiry=now + SAS_LIFETIME,
        )

    # which blob a URI means

    def resolve(self, uri: str, workspace: str) -> BlobPlace:
        """Find the blob or folder that a URI means.

        Args:
            uri: ``azureml://datastores/…/paths/…`` or its long form, ``azureml://jobs/…/outputs/…``, a blob's https
                or http address, or an ARM id, ``azureml://registries/…/versions/…``, ``azureml:NAME:VERSION`` or
                ``azureml:NAME@latest`` of a data asset or model.
            workspace: The ARM id of the workspace in which short forms are looked up.

        Raises:
            StorageError: It means nothing here.
        """
        hop = uri
        for _ in range(HOPS):
            found = self._step(hop, workspace)
            if isinstance(found, BlobPlace):
                return found
            hop = found
        raise StorageError(f"{uri} leads in a circle; the last hop was {hop}.")

    def direct(self, uri: str, workspace: str) -> str:
        """Write the URI that a job is given of an input that is not brought to it; nothing is looked for there.

        Raises:
            StorageError: It names an asset or a job's output that is not there.
        """
        hop = uri
        for _ in range(HOPS):
            if _ANY_DATASTORE.fullmatch(hop) or hop.startswith(("https://", "http://")):
                return long_uri(hop, workspace)
            found = self._step(hop, workspace)
            hop = found if isinstance(found, str) else hop
        raise StorageError(f"{uri} leads in a circle; the last hop was {hop}.")

    def _step(self, uri: str, workspace: str) -> BlobPlace | str:
        """Find the place, or the URI that stands for it."""
        arm_id = uri.removeprefix("azureml:")
        if arm_id.lower().startswith(("/subscriptions/", "//registries/")):
            return self._asset_uri(arm_id)
        if match := _ANY_DATASTORE.fullmatch(uri):
            return self._in_datastore(
                match["datastore"], match["path"] or "", _workspace_id(match["workspace"], workspace)
            )
        if match := _JOB_OUTPUT.fullmatch(uri):
            return self._output_uri(match["run"], match["output"], match["path"] or "", workspace=workspace)
        if match := _ASSET.fullmatch(uri):
            return self._asset_arm_id(match["name"], match["version"], workspace, latest=match["by"] == "@")
        if uri.startswith(("https://", "http://")):
            return self._in_account(uri)
        raise StorageError(
            f"{uri!r} is no URI of a blob; give azureml://datastores/NAME/paths/PATH, an asset or a blob's address."
        )

    def _in_datastore(self, name: str, path: str, workspace: str) -> BlobPlace:
        found = self._store.get(f"{workspace}/datastores/{name}")
        if found is None:
            raise StorageError(f"There is no datastore {name} in {workspace}.")
        container = found["properties"].get("containerName")
        if not container:
            kind = found["properties"].get("datastoreType")
            raise StorageError(
                f"Datastore {name} has no blob container (it is {kind}); only blob datastores are emulated."
            )
        return BlobPlace(container, path)

    def _in_account(self, url: str) -> BlobPlace:
        account, parts = self._settings.account, urlsplit(url)
        path = unquote(parts.path).lstrip("/")
        if not parts.netloc.lower().startswith(f"{account}.".lower()):
            first, _, path = path.partition("/")
            if first != account:
                raise StorageError(
                    f"{url.partition('?')[0]} is not in storage account {account}, the only one emulated."
                )
        container, _, blob = path.partition("/")
        if not container:
            raise StorageError(f"{url.partition('?')[0]} names no container.")
        return BlobPlace(container, blob)

    def _asset_uri(self, arm_id: str) -> str:
        found = self._store.get(arm_id)
        if found is None:
            raise StorageError(f"There is no asset {arm_id}.")
        properties = found["properties"]
        uri = properties.get("dataUri") or properties.get("modelUri") or properties.get("codeUri")
        if not uri:
            raise StorageError(f"{arm_id} is no data asset, model or code: it has no URI.")
        return str(uri)

    def _asset_arm_id(self, name: str, version: str, workspace: str, *, latest: bool) -> str:
        for kind in ("data", "models"):
            below = f"{workspace}/{kind}/{name}/versions"
            if latest and version == "latest":
                if versions := self._store.children(below):
                    return str(versions[-1]["id"])
            elif self._store.get(f"{below}/{version}") is not None:
                return f"{below}/{version}"
        raise StorageError(f"There is no data asset or model {name} (version {version}) in {workspace}.")

    def _output_uri(self, run: str, output: str, path: str, *, workspace: str) -> str:
        found = self._store.run(workspace, run)
        if found is None:
            raise StorageError(f"There is no job {run} in {workspace}.")
        if output in ("artifacts", "default"):
            return f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run}/{path}"
        uri = found.outputs.get(output, {}).get("uri")
        if not uri:
            raise StorageError(
                f"Job {run} ({found.status}) has no output {output!r} yet; it has {sorted(found.outputs)}."
            )
        return f"{uri.rstrip('/')}/{path}" if path else str(uri)

    # moving files

    async def download(self, place: BlobPlace, folder: Path, *, kind: str = "any") -> Path:
        """Bring a blob, or all blobs of a folder, into a local folder.

        Args:
            place: What to bring.
            folder: Where to; made with its first file.
            kind: ``file``, ``folder``, or ``any`` for whichever is there (a file first).

        Returns:
            The file in ``folder``, or ``folder`` itself.

        Raises:
            StorageError: There is no such blob, or no blob in the folder.
        """
        if kind != "folder" and place.path and not place.path.endswith("/"):
            target = folder / place.path.rpartition("/")[2]
            try:
                await self._download_file(place.path, place.container, target)
            except ResourceNotFoundError:
                if kind == "file":
                    raise StorageError(f"There is no blob {place}.") from None
            else:
                return target
        if kind == "file":
            raise StorageError(f"{place} is a folder, not a blob.")
        await self._download_folder(place, folder)
        return folder

    async def _download_folder(self, place: BlobPlace, folder: Path) -> None:
        prefix = f"{place.path.rstrip('/')}/" if place.path.strip("/") else ""
        names = [name async for name in self._names(place.container, prefix)]
        if not names:
            raise StorageError(f"There is no blob in folder {place.container}/{prefix}.")
        limit = asyncio.Semaphore(PARALLEL)

        async def bring(name: str) -> None:
            async with limit:
                await self._download_file(name, place.container, _within(folder, name.removeprefix(prefix)))

        await asyncio.gather(*(bring(name) for name in names if not name.endswith("/")))

    async def _names(self, container: str, prefix: str) -> AsyncIterator[str]:
        try:
            async for name in self._service.get_container_client(container).list_blob_names(name_starts_with=prefix):
                yield name
        except ResourceNotFoundError:
            raise StorageError(f"There is no container {container}.") from None

    async def _download_file(self, name: str, container: str, target: Path) -> None:
        stream = await self._service.get_blob_client(container, name).download_blob()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            await stream.readinto(file)

    async def upload(self, source: Path, place: BlobPlace) -> int:
        """Write a file to a blob, or all files of a folder beneath it; say how many. What is there is replaced."""
        await self.ensure_container(place.container)
        files = _files(source)
        limit = asyncio.Semaphore(PARALLEL)

        async def write(path: Path) -> None:
            async with limit:
                await self._upload_file(path, place if path == source else place / path.relative_to(source).as_posix())

        await asyncio.gather(*map(write, files))
        return len(files)

    async def _upload_file(self, source: Path, place: BlobPlace) -> None:
        with source.open("rb") as file:
            await self._blob(place).upload_blob(file, overwrite=True)

    async def start_log(self, place: BlobPlace) -> None:
        """Create an empty append blob, in the place of what was there."""
        await self.ensure_container(place.container)
        await self._blob(place).create_append_blob()

    async def append(self, place: BlobPlace, data: bytes) -> None:
        """Append to a blob that `start_log` created."""
        for start in range(0, len(data), APPEND_BYTES):
            await self._blob(place).append_block(data[start : start + APPEND_BYTES])

    # single blobs, as they come and go over the wire

    async def listed(self, folder: BlobPlace) -> list[tuple[str, int]]:
        """List the blobs beneath a folder: path within it, and size in bytes; nothing for what is not there."""
        prefix = f"{folder.path.rstrip('/')}/" if folder.path.strip("/") else ""
        container = self._service.get_container_client(folder.container)
        try:
            found = [(blob.name, int(blob.size)) async for blob in container.list_blobs(name_starts_with=prefix)]
        except ResourceNotFoundError:
            return []
        return [(name.removeprefix(prefix), size) for name, size in found if not name.endswith("/")]

    async def exists(self, place: BlobPlace) -> bool:
        """Say whether there is a blob."""
        return bool(await self._blob(place).exists())

    async def read(self, place: BlobPlace) -> AsyncIterator[bytes]:
        """Open a blob, and give what it holds, in chunks.

        Raises:
            StorageError: There is no such blob.
        """
        try:
            stream = await self._blob(place).download_blob()
        except ResourceNotFoundError:
            raise StorageError(f"There is no blob {place}.") from None
        return stream.chunks()

    async def write(self, place: BlobPlace, chunks: AsyncIterator[bytes]) -> None:
        """Write a blob; what was there is replaced."""
        await self.ensure_container(place.container)
        await self._blob(place).upload_blob(chunks, overwrite=True)

    async def remove(self, place: BlobPlace) -> bool:
        """Delete a blob, and say whether it was there."""
        try:
            await self._blob(place).delete_blob()
        except ResourceNotFoundError:
            return False
        return True

    def _blob(self, place: BlobPlace) -> BlobClient:
        return self._service.get_blob_client(place.container, place.path)


def _files(source: Path) -> list[Path]:
    """List a file itself, or all files of a folder."""
    return [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())


def _within(folder: Path, name: str) -> Path:
    """Place a blob's name in a folder.

    Raises:
        StorageError: The name leads out of it.
    """
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise StorageError(f"Blob name {name!r} leads out of its folder.")
    return target


def _workspace_id(named: str | None, default: str) -> str:
    """Make the ARM id of the workspace that a long URI names."""
    if named is None:
        return default
    parts = named.split("/")
    return WorkspaceName(parts[1], parts[3], parts[-1]).arm_id
