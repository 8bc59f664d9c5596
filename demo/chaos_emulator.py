"""The emulator is killed again and again while jobs run: none is lost, and none is ever in two states.

What it says of a job before a kill must hold after it: a job that was acknowledged is there, an end stays an end. A job
that ran when the emulator was killed is Failed, with that reason, and its process is gone.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import httpx
from rich.console import Console

from azureml_emulator.processes import processes_below
from demo import command_jobs
from demo.azure import Azurite, Emulator
from demo.chaos_show import Tally
from demo.processes import wait_until

JOBS, KILLS, NODES, LASTS_S, PATIENCE_S = 50, 20, 4, 1.0, 240.0
#: The longest time between two kills. Seconds.
PAUSE_S = 1.5
#: No job sleeps for less. Seconds.
LEAST_S = 0.05


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of it.

    Attributes:
        ended: Jobs by their last word.
        faults: What should never have been.
        kills: SIGKILLs of the emulator.
        struck: Those of them that found a job that had not ended.
        seconds: How long all took.
    """

    ended: dict[str, int]
    faults: list[str]
    kills: int
    struck: int
    seconds: float


def run(seed: int, console: Console) -> int:
    """Run it; returns the exit code, and prints one JSON object."""
    with (
        tempfile.TemporaryDirectory() as name,
        Tally(title=f"chaos: the emulator, seed {seed}", console=console) as show,
    ):
        outcome = play(Path(name), seed, show=show)
    for fault in outcome.faults[:20]:
        console.print(fault)
    sys.stdout.write(json.dumps({"case": "emulator", "seed": seed, **attrs.asdict(outcome)}) + "\n")
    return 1 if outcome.faults else 0


def play(folder: Path, seed: int, *, jobs: int = JOBS, kills: int = KILLS, show: Tally | None = None) -> Outcome:
    """Submit jobs and kill the emulator meanwhile.

    Args:
        folder: Where everything is kept.
        seed: Draws the moments.
        jobs: How many jobs.
        kills: How many SIGKILLs.
        show: Is told how it goes.
    """
    chance, began, watch = random.Random(seed), time.monotonic(), command_jobs.Watch()  # noqa: S311  # repeatable
    lasting = {f"job-{number:03d}": round(chance.uniform(LEAST_S, LASTS_S), 2) for number in range(jobs)}
    with Azurite(folder / "azurite") as azurite, Emulator(folder / "emulator", azurite, event_queues=()) as emulator:
        with command_jobs.open_client(emulator.http) as client:
            command_jobs.make_cluster(client, nodes=NODES)
        waiting, struck = dict(lasting), 0
        for done in range(kills):
            # So that there are jobs in each life.
            some = list(waiting)[: -(-len(waiting) // (kills - done))]
            taken = _life(emulator, watch, {name: waiting[name] for name in some}, chance.uniform(LEAST_S, PAUSE_S))
            waiting = {name: lasts_s for name, lasts_s in waiting.items() if name not in taken}
            struck += sum(watch.counts[word] for word in command_jobs.FINAL) < jobs - len(waiting)
            emulator.start()
            if show is not None:
                show.tell(jobs=watch.counts, kills={"done": done + 1}, to_submit={"jobs": len(waiting)})
        with command_jobs.open_client(emulator.http) as client:
            for name, lasts_s in waiting.items():
                command_jobs.submit(client, [name], lasts_s=lasts_s)
            last = command_jobs.watch_to_the_end(client, list(lasting), deadline_s=PATIENCE_S)
        for name, words in last.read.items():
            for word in words:
                watch.see({name: word})
        left = wait_until(lambda: not list(processes_below(emulator.state_dir / "runs")), deadline_s=20)
    faults = watch.faults(lasting) + ([] if left else ["processes of jobs are left over"])
    seconds = round(time.monotonic() - began, 1)
    return Outcome(ended=dict(watch.counts), faults=faults, kills=kills, struck=struck, seconds=seconds)


def _life(emulator: Emulator, watch: command_jobs.Watch, jobs: Mapping[str, float], lasts_s: float) -> set[str]:
    """Submit jobs that sleep so long, and look, until the emulator is killed; gives those that were taken.

    The kill comes while a request is being answered, as often as not. A job whose submission was not answered is
    submitted again in the next life: a PUT of one job with the same specification is one job.
    """
    taken: set[str] = set()
    killer = threading.Timer(lasts_s, emulator.kill)
    killer.start()
    with contextlib.suppress(httpx.TransportError), command_jobs.open_client(emulator.http) as client:
        while True:
            for name in [name for name in jobs if name not in taken][:1]:
                command_jobs.submit(client, [name], lasts_s=jobs[name])
                taken.add(name)
            watch.see(command_jobs.look(client))
    killer.join()
    return taken
