"""What Azurite, the workspace and Airflow say has become of blobs; nothing here asks the provider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import httpx
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from demo.azure import ACCOUNT, ACCOUNT_KEY, INCOMING, WORKSPACE_ID
from demo.chaos_arrivals_judge import Batch, Job, Published, Version, World
from demo.chaos_arrivals_plan import DAG, PREFIX
from demo.evidence import API_VERSION, OWNER_PROPERTY
from demo.stack import Stack

#: Where the DAG's results, its ledger and what its pipeline writes are.
RESULTS, DATASTORE, LEDGER, DIGESTS = "chaos", "workspaceblobstore", "airflow-azureml-ledger", "digests.json"
AT_ONCE = 8


class Witness:
    """Looks at a stack, past whatever stands before Azurite; use it with ``with``.

    Args:
        stack: The stack; it has to be started.
    """

    def __init__(self, stack: Stack) -> None:
        self._airflow = stack.airflow
        self._workspace = httpx.Client(base_url=stack.emulator.http, timeout=30, trust_env=False)
        self._blobs = BlobServiceClient(
            f"http://127.0.0.1:{stack.azurite.blob_port}/{ACCOUNT}",
            credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY},
            retry_total=0,
        )
        self._pool = ThreadPoolExecutor(AT_ONCE)
        answer = self._workspace.get(f"{WORKSPACE_ID}/datastores/{DATASTORE}", params={"api-version": API_VERSION})
        self._results = str(answer.raise_for_status().json()["properties"]["containerName"])
        self._published: dict[str, Published] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._workspace.close()
        self._blobs.close()

    def look(self, *, with_entries: bool = False) -> World:
        """Look once.

        Args:
            with_entries: Whether the ledger's document of each version is read, too.

        Raises:
            AzureError: Azurite does not answer just now.
            httpx.HTTPError: The workspace or Airflow does not.
        """
        entries = dict(self._entries()) if with_entries else {}
        versions = {key: version for key, (version, _) in entries.items()}
        return World(
            current={blob.name: str(blob.etag).strip('"') for blob in self._list(INCOMING, PREFIX)},
            published=tuple(self._all_published()),
            batches=tuple(self._batches(versions)),
            entries=dict(entries.values()),
            jobs=tuple(self._jobs()),
            runs=self.runs(),
        )

    def _list(self, container: str, prefix: str) -> list[Any]:
        try:
            return list(self._blobs.get_container_client(container).list_blobs(name_starts_with=prefix))
        except ResourceNotFoundError:
            return []

    def _read(self, container: str, name: str) -> Any:
        """Read a JSON document; None where it is not there."""
        try:
            return json.loads(self._blobs.get_blob_client(container, name).download_blob().readall())
        except ResourceNotFoundError:
            return None

    def _read_all(self, container: str, prefix: str) -> dict[str, Any]:
        names = [blob.name for blob in self._list(container, prefix)]
        found = self._pool.map(lambda name: self._read(container, name), names)
        return {name: body for name, body in zip(names, found, strict=True) if body is not None}

    def _all_published(self) -> Iterable[Published]:
        """Read what markers lead to; a marker never changes, so each is read once."""
        for blob in self._list(self._results, f"{RESULTS}/_published/"):
            if blob.name not in self._published:
                self._published[blob.name] = self._one_published(self._read(self._results, blob.name))
            yield self._published[blob.name]

    def _one_published(self, marker: Mapping[str, Any]) -> Published:
        where = str(marker["output"]).partition("/paths/")[2].strip("/")
        digests = self._read(self._results, f"{where}/{DIGESTS}") or {}
        return Published(
            batch=marker["batch"],
            job=marker["job"],
            read={_version(each): digests.get(each["file"]) for each in marker["files"]},
            rejected={_version(each): each["reason"] for each in marker["rejected"]},
        )

    def _entries(self) -> Iterable[tuple[str, tuple[Version, str]]]:
        """Read the ledger's documents of versions, by key."""
        for name, body in self._read_all(LEDGER, "default/blobs/").items():
            yield name.rpartition("/")[2], (_version(body), body["batch"])

    def _batches(self, versions: Mapping[str, Version]) -> Iterable[Batch]:
        for name, body in self._read_all(LEDGER, "default/batches/").items():
            yield Batch(
                id=name.rpartition("/")[2],
                state=body["state"],
                job=body.get("job", ""),
                versions=frozenset(map(_version, body["items"])),
                rejected={
                    versions.get(key, Version(path=f"key {key}", etag="?")): str(why)
                    for key, why in body.get("rejected", {}).items()
                },
            )

    def _jobs(self) -> Iterable[Job]:
        path = f"{WORKSPACE_ID}/jobs?api-version={API_VERSION}"
        while path:
            page = self._workspace.get(path).raise_for_status().json()
            for raw in page["value"]:
                properties = raw["properties"].get("properties") or {}
                owner = properties.get(OWNER_PROPERTY, "")
                yield Job(name=raw["name"], status=raw["properties"]["status"], owner=owner)
            path = page.get("nextLink") or ""

    def runs(self) -> dict[str, str]:
        """List Airflow's runs of the DAG, and their states."""
        found: dict[str, str] = {}
        while True:
            page = self._airflow.get(f"/api/v2/dags/{DAG}/dagRuns", limit=100, offset=len(found), order_by="id")
            found |= {each["dag_run_id"]: each["state"] for each in page["dag_runs"]}
            if not page["dag_runs"] or len(found) >= page["total_entries"]:
                return found


def _version(body: Mapping[str, Any]) -> Version:
    return Version(path=body["path"], etag=body["etag"])
