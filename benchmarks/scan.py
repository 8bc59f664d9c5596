"""What it costs to find 100 new blobs among 300,000: our scans, and the listing of Airflow's own provider for Azure.

The storage is a real Azurite, whose 300,000 blobs are named by day and hour and were written over ten days; the
hundred new ones are uploaded. The peer is `WasbAsyncHook.get_blobs_list_async` of
apache-airflow-providers-microsoft-azure, the call behind its sensors and triggers, without a delimiter, as it must be
to see blobs and not folders; what is new of its list is then chosen by the time. The package is fetched, without what
it depends on, into a folder of the benchmark's own. Ours is a scan that knows when the last one began, for each of the
three layouts: `dates`, which the goal is about, `names`, and `any`, which has to list as much as the peer does.

Each side runs in a child of its own, by turns. Times are of the wall clock, of one look each, the median of some rounds
for those that are quick; memory is what the child has grown by at its peak. Azurite sorts all that it has for each page
it gives, so that most of what a listing of everything takes is its own time, which both sides wait for: the CPU seconds
of the client tell the two apart there.
"""

import asyncio
import contextlib
import functools
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from azure.core.exceptions import AzureError

from airflow_azureml.client.scans import Scanner
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.layouts import ANY, NAMES, Layout, dates
from airflow_azureml.core.scan import Scan, Scanning
from airflow_azureml.core.scan_state import ScanState
from airflow_azureml.core.workspace import ConnectionSettings
from benchmarks.azurite_seed import LAST, container, seed
from benchmarks.forks import in_child, start_as_airflow_does
from benchmarks.report import Report
from demo.azure import ACCOUNT, ACCOUNT_KEY, ROOT, Azurite

BLOBS, NEW = int(os.environ.get("BENCH_BLOBS", "300000")), 100
#: The newest version when this was written; it needs nothing that we do not have.
PEER = "apache-airflow-providers-microsoft-azure==15.2.1"
ROUNDS, READY_S = 3, 600
FEWEST_TIMES, MOST_MB = 5, 64
CONTAINER, PREFIX = "data", "in/"
NAMING = "in/dt=%Y-%m-%d/h=%H/part-%Y%m%d%H%M%S"
LAYOUTS = {"dates": dates("in/dt=%Y-%m-%d/"), "names": NAMES, "any": ANY}
SETTINGS = ConnectionSettings.parse(
    {
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "local",
        "workspace": "local",
        "authentication": "emulator",
        "endpoint": "http://127.0.0.1:1",
    },
    conn_id="bench",
)


def measure() -> Report:
    """Look by turns."""
    peer = _peer()
    with tempfile.TemporaryDirectory() as folder:
        start_as_airflow_does(folder, ["airflow.sdk", "azure.storage.blob.aio"])
        azurite = Azurite(Path(folder) / "azurite")
        _copy(azurite.folder)
        with contextlib.ExitStack() as ending:
            ending.callback(azurite.stop)
            azurite.child.start()
            azurite.child.wait_until(lambda: _lists(azurite), deadline_s=READY_S)
            state = _add(azurite)
            taken = {
                name: [in_child(functools.partial(_ours, azurite, state, layout)) for _ in range(rounds)]
                for name, layout in LAYOUTS.items()
                for rounds in [1 if name == "any" else ROUNDS]
            }
            theirs = in_child(functools.partial(_theirs, azurite, state), {"PYTHONPATH": str(peer)})
    ours = {name: _median(looks) for name, looks in taken.items()}
    ratio = theirs["wall_s"] / ours["dates"]["wall_s"]
    most_mb = max(one["peak_mb"] for one in ours.values())
    return Report(
        benchmark="scan",
        ours=ours["dates"]["wall_s"],
        peer=theirs["wall_s"],
        ratio=ratio,
        unit=f"s to find {NEW} new blobs among {BLOBS}",
        goal=f"WASB listing / ours >= {FEWEST_TIMES}, and at most {MOST_MB} MB of memory whatever the layout",
        ok=ratio >= FEWEST_TIMES and most_mb <= MOST_MB,
        beside={
            "peak_mb": {name: round(one["peak_mb"], 1) for name, one in ours.items()},
            "peak_mb_peer": round(theirs["peak_mb"], 1),
            "wall_s": {name: round(one["wall_s"], 2) for name, one in ours.items()},
            "times_faster": {name: round(theirs["wall_s"] / one["wall_s"], 1) for name, one in ours.items()},
            "client_cpu_s": {name: round(one["client_s"], 2) for name, one in ours.items()},
            "client_cpu_s_peer": round(theirs["client_s"], 2),
            "listed_pages": {name: one["pages"] for name, one in ours.items()},
            "wasb": PEER.rpartition("=")[2],
        },
    )


def _median(looks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in looks) for name in looks[0]}


def _peer() -> Path:
    """Fetch the peer, once."""
    folder = ROOT / ".run" / f"bench-{PEER}"
    if not folder.exists():
        making = folder.with_name(f"{folder.name}.making")
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*uv, "--python", sys.executable, "--target", str(making), PEER], check=True)
        making.rename(folder)
    return folder


def _copy(folder: Path) -> None:
    """Give the run a container of its own, of a seed that is made once."""
    kept = ROOT / ".run" / f"bench-scan-{BLOBS}"
    if not kept.exists():
        begin = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=3 * BLOBS + 3600)
        seed(kept, CONTAINER, blobs=BLOBS, naming=lambda at: f"{at:{NAMING}}", begin=begin)
    shutil.copytree(kept, folder)


def _lists(azurite: Azurite) -> bool:
    """Say whether Azurite has read all that it has, which takes it half a minute."""
    try:
        with container(azurite, CONTAINER) as client:
            return client.exists(retry_total=0, connection_timeout=2, read_timeout=READY_S)
    except AzureError:
        return False


def _add(azurite: Azurite) -> ScanState:
    """Upload what is new; give the state that a scan just before would have left, but for its names."""
    began = datetime.now(UTC).replace(microsecond=0)
    time.sleep(1)
    with container(azurite, CONTAINER) as client:
        for number in range(NEW):
            client.upload_blob(f"{began:{NAMING}}-{number:03}.csv", b"0123456789")
    return ScanState(since=began, reconciled=began)


def _ours(azurite: Azurite, state: ScanState, layout: Layout) -> dict[str, Any]:
    if layout == NAMES:
        last = (azurite.folder / LAST).read_text()
        state = evolve(state, floor=last, last=last)
    scan = Scan(
        account_url=f"{azurite.blob_url}/{ACCOUNT}",
        wanted=ArrivalFilter(container=CONTAINER, prefix=PREFIX),
        how=Scanning(layout=layout, overlap=timedelta(seconds=30)),
    )

    async def _look() -> tuple[int, int]:
        async with Scanner(SETTINGS, scan) as scanner:
            found = [len(part) async for part in scanner.pages(state)]
            return sum(found), scanner.listed_pages

    return _measured(_look)


def _theirs(azurite: Azurite, state: ScanState) -> dict[str, Any]:
    sys.path.insert(0, os.environ["PYTHONPATH"])
    # Airflow's providers are looked for where they were when Airflow was loaded.
    importlib.import_module("airflow.providers").__path__.append(f"{os.environ['PYTHONPATH']}/airflow/providers")
    hook = importlib.import_module("airflow.providers.microsoft.azure.hooks.wasb").WasbAsyncHook()
    os.environ["AIRFLOW_CONN_WASB_DEFAULT"] = json.dumps(
        {"conn_type": "wasb", "extra": {"connection_string": _connection_string(azurite)}}
    )

    async def _look() -> tuple[int, int]:
        async with await hook.get_async_conn():
            listed = await hook.get_blobs_list_async(CONTAINER, prefix=PREFIX, delimiter="")
        if len(listed) != BLOBS + NEW:
            raise RuntimeError(f"{len(listed)} blobs were listed")
        return len([one for one in listed if state.since is None or one.last_modified >= state.since]), 0

    return _measured(_look)


def _connection_string(azurite: Azurite) -> str:
    account = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY}"
    return f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={azurite.blob_url}/{ACCOUNT};"


def _measured(look: Callable[[], Coroutine[Any, Any, tuple[int, int]]]) -> dict[str, Any]:
    """Look once; how long it took, and by how much this process has grown at its peak."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # what was the peak until now is forgotten
    before_kb = _kilobytes(status.read_text(), "VmRSS")
    began, used = time.perf_counter(), time.process_time()
    found, pages = asyncio.run(look())
    wall_s, client_s = time.perf_counter() - began, time.process_time() - used
    if found != NEW:
        raise RuntimeError(f"{found} new blobs were found of {NEW}")
    peak_mb = (_kilobytes(status.read_text(), "VmHWM") - before_kb) / 1000
    return {"wall_s": wall_s, "client_s": client_s, "peak_mb": peak_mb, "pages": pages}


def _kilobytes(status: str, name: str) -> int:
    (line,) = [each for each in status.splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1])
