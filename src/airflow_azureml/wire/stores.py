"""Where a job's inputs and outputs are in storage, and whether this identity may write there. Nothing is written."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from attrs import define, field, frozen

from airflow_azureml.core.clouds import host_of
from airflow_azureml.core.needs import Passed, named
from airflow_azureml.core.places import InDatastore, in_datastore
from airflow_azureml.core.preflight import WRITE_BLOBS, may
from airflow_azureml.core.workspace import Workspace, is_loopback
from airflow_azureml.errors import RefusedError
from airflow_azureml.wire import datastores, workspaces
from airflow_azureml.wire.absence import is_absent
from airflow_azureml.wire.datastores import Datastore
from airflow_azureml.wire.findings import Answer, Findings, version_of
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

#: The version of an identity's rights.
RIGHTS_VERSION = "2022-04-01"


@frozen(kw_only=True)
class Place:
    """Where an input should be, for somebody who can reach storage.

    Attributes:
        what: What to call it, as the start of a sentence.
        url: The address of its container and path, quoted.
        keeps_credentials: Whether the job opens it with what its datastore keeps, whatever identity it has.
    """

    what: str
    url: str
    keeps_credentials: bool = False


@define(kw_only=True)
class Stores:
    """The datastores that were looked at, each once."""

    workspace: Workspace
    found: Findings
    _seen: dict[str, Datastore | None] = field(factory=dict)
    _account: Answer[str] | None = None
    _rights: dict[str, Answer[list[Mapping[str, Any]]]] = field(factory=dict)

    def get(self, name: str, what: str) -> Flow[Datastore | None]:
        """Read a datastore; None where it is not there, or nobody could tell."""
        if name not in self._seen:
            answer = yield from self.found.ask(_existing_store(self.workspace, name))
            if answer.told and answer.value is None:
                self.found.wrong(
                    f"{what}: datastore {name} is not in workspace {self.workspace.name}: create it, or name another."
                )
            self._seen[name] = answer.value
        return self._seen[name]

    def rights(self, store: Datastore) -> Flow[Answer[list[Mapping[str, Any]]]]:
        """Read the identity's own rights on a datastore's container."""
        subscription, group = store.account_scope
        beside = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts"
        account = f"{beside}/{store.account}" if subscription and group else (yield from self._own_account(store))
        if not account:
            return Answer(told=False)
        scope = f"{account}/blobServices/default/containers/{store.container}"
        if scope not in self._rights:
            request = Request(
                doing=f"Read this identity's rights on container {store.container} of {store.account}",
                method="GET",
                url=f"{self.workspace.endpoint}{scope}/providers/Microsoft.Authorization/permissions",
                params={"api-version": RIGHTS_VERSION},
            )
            self._rights[scope] = yield from self.found.ask(all_pages(request))
        return self._rights[scope]

    def _own_account(self, store: Datastore) -> Flow[str]:
        """Give the id of the workspace's own storage account, if that is the datastore's."""
        if self._account is None:
            self._account = yield from self.found.ask(workspaces.storage_account(self.workspace))
        if (self._account.value or "").rpartition("/")[2] == store.account:
            return self._account.value or ""
        if self._account.told:
            self.found.unknown(
                f"Datastore {store.name}: nobody says in which resource group account {store.account} is; the right to"
                " write to it was not looked for."
            )
        return ""


def _existing_store(workspace: Workspace, name: str) -> Flow[Datastore | None]:
    try:
        return (yield from datastores.named(workspace, name))
    except RefusedError as error:
        if is_absent(error):
            return None
        raise


def _here(stores: Stores, what: str, place: InDatastore) -> Flow[Datastore | None]:
    workspace = stores.workspace
    if place.workspace not in ("", workspace.name.lower()):
        stores.found.unknown(f"{what} is in workspace {place.workspace}, which was not looked at.")
        return None
    return (yield from stores.get(place.name, what))


def input_place(stores: Stores, what: str, passed: Passed, *, domain: str) -> Flow[Place | None]:
    """Find the place in storage where an input should be; None where there is none to look at.

    Args:
        stores: The datastores.
        what: What to call the input, as the start of a sentence.
        passed: It.
        domain: The storage domain of the workspace's cloud.
    """
    uri = passed.uri
    if not uri.startswith(("azureml://", "https://", "http://")):
        uri = yield from _uri_of_asset(stores, what, passed)
    if not uri:
        return None
    if (place := in_datastore(uri)) is not None:
        store = yield from _here(stores, what, place)
        if store is not None and store.account and store.container:
            url = f"{store.container_url(domain)}/{quote(place.path, safe='/*')}"
            return Place(what=f"{what} ({uri})", url=url, keeps_credentials=store.keeps_credentials)
        if store is not None:
            stores.found.unknown(f"{what}: datastore {store.name} ({store.kind}) is no container of blobs; not read.")
    elif ".blob." in host_of(uri) or is_loopback(uri):
        return Place(what=f"{what} ({uri.partition('?')[0]})", url=uri)
    else:
        stores.found.unknown(f"{what}: {uri.partition('?')[0]!r} is nothing that could be looked at.")
    return None


def _uri_of_asset(stores: Stores, what: str, passed: Passed) -> Flow[str]:
    """Read where data or a model is; empty where it is not there, or nobody could tell."""
    kind = passed.asset_kind
    asset = named(passed.uri, kind, workspace_id=stores.workspace.arm_id)
    if asset is None:
        stores.found.unknown(f"{what}: {passed.uri!r} is nothing that could be looked at.")
        return ""
    raw = yield from version_of(stores.workspace, kind, asset, what=f"{what} ({kind} {asset})", found=stores.found)
    properties = (raw or {}).get("properties") or {}
    return str(properties.get("dataUri") or properties.get("modelUri") or "")


def check_output(stores: Stores, what: str, passed: Passed) -> Flow[None]:
    """See that an output has a datastore, and that a job without other credentials may write there."""
    place = in_datastore(passed.uri)
    if place is None:
        stores.found.unknown(f"{what}: {passed.uri.partition('?')[0]!r} is in no datastore; it was not looked at.")
        return
    store = yield from _here(stores, what, place)
    if store is None or store.keeps_credentials or not store.account or not store.container:
        return
    rights = yield from stores.rights(store)
    if rights.told and not may(rights.value or [], WRITE_BLOBS):
        stores.found.wrong(
            f"{what} goes to datastore {store.name}, which keeps no credentials, and this identity may not write to"
            f" container {store.container} of {store.account}: it lacks {WRITE_BLOBS}; the role Storage Blob Data"
            " Contributor has it."
        )
