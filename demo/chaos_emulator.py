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
import time
from pathlib import Path

import attrs
import httpx
from rich.console import Console

from azureml_emulator.processes import processes_below
from demo import command_jobs
from demo.azure import Azurite, Emulator
from demo.chaos_show import Tally
from demo.processes import StartError, wait_until

JOBS, KILLS, NODES, LASTS_S, PATIENCE_S = 50, 20, 4, 1.0, 240.0
#: The longest time between two kills. Seconds.
PAUSE_S = 1.5


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of it.

    Attributes:
        ended: Jobs by their last word.
        faults: What should never have been.
        kills: SIGKILLs of the emulator.
        seconds: How long all took.
    """

    ended: dict[str, int]
    faults: list[str]
    kills: int
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
    chance, began = random.Random(seed), time.monotonic()  # noqa: S311  # repeatable
    names = [f"job-{number:03d}" for number in range(jobs)]
    watch = command_jobs.Watch()
    with Azurite(folder / "azurite") as azurite, Emulator(folder / "emulator", azurite, event_queues=()) as emulator:
        with command_jobs.open_client(emulator.http) as client:
            command_jobs.make_cluster(client, nodes=NODES)
        waiting, done = list(names), 0
        while waiting or done < kills:
            end = time.monotonic() + chance.uniform(0.05, PAUSE_S)
            _live(emulator, watch, waiting, until=end)
            if done < kills:
                emulator.kill()
                emulator.start()
                done += 1
            if show is not None:
                show.tell(jobs=watch.counts, kills={"done": done}, to_submit={"jobs": len(waiting)})
        with command_jobs.open_client(emulator.http) as client:
            last = command_jobs.watch_to_the_end(client, names, deadline_s=PATIENCE_S)
        for name, words in last.read.items():
            for word in words:
                watch.see({name: word})
        left = wait_until(lambda: not list(processes_below(emulator.state_dir / "runs")), deadline_s=20)
    faults = watch.faults(names) + ([] if left else ["processes of jobs are left over"])
    return Outcome(ended=dict(watch.counts), faults=faults, kills=done, seconds=round(time.monotonic() - began, 1))


def _live(emulator: Emulator, watch: command_jobs.Watch, waiting: list[str], *, until: float) -> None:
    """Submit and look until a moment; a request without an answer is sent again in the next life."""
    # A PUT of one job with the same specification is one job, so that asking again is safe.
    with contextlib.suppress(httpx.TransportError, StartError), command_jobs.open_client(emulator.http) as client:
        while time.monotonic() < until:
            if waiting:
                command_jobs.submit(client, waiting[:1], lasts_s=LASTS_S)
                waiting.pop(0)
            watch.see(command_jobs.look(client))
