"""What a subscription has and allows, as the control interface sets it: quotas, rights, states of computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from azureml_emulator.store import Store

Json = dict[str, Any]

#: Cores that each family may have here unless told otherwise, and all families of one priority together.
FAMILY_LIMIT, TOTAL_LIMIT = 100, 300


@attrs.frozen(kw_only=True)
class VmSize:
    """A machine size; ``family`` is Azure's word for it."""

    name: str
    family: str
    cores: int
    memory_gb: float
    gpus: int = 0


def _family(family: str, **sizes: tuple[int, float]) -> list[VmSize]:
    return [
        VmSize(name=f"Standard_{name}", family=family, cores=cores, memory_gb=memory, gpus=_gpus(name))
        for name, (cores, memory) in sizes.items()
    ]


def _gpus(size: str) -> int:
    return {"NC6s_v3": 1, "NC12s_v3": 2, "NC24s_v3": 4}.get(size, 0)


#: Some of Azure's machine sizes. Source: azure-rest-api-specs, Microsoft.MachineLearningServices, ListVMSizesResult;
#: "Sizes for virtual machines in Azure".
VM_SIZES: tuple[VmSize, ...] = (
    *_family("standardFSv2Family", F2s_v2=(2, 4.0), F4s_v2=(4, 8.0), F8s_v2=(8, 16.0), F16s_v2=(16, 32.0)),
    *_family("standardDv2Family", D1_v2=(1, 3.5), D2_v2=(2, 7.0), D3_v2=(4, 14.0), D4_v2=(8, 28.0)),
    *_family("standardDSv2Family", DS1_v2=(1, 3.5), DS2_v2=(2, 7.0), DS3_v2=(4, 14.0), DS4_v2=(8, 28.0)),
    *_family("standardDSv2Family", DS5_v2=(16, 56.0), DS11_v2=(2, 14.0), DS12_v2=(4, 28.0), DS13_v2=(8, 56.0)),
    *_family("standardDSv3Family", D2s_v3=(2, 8.0), D4s_v3=(4, 16.0), D8s_v3=(8, 32.0), D16s_v3=(16, 64.0)),
    *_family("standardESv3Family", E2s_v3=(2, 16.0), E4s_v3=(4, 32.0), E8s_v3=(8, 64.0), E16s_v3=(16, 128.0)),
    *_family("standardNCSv3Family", NC6s_v3=(6, 112.0), NC12s_v3=(12, 224.0), NC24s_v3=(24, 448.0)),
)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(size.family for size in VM_SIZES))
#: The priorities as the names of usages have them: in ``value``, and in ``localizedValue``.
#: Source: azure-rest-api-specs, Microsoft.MachineLearningServices, ListUsages.
PRIORITIES: Mapping[str, str] = {"Dedicated": "Dedicated", "LowPriority": "Low Priority"}


class AllowanceError(ValueError):
    """What is to be set is wrong; the message is one sentence."""


def family_usage(family: str, priority: str) -> str:
    """Name the usage of a family: ``Standard DSv2 Family Cluster Dedicated vCPUs``."""
    return f"Standard {family.removeprefix('standard').removesuffix('Family')} Family Cluster {priority} vCPUs"


def total_usage(priority: str) -> str:
    """Name the usage of all families together."""
    return f"Total Cluster {priority} Regional vCPUs"


def usage_names() -> list[str]:
    """List the names of all usages that are counted in cores."""
    return [
        name
        for priority in PRIORITIES
        for name in (total_usage(priority), *(family_usage(family, priority) for family in FAMILIES))
    ]


def path_of(kind: str) -> str:
    """Give the path under which the control interface sets it, which is also where it is kept."""
    return f"/control/{kind}"


def kept(store: Store, kind: str) -> Any:
    """Return what was set of one kind, or what holds where nothing was."""
    found = store.get(path_of(kind))
    return found["said"] if found else DEFAULTS[kind]


def in_force(store: Store, kind: str, *, controlled: bool) -> Any:
    """Return what holds: what was set only counts while the control interface is on."""
    return kept(store, kind) if controlled else DEFAULTS[kind]


def keep(store: Store, kind: str, said: Any) -> Any:
    """Set all of one kind.

    Raises:
        AllowanceError: It is wrong; nothing is set then.
    """
    read = READERS[kind](said)
    store.put(path_of(kind), {"said": read})
    return read


def _object(said: Any, what: str) -> Json:
    if not isinstance(said, dict):
        raise AllowanceError(f"{what}: {json.dumps(said)[:80]} is no object.")
    return said


def _members_only(said: Json, members: tuple[str, ...], what: str) -> None:
    if wrong := sorted(said.keys() - set(members)):
        raise AllowanceError(f"{what}: {', '.join(wrong)} is unknown; the members are {', '.join(members)}.")


def _quotas(said: Any) -> Json:
    """Read ``{usage: {"limit": 24, "used": 24}}``; a usage of one workspace alone is ``WORKSPACE/usage``."""
    known = usage_names()
    for name, quota in _object(said, "quotas").items():
        if name.rpartition("/")[2] not in known:
            raise AllowanceError(f"{name!r} is no usage; they are {', '.join(known)}.")
        _members_only(_object(quota, name), ("limit", "used"), name)
        for member, value in quota.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < -1:
                raise AllowanceError(f"{name}: {member} is {json.dumps(value)[:80]}; give cores, or -1 for no limit.")
    return dict(said)


def shown_compute(body: Json, told: Mapping[str, Json]) -> Json:
    """Give a compute's resource with what it is to show instead of what it is."""
    said = told.get(body["name"], {})
    inner = {name: said[name] for name in ("currentNodeCount", "state") if name in said}
    outer = {"provisioningState": said["provisioningState"]} if "provisioningState" in said else {}
    properties = body["properties"]
    return body | {"properties": properties | outer | {"properties": properties["properties"] | inner}}


_RIGHTS = ("actions", "notActions", "dataActions", "notDataActions")


def _permissions(said: Any) -> list[Json]:
    """Read ``[{"actions": ["*"], "notActions": [], "dataActions": [...], "notDataActions": []}]``."""
    if not isinstance(said, list):
        raise AllowanceError(f"permissions: {json.dumps(said)[:80]} is no list.")
    read = []
    for one in said:
        _members_only(_object(one, "permissions"), _RIGHTS, "permissions")
        for member, actions in one.items():
            if not isinstance(actions, list) or not all(isinstance(action, str) for action in actions):
                raise AllowanceError(f"permissions: {member} is {json.dumps(actions)[:80]}; give a list of texts.")
        read.append({member: one.get(member, []) for member in _RIGHTS})
    return read


_STATES = ("provisioningState", "currentNodeCount", "state")


def _computes(said: Any) -> Json:
    """Read ``{compute: {"provisioningState": "Failed"}}``: what a compute is to show instead of what it is."""
    for name, shown in _object(said, "computes").items():
        _members_only(_object(shown, name), _STATES, name)
        for member, value in shown.items():
            if member == "currentNodeCount":
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise AllowanceError(f"{name}: {member} is {json.dumps(value)[:80]}; give how many nodes it has.")
            elif not isinstance(value, str) or not value:
                raise AllowanceError(f"{name}: {member} is {json.dumps(value)[:80]}; give a text.")
    return dict(said)


_LEVELS = ("none", "read", "write")


def _rights(said: Any) -> Json:
    """Read ``{subject: {"SUB/RG/NAME": "read"}}``: which rights an identity has left; ``*`` is any of either."""
    for subject, by_workspace in _object(said, "rights").items():
        for workspace, right in _object(by_workspace, subject).items():
            if workspace != "*" and (len(parts := workspace.split("/")) != 3 or not all(parts)):  # noqa: PLR2004  # S/G/N
                raise AllowanceError(f"{subject}: {workspace!r} is no SUBSCRIPTION/RESOURCE_GROUP/NAME, nor *.")
            if right not in _LEVELS:
                raise AllowanceError(f"{subject}: {json.dumps(right)[:80]} is no right; they are {', '.join(_LEVELS)}.")
    return dict(said)


#: What can be set, and how it is read.
READERS: Mapping[str, Callable[[Any], Any]] = {
    "quotas": _quotas,
    "permissions": _permissions,
    "computes": _computes,
    "rights": _rights,
}
#: What holds where nothing was set.
DEFAULTS: Mapping[str, Any] = {
    "quotas": {},
    "permissions": [{"actions": ["*"], "notActions": [], "dataActions": ["*"], "notDataActions": []}],
    "computes": {},
    "rights": {},
}
