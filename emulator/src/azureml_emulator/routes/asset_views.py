"""How the containers and versions of assets are kept and listed: alike in a workspace and in a registry."""

from __future__ import annotations

from azureml_emulator.errors import Json, bad_request
from azureml_emulator.names import PROVIDER, RegistryName, WorkspaceName
from azureml_emulator.routes.asset_kinds import ANONYMOUS, AssetKind, next_version, text, words
from azureml_emulator.routes.calls import Call, system_data
from azureml_emulator.store import Store

_PAGE = 100
#: What a container says that nobody has said anything of. Recorded; those of code and environments were not.
_UNSAID: dict[str, Json] = {
    "models": {"description": None, "tags": {}, "properties": {}},
    "data": {"description": None, "tags": None, "properties": None},
}
_EMPTY: Json = {"description": "", "tags": {}, "properties": {}}
#: What a container's ``systemData`` is without, asked for by its name.
_UNTOLD: dict[str, tuple[str, ...]] = {
    "components": ("createdBy", "createdByType", "lastModifiedBy", "lastModifiedByType"),
    "data": ("lastModifiedBy", "lastModifiedByType"),
}


def root_of(home: WorkspaceName) -> str:
    """What the assets of a workspace or registry are kept below.

    A registry's are kept below the id that they are named by, without its scheme: so whoever looks up an asset by its
    id finds these as well.
    """
    return f"/{home.short}" if isinstance(home, RegistryName) else home.arm_id


def kind_of(kind: AssetKind, home: WorkspaceName) -> str:
    """The ARM type of a container."""
    return f"{PROVIDER}/{'registries' if isinstance(home, RegistryName) else 'workspaces'}/{kind.segment}"


def versions(call: Call, kind: AssetKind, home: WorkspaceName, name: str) -> list[Json]:
    """List the versions, newest first."""
    return call.store.children(f"{root_of(home)}/{kind.segment}/{name}/versions")[::-1]


def ensure_container(store: Store, kind: AssetKind, home: WorkspaceName, name: str) -> None:
    """Make a container with the first of its versions."""
    if store.get(f"{root_of(home)}/{kind.segment}/{name}") is None:
        store.put(f"{root_of(home)}/{kind.segment}/{name}", _container(kind, home, name, isArchived=False))


def _container(kind: AssetKind, home: WorkspaceName, name: str, **properties: object) -> Json:
    stored = _UNSAID.get(kind.segment, _EMPTY) | properties
    at = f"azureml://{home.short}" if isinstance(home, RegistryName) else home.arm_id
    return {
        "id": f"{at}/{kind.segment}/{name}",
        "name": name,
        "type": kind_of(kind, home),
        "properties": stored,
        "systemData": system_data(),
    }


async def put_container(call: Call, kind: AssetKind, home: WorkspaceName) -> tuple[bool, Json]:
    """Keep the container that a PUT sends; whether it is new, and its body."""
    sent, name = await call.properties(), call.names["name"]
    body = _container(
        kind,
        home,
        name,
        description=text(sent, "description") or "",
        tags=words(sent, "tags"),
        properties=words(sent, "properties"),
        isArchived=bool(sent.get("isArchived")),
    )
    where = f"{root_of(home)}/{kind.segment}/{name}"
    if before := call.store.get(where):
        body["systemData"] = system_data(before["systemData"])
    return call.store.put(where, body), body


def shown_container(call: Call, kind: AssetKind, home: WorkspaceName, body: Json) -> Json:
    """Add what depends on its versions."""
    found = versions(call, kind, home, body["name"])
    shown = {
        "latestVersion": found[0]["name"] if kind.shows_latest and found else None,
        "nextVersion": next_version(kind, found),
    }
    if kind.segment == "data" and found:
        shown["dataType"] = found[0]["properties"]["dataType"]
    return body | {"properties": body["properties"] | shown}


def told_by_name(kind: AssetKind, shown: Json) -> Json:
    """Show a container as the answer to who asks for it by its name was recorded."""
    untold = _UNTOLD.get(kind.segment, ())
    return shown | {"systemData": {name: each for name, each in shown["systemData"].items() if name not in untold}}


def containers_page(call: Call, kind: AssetKind, home: WorkspaceName) -> tuple[list[Json], str | None]:
    """Find one page of the containers, newest first, and the URL of the next."""
    found = call.store.children(f"{root_of(home)}/{kind.segment}")[::-1]
    named = [body for body in _viewed(call, found) if body["name"] not in ANONYMOUS]
    page, link = call.page(named, key=lambda body: body["name"], size=_PAGE, token="$skipToken")  # noqa: S106
    return [shown_container(call, kind, home, body) for body in page], link


def _viewed(call: Call, items: list[Json]) -> list[Json]:
    view = call.query.get("listViewType", "ActiveOnly")
    if view == "All":
        return items
    return [item for item in items if item["properties"]["isArchived"] == (view == "ArchivedOnly")]


def versions_page(call: Call, kind: AssetKind, home: WorkspaceName) -> tuple[list[Json], str | None]:
    """Find one page of the versions, newest first unless asked otherwise, and the URL of the next."""
    found = _viewed(call, versions(call, kind, home, call.names["name"]))
    if stage := call.query.get("stage"):
        found = [one for one in found if one["properties"].get("stage") == stage]
    order = call.query.get("$orderBy", "createdtime desc").lower().split() or ["createdtime"]
    if order[0] != "createdtime":
        raise bad_request(f"Versions are ordered by createdtime only, not by {order[0]}.")
    if order[1:] == ["asc"]:
        found = found[::-1]
    return call.page(found, key=lambda body: body["name"], size=call.top or _PAGE, token="$skipToken")  # noqa: S106
