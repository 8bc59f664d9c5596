"""Kill Airflow's processes at random moments, and count what became of it: of blobs that arrive, or of jobs.

    python -m demo.chaos [--case arrivals | --case jobs] [SEED]

``jobs`` is described in `demo.chaos_jobs`; what follows is ``arrivals``, in which the triggerer and the scheduler die.
The last line is one JSON object; the exit code is 1 when a blob version has not exactly one completed job and one
predictions file. The same seed gives the same files, kills and pauses (not the same interleaving: the processes are
real).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter

import attrs
from azure.storage.blob import BlobServiceClient
from rich.console import Console

from demo import chaos_jobs
from demo.azure import ROOT
from demo.evidence import Look, Version, Witness, faults
from demo.patients import PatientFile, whole
from demo.scenario import blobs, upload
from demo.show import Show
from demo.stack import Stack
from demo.tour import bring_up

BLOBS = 8
KILLS = 4
#: Seconds within which all has to be well again after the last kill: the scheduler takes 20 to see that a task has
#: died with it, the task's own pause before its next try is 30, and a held message comes back after 60.
DEADLINE_S = 420.0
#: So that Airflow sees in seconds, not in minutes, that a task died with its scheduler.
QUICK_TO_NOTICE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}


@attrs.frozen
class Blow:
    """Something that happens after a pause.

    Attributes:
        pause_s: Seconds after what came before it.
        file: What is uploaded then; None where a part is killed.
        part: Which part of Airflow is killed; empty where a file is uploaded.
        down_s: Seconds until the part is started again; nobody waits until it is ready.
    """

    pause_s: float
    file: PatientFile | None = None
    part: str = ""
    down_s: float = 0.0


def plan(seed: int) -> list[Blow]:
    """Draw what happens; the last upload comes after the last kill or before it."""
    draw = random.Random(seed)  # noqa: S311  # no secret: it must be the same again
    files = [
        whole(f"patients/chaos-{number}.csv", first=draw.randrange(400), count=draw.randint(3, 40))
        for number in range(BLOBS)
    ]
    blows = [Blow(pause_s=draw.uniform(0, 4), file=file) for file in files]
    for part in ["triggerer", "scheduler", *draw.choices(["triggerer", "scheduler"], k=KILLS - 2)]:
        blow = Blow(pause_s=draw.uniform(0, 10), part=part, down_s=draw.uniform(0, 4))
        blows.insert(draw.randint(1, len(blows)), blow)
    return blows


def strike(stack: Stack, service: BlobServiceClient, blows: list[Blow], show: Show) -> dict[Version, PatientFile]:
    """Let it happen; returns what was uploaded."""
    uploaded: dict[Version, PatientFile] = {}
    for blow in blows:
        time.sleep(blow.pause_s)
        if blow.file is not None:
            uploaded[upload(service, blow.file)] = blow.file
            show.say(f"{blow.file.path} is uploaded")
        else:
            stack.airflow.kill(blow.part)
            show.say(f"The {blow.part} is killed")
            time.sleep(blow.down_s)
            stack.airflow.launch(blow.part)
            show.say(f"The {blow.part} is started again")
    return uploaded


def wait(witness: Witness, wanted: dict[Version, PatientFile]) -> Look:
    """Look until all are scored and nothing goes on, or the time is over."""
    end = time.monotonic() + DEADLINE_S
    while True:
        look = witness.look()
        if (look.is_quiet and all(look.completed(each) for each in wanted)) or time.monotonic() > end:
            return look
        witness.stack.check()
        time.sleep(2)


def figures(seed: int, look: Look, wanted: dict[Version, PatientFile], wrong: list[str]) -> dict[str, object]:
    """Count."""
    by_key = Counter(job.key for job in look.jobs.values() if job.status == "Completed")
    return {
        "chaos": "score_on_arrival",
        "seed": seed,
        "blobs": len(wanted),
        "kills": KILLS,
        "runs": len(look.runs),
        "jobs": len(look.jobs),
        "completed": sum(by_key.values()),
        "lost": sum(not look.completed(each) for each in wanted),
        "doubled": sum(count - 1 for count in by_key.values()),
        "faults": len(wrong),
        "ok": not wrong,
    }


def main() -> int:
    """Run one of the cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.chaos", description="Kill processes at random moments.")
    parser.add_argument("seed", nargs="?", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--case", choices=("arrivals", "jobs"), default="arrivals")
    asked = parser.parse_args()
    if asked.case == "jobs":
        return chaos_jobs.run(asked.seed, Console(highlight=False, soft_wrap=True, stderr=True))
    return arrivals(asked.seed)


def arrivals(seed: int) -> int:
    """Kill while blobs arrive; returns the exit code."""
    folder = ROOT / ".run" / f"chaos-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    show = Show("", console=Console(highlight=False, soft_wrap=True, stderr=True))
    show.say(f"Seed {seed}; logs are in {folder}")
    with Stack(folder, environment=QUICK_TO_NOTICE).owned() as stack:
        bring_up(stack, show)
        with blobs(stack.emulator) as service, Witness(stack, service) as witness:
            wanted = strike(stack, service, plan(seed), show)
            show.doing("Waiting until all is scored")
            look = wait(witness, wanted)
            wrong = faults(look, wanted, scores_of=witness.scores)
    for each in wrong:
        show.console.print(f"  - {each}", markup=False)
    print(json.dumps({**figures(seed, look, wanted, wrong), "seconds": round(show.seconds)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
