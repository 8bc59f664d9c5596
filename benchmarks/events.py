"""How many arrivals a second come from a queue into Airflow's database: ours, and the lower of what bounds it.

Azurite's queue is kept at the same backlog by the same feeder for both sides, for Azurite's time for a message grows
with the number of messages in the queue. Ours is `BlobArrivalTrigger` in a real triggerer; its figure is the number of
different arrivals in the asset events that Airflow has stored, by their own times, in a window that begins when it runs
smoothly. The peer is the lower of two, measured in the same run while Airflow idles: (a) the bare SDK, which receives
the same pages and deletes them, and stores nothing, with as many receivers as are best; (b) Airflow's own ceiling for
asset events, of a trigger that does nothing but yield one for each message, as fast as it can. Ours makes an event of a
page of messages, so that it may pass (b); what it comes to of (a) alone, and Airflow's ceiling for events of a page,
stand beside.
"""

import asyncio
import importlib.metadata
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.queues import PAGE, fed, take, url_of
from benchmarks.report import Report
from demo.airflow import Airflow, default_template
from demo.azure import ROOT, Azurite
from demo.processes import wait_until

DAGS = ROOT / "benchmarks" / "dags" / "events"
QUEUE = "arrivals"
#: Messages in the queue, those included that somebody has taken. Ours holds what waits for Airflow to store it, which
#: are two to three seconds of arrivals; what is left has to be more than a receiver takes at a time.
BACKLOG = 2000
#: Seconds that each side is measured, after so many in which it gets going.
WINDOW_S, WARM_S = 20.0, 5.0
ROUNDS = 2
RECEIVERS = (1, 2)
PAGES, SINGLES = 250, 500
LEAST = 0.8


def measure() -> Report:
    """Measure the bounds before and after ours, and ours by turns with them."""
    with tempfile.TemporaryDirectory() as name, Azurite(Path(name) / "azurite") as azurite:
        url = url_of(azurite, QUEUE)
        told = {"BENCH_QUEUE_URL": url, "BENCH_PAGES": str(PAGES), "BENCH_SINGLES": str(SINGLES)}
        environment = {**told, "PYTHONPATH": str(ROOT), "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2"}
        airflow = Airflow(Path(name) / "airflow", dags=DAGS, environment=environment)
        airflow.migrate(default_template())
        with airflow:
            pages = _flooded(airflow, "pages", PAGES) * PAGE
            singles = _flooded(airflow, "singles", SINGLES)
            ours, bare = [], []
            with fed(url, BACKLOG):
                for _ in range(ROUNDS):
                    bare.append(max(asyncio.run(take(url, receivers=each, seconds=WINDOW_S)) for each in RECEIVERS))
                    ours.append(_taken(airflow))
    mine, sdk = statistics.mean(ours), statistics.mean(bare)
    peer = min(sdk, singles)
    return Report(
        benchmark="events",
        ours=mine,
        peer=peer,
        ratio=mine / peer,
        unit="arrivals a second, from the queue into Airflow's database",
        goal=f"ours / the lower of the bare SDK and Airflow's ceiling >= {LEAST}",
        ok=mine >= LEAST * peer,
        beside={
            "of_bare_sdk": round(mine / sdk, 2),
            "bare_sdk": round(sdk, 1),
            "ceiling_by_pages": round(pages, 1),
            "ceiling_one_by_one": round(singles, 1),
            "rounds": [[round(each, 1) for each in pair] for pair in zip(ours, bare, strict=True)],
            "backlog": BACKLOG,
            "azure_storage_queue": importlib.metadata.version("azure-storage-queue"),
            "airflow": importlib.metadata.version("apache-airflow-core"),
        },
    )


def _flooded(airflow: Airflow, dag: str, count: int) -> float:
    """Let a flood go, and return the events that were stored a second."""
    with _Listening(airflow, dag):
        _until(lambda: len(_stored(airflow, dag)) >= count, f"{count} events of {dag}")
        times = [at for at, _ in _stored(airflow, dag)]
    return (len(times) - 1) / (times[-1] - times[0])


def _taken(airflow: Airflow) -> float:
    """Let ours read the queue, and return the different arrivals that were stored a second.

    Raises:
        RuntimeError: An arrival was stored twice.
    """
    before = len(_stored(airflow, "ours"))
    with _Listening(airflow, "ours"):
        _until(lambda: len(_stored(airflow, "ours")) > before, "an event of ours")
        time.sleep(WARM_S + WINDOW_S)
        stored = _stored(airflow, "ours")[before:]
    begin = stored[0][0] + WARM_S
    found = [etag for at, etags in stored if begin <= at < begin + WINDOW_S for etag in etags]
    if len(found) != len(set(found)):
        raise RuntimeError(f"{len(found) - len(set(found))} arrivals were stored twice")
    return len(found) / WINDOW_S


class _Listening:
    """A DAG that is on while the block lasts."""

    def __init__(self, airflow: Airflow, dag: str) -> None:
        self._airflow, self._dag = airflow, dag

    def __enter__(self) -> None:
        self._airflow.unpause(self._dag)

    def __exit__(self, *_: object) -> None:
        self._airflow.call("PATCH", f"/api/v2/dags/{self._dag}", {"is_paused": True})
        _until(lambda: not self._airflow.listens(self._dag), f"Airflow to leave {self._dag}")


def _stored(airflow: Airflow, asset: str) -> Sequence[tuple[float, Sequence[str]]]:
    """Read the events of an asset, oldest first: when each was stored, and the eTags of its arrivals."""
    query = (
        "SELECT 86400.0 * (julianday(event.timestamp) - 2440587.5), event.extra FROM asset_event AS event"
        " JOIN asset ON asset.id = event.asset_id WHERE asset.name = ? ORDER BY event.id"
    )
    with sqlite3.connect(f"file:{airflow.folder}/airflow.db?mode=ro", uri=True, timeout=30) as database:
        rows = database.execute(query, (asset,)).fetchall()
    return [(at, [each["etag"] for each in json.loads(extra)["payload"]]) for at, extra in rows]


def _until(condition: Callable[[], bool], what: str) -> None:
    if not wait_until(condition, deadline_s=120, step_s=0.5):
        raise RuntimeError(f"waited 120 s for {what}")
