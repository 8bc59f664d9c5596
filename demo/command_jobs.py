"""Many small command jobs on a few nodes of the emulator, and whether any is lost or says what it never was."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import httpx

from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID
from demo.evidence import API_VERSION

#: The words of a job that really runs, in the only order in which they may be read; some may be missed between looks.
ORDER = ("NotStarted", "Starting", "Provisioning", "Queued", "Preparing", "Running", "Finalizing", "Completed")
FINAL = frozenset({"Completed", "Failed", "Canceled"})
CLUSTER = "few"
LOOK_EVERY_S = 0.25


@attrs.define
class Watch:
    """What was read of each job, in the order it was read; only changes are kept."""

    read: dict[str, list[str]] = attrs.field(factory=dict)

    def see(self, statuses: Mapping[str, str]) -> None:
        """Note one look at all jobs."""
        for name, status in statuses.items():
            words = self.read.setdefault(name, [])
            if not words or words[-1] != status:
                words.append(status)

    @property
    def counts(self) -> Counter[str]:
        """How many jobs are in which state."""
        return Counter(words[-1] for words in self.read.values())

    def faults(self, names: Iterable[str]) -> list[str]:
        """Say what should never have been read: a job that is gone, goes back, or leaves its end."""
        wrong = [f"{name} was never there" for name in names if name not in self.read]
        for name, words in self.read.items():
            ends = [word for word in words if word in FINAL]
            if len(ends) > 1 or (ends and words[-1] not in FINAL):
                wrong.append(f"{name} left its end: {' '.join(words)}")
            places = [ORDER.index(word) for word in words if word in ORDER]
            # A job that waits for a node, or for this machine, is queued again from being prepared.
            backwards = [pair for pair in itertools.pairwise(places) if pair[1] < pair[0]]
            if any(ORDER[after] != "Queued" for _, after in backwards):
                wrong.append(f"{name} went back: {' '.join(words)}")
        return wrong


def open_client(http_url: str) -> httpx.Client:
    """Open the emulator's REST API."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    return httpx.Client(
        base_url=http_url, headers=bearer, params={"api-version": API_VERSION}, timeout=60, trust_env=False
    )


def make_cluster(client: httpx.Client, *, nodes: int) -> None:
    """Make the cluster, or change it."""
    scale = {"minNodeCount": 0, "maxNodeCount": nodes, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    inner = {"vmSize": "STANDARD_DS3_V2", "vmPriority": "Dedicated", "scaleSettings": scale}
    body = {"location": "westeurope", "properties": {"computeType": "AmlCompute", "properties": inner}}
    client.put(f"{WORKSPACE_ID}/computes/{CLUSTER}", json=body).raise_for_status()


def submit(client: httpx.Client, names: Sequence[str], *, lasts_s: float) -> None:
    """Submit jobs that sleep so long."""
    for name in names:
        job = {
            "jobType": "Command",
            "command": f"sleep {lasts_s:g}",
            "environmentId": f"{WORKSPACE_ID}/environments/any/versions/1",
            "computeId": f"{WORKSPACE_ID}/computes/{CLUSTER}",
        }
        client.put(f"{WORKSPACE_ID}/jobs/{name}", json={"properties": job}).raise_for_status()


def look(client: httpx.Client) -> dict[str, str]:
    """Read the statuses of all jobs, page by page."""
    found: dict[str, str] = {}
    path: str = f"{WORKSPACE_ID}/jobs"
    while path:
        # The client's own parameters would take the place of the link's, and the first page would come again.
        page: dict[str, Any] = client.get(path, params=httpx.URL(path).params).raise_for_status().json()
        found |= {job["name"]: job["properties"]["status"] for job in page["value"]}
        path = page.get("nextLink") or ""
    return found


def watch_to_the_end(
    client: httpx.Client, names: Sequence[str], *, deadline_s: float, tell: Callable[[Counter[str]], None] | None = None
) -> Watch:
    """Look at all jobs until all have ended.

    Raises:
        TimeoutError: They have not in time.
    """
    watch, end = Watch(), time.monotonic() + deadline_s
    while True:
        watch.see(look(client))
        if tell is not None:
            tell(watch.counts)
        if set(names) <= watch.read.keys() and all(watch.read[name][-1] in FINAL for name in names):
            return watch
        if time.monotonic() > end:
            raise TimeoutError(f"{len(names)} jobs have not ended in {deadline_s:.0f} s: {dict(watch.counts)}")
        time.sleep(LOOK_EVERY_S)
