"""What keeps a job from running, seen before it is submitted: findings as values, and one error of them all."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.needs import Part
from airflow_azureml.core.triage import Cause
from airflow_azureml.errors import AzureMLError, ConfigError, NotReadyError

#: The right to write a blob. Source: Azure Storage, "Authorize access to blobs using Microsoft Entra ID".
WRITE_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"


class Gravity(Enum):
    """What a finding means for the job."""

    #: It will not run, and a retry cannot help.
    WRONG = "wrong"
    #: It would not run now; what is missing may come by itself.
    NOT_NOW = "not now"
    #: Nobody here could tell.
    UNKNOWN = "unknown"


@frozen
class Finding:
    """One thing that was found out, as a sentence.

    Attributes:
        cause: Why, for a retry policy.
    """

    gravity: Gravity
    sentence: str
    cause: Cause = Cause.UNKNOWN


def error_of(subject: str, findings: Iterable[Finding]) -> AzureMLError | None:
    """Make one error of all that keeps a job from running; None where nothing does.

    Args:
        subject: What was looked at, to stand in a sentence.
        findings: Those that are unknown keep nothing from running.
    """
    bad = [each for each in findings if each.gravity is not Gravity.UNKNOWN]
    if not bad:
        return None
    told = " ".join(f"({number}) {each.sentence}" for number, each in enumerate(bad, start=1))
    message = f"Nothing was submitted: the preflight of {subject} found {len(bad)} thing(s) wrong. {told}"
    if any(each.gravity is Gravity.WRONG for each in bad):
        return ConfigError(message)
    causes = {each.cause for each in bad}
    return NotReadyError(message, cause=causes.pop().value if len(causes) == 1 else "")


# what was seen


@frozen(kw_only=True)
class Compute:
    """A compute, as far as it matters to a job.

    Attributes:
        state: Azure's ``provisioningState``.
        running: Azure's ``state`` of a compute instance; empty for other kinds.
        nodes: How many nodes it has now.
        most_nodes: How many it may have; None for what is no cluster.
        trouble: Azure's own words on why it failed; empty when there are none.
    """

    name: str
    kind: str
    state: str
    running: str
    location: str
    vm_size: str
    low_priority: bool
    nodes: int
    most_nodes: int | None
    trouble: str = ""

    @classmethod
    def from_wire(cls, name: str, raw: Mapping[str, Any], *, trouble: str = "") -> Self:
        """Read a compute resource."""
        outer = raw.get("properties") or {}
        inner = outer.get("properties") or {}
        most = (inner.get("scaleSettings") or {}).get("maxNodeCount")
        nodes = inner.get("currentNodeCount")
        return cls(
            name=name,
            kind=str(outer.get("computeType") or ""),
            state=str(outer.get("provisioningState") or ""),
            running=str(inner.get("state") or ""),
            location=str(outer.get("computeLocation") or raw.get("location") or ""),
            vm_size=str(inner.get("vmSize") or ""),
            low_priority=str(inner.get("vmPriority") or "").lower() == "lowpriority",
            nodes=nodes if isinstance(nodes, int) else 0,
            most_nodes=most if isinstance(most, int) and outer.get("computeType") == "AmlCompute" else None,
            trouble=trouble,
        )


#: What a state means for a job that is submitted now, and what to do; a state that is not here is fine.
#: Source: Microsoft.MachineLearningServices, ``ComputeProvisioningState``, API version 2024-10-01.
OF_STATE: Mapping[str, tuple[Gravity, str]] = {
    "Failed": (Gravity.WRONG, "repair or delete it"),
    "Canceled": (Gravity.WRONG, "create it once more"),
    "Deleting": (Gravity.WRONG, "name another"),
    "Creating": (Gravity.NOT_NOW, "wait until it is there"),
    "Unknown": (Gravity.UNKNOWN, "look at it in the studio"),
}
#: The same of a compute instance. Source: ``ComputeInstanceState``.
OF_INSTANCE: Mapping[str, tuple[Gravity, str]] = {
    **dict.fromkeys(("Stopped", "Stopping"), (Gravity.WRONG, "start it, or name a cluster")),
    **dict.fromkeys(("Deleting", "Unusable"), (Gravity.WRONG, "name another")),
    **dict.fromkeys(("CreateFailed", "SetupFailed", "UserSetupFailed"), (Gravity.WRONG, "repair or delete it")),
    **dict.fromkeys(
        ("Creating", "SettingUp", "UserSettingUp", "Starting", "Restarting"), (Gravity.NOT_NOW, "wait until it runs")
    ),
    "Unknown": (Gravity.UNKNOWN, "look at it in the studio"),
}


def judge_compute(compute: Compute, *, parts: Sequence[Part]) -> Iterator[Finding]:
    """Tell whether a compute that is there can be used.

    Args:
        compute: The compute.
        parts: Those that name it.
    """
    what = f"Compute {compute.name} ({_names(parts)})"
    for state, meanings in ((compute.state, OF_STATE), (compute.running, OF_INSTANCE)):
        if state in meanings:
            gravity, cure = meanings[state]
            trouble = f" ({compute.trouble})" if compute.trouble else ""
            yield Finding(gravity, f"{what} is {state}{trouble}: {cure}.")
    if compute.most_nodes is None:
        return
    asked = max(part.nodes for part in parts)
    if compute.most_nodes < asked:
        yield Finding(
            Gravity.WRONG,
            f"{what} may have {compute.most_nodes} nodes, and {asked} are needed: raise its maximum.",
        )


def missing_compute(name: str, workspace: str, *, parts: Sequence[Part]) -> Finding:
    """Say that a compute is not there."""
    what = f"Compute {name} ({_names(parts)}) is not in workspace {workspace}"
    return Finding(Gravity.WRONG, f"{what}: create it, or name one that is there.")


def _names(parts: Collection[Part]) -> str:
    return ", ".join(dict.fromkeys(part.name for part in parts))


# quota


@frozen(kw_only=True)
class VmSize:
    """A machine size; ``family`` is Azure's word for it."""

    name: str
    family: str
    cores: int

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self | None:
        """Read an entry of the region's machine sizes; None for one that cannot be read."""
        name, family, cores = raw.get("name"), raw.get("family"), raw.get("vCPUs")
        if not isinstance(name, str) or not isinstance(family, str) or not isinstance(cores, int):
            return None
        return cls(name=name, family=family, cores=cores)


_USAGE = re.compile(r"(?:Standard (?P<family>.+) Family|Total) Cluster (?P<priority>Dedicated|Low ?Priority)(?: .*)?")
_OWNER = re.compile(r"/workspaces/([^/]+)/", re.IGNORECASE)


@frozen(kw_only=True)
class Usage:
    """How many cores are in use, and how many may be.

    Attributes:
        name: Azure's name for it.
        family: Of which family, as in ``DSv2`` and in lower case; empty for all together.
        workspace: Of which workspace, in lower case; empty for the whole subscription.
        limit: Below 0 for none.
    """

    name: str
    family: str
    low_priority: bool
    workspace: str
    used: int
    limit: int

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self | None:
        """Read an entry of the region's usages; None for one of something else, or that cannot be read."""
        names = raw.get("name") or {}
        name = str(names.get("value") or "") if isinstance(names, Mapping) else ""
        found, used, limit = _USAGE.fullmatch(name), raw.get("currentValue"), raw.get("limit")
        if found is None or not isinstance(used, int) or not isinstance(limit, int):
            return None
        owner = _OWNER.search(str(raw.get("id") or ""))
        return cls(
            name=name,
            family=(found["family"] or "").lower(),
            low_priority=found["priority"] != "Dedicated",
            workspace=owner[1].lower() if owner else "",
            used=used,
            limit=limit,
        )


def needs_quota(compute: Compute, *, parts: Sequence[Part]) -> bool:
    """Tell whether a cluster has to get nodes before it can run these."""
    return compute.most_nodes is not None and max(part.nodes for part in parts) > compute.nodes


def judge_quota(
    compute: Compute, size: VmSize | None, usages: Iterable[Usage], *, workspace: str, parts: Sequence[Part]
) -> Iterator[Finding]:
    """Tell whether a cluster can get the nodes that it needs; each compute is judged by itself.

    Args:
        compute: A cluster that `needs_quota`.
        size: Its machines; None where the region does not list them.
        usages: Those of its region.
        workspace: Its workspace's name.
        parts: Those that name it.
    """
    what = f"Compute {compute.name} ({_names(parts)})"
    if size is None:
        yield Finding(Gravity.UNKNOWN, f"{what}: the region does not list its machines, {compute.vm_size}.")
        return
    own = _own(usages, compute, size, workspace=workspace)
    if not any(usage.family for usage in own):
        yield Finding(Gravity.UNKNOWN, f"{what}: the region does not list a quota for its machines, {size.family}.")
    asked, told = max(part.nodes for part in parts), set[str]()
    for usage in own:
        where = f"{usage.name} in {compute.location}" + (f" for workspace {workspace}" if usage.workspace else "")
        finding = _of_usage(usage, size, asked=asked, more=asked - compute.nodes, names=(what, where))
        # What a workspace may have is bounded by what the subscription may, which comes first.
        if finding is not None and usage.family not in told:
            told.add(usage.family)
            yield finding


def _own(usages: Iterable[Usage], compute: Compute, size: VmSize, *, workspace: str) -> list[Usage]:
    """Choose the usages that bound a cluster: the subscription's first."""
    family = size.family.removeprefix("standard").removesuffix("Family").lower()
    own = [
        usage
        for usage in usages
        if usage.low_priority is compute.low_priority
        and usage.family in (family, "")
        and usage.workspace in (workspace.lower(), "")
    ]
    return sorted(own, key=lambda usage: usage.workspace)


def _of_usage(usage: Usage, size: VmSize, *, asked: int, more: int, names: tuple[str, str]) -> Finding | None:
    """Compare a quota with the nodes that are asked for at once, and with those that are not there yet."""
    what, where = names
    if 0 <= usage.limit < asked * size.cores:
        told = (
            f"{what} needs {asked * size.cores} vCPUs for {asked} node(s), and the quota of {where} is {usage.limit}:"
            " ask for more, or take other machines."
        )
        return Finding(Gravity.WRONG, told, Cause.QUOTA)
    if 0 <= usage.limit < usage.used + more * size.cores:
        told = (
            f"{what} needs {more * size.cores} more vCPUs for {more} node(s), and of the quota of {where} {usage.used}"
            f" of {usage.limit} are in use: wait until some are given back, or ask for more."
        )
        return Finding(Gravity.NOT_NOW, told, Cause.QUOTA)
    return None


# rights


def may(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Tell whether an identity has the right to do something to data.

    Args:
        permissions: As Azure Resource Manager tells them: each grants its own, less what it excludes itself.
        action: The data action.
    """
    return any(
        _covers(one.get("dataActions"), action) and not _covers(one.get("notDataActions"), action)
        for one in permissions
    )


def _covers(patterns: Any, action: str) -> bool:
    """Match Azure's wildcards: a star stands for anything, slashes too; case does not matter."""
    return any(
        re.fullmatch(".*".join(map(re.escape, str(pattern).split("*"))), action, re.IGNORECASE)
        for pattern in patterns or ()
    )
