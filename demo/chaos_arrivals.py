"""Kill Airflow, Azurite and the emulator while 1,000 blobs arrive, and see that each version was scored once.

    python -m demo.chaos [--case arrivals] [SEED] [--blobs 1000] [--kills 50] [--span 420]

Some blobs are overwritten, some deleted; of their events some are lost, some doubled, many late. Airflow has
PostgreSQL, a LocalExecutor and two triggerers; storage is killed behind a valve, see `demo.valve`. The last line is one
JSON object; the exit code is 1 when anything is wrong, and 2 when PostgreSQL is not installed. The same seed gives the
same plan (not the same interleaving: the processes are real).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import httpx
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from rich.console import Console

from azureml_emulator.tokens import issue
from demo.agenda import Agenda
from demo.azure import INCOMING, ROOT, WORKSPACE_ID
from demo.chaos_arrivals_judge import OVER, Fault, Truth, World, faults, figures
from demo.chaos_arrivals_plan import DAG, Plan
from demo.chaos_arrivals_witness import DIGESTS, Witness
from demo.chaos_arrivals_writer import Writer
from demo.chaos_show import Tally
from demo.evidence import API_VERSION
from demo.hammer import Hammer
from demo.killing import Killing
from demo.postgres import MissingError, Postgres
from demo.processes import wait_until
from demo.stack import Stack, airflow_environment

T = TypeVar("T")

#: Seconds without any change after which what has not ended is stuck.
STUCK_S = 240.0
#: Seconds after the last kill within which all has to be over, however slow the machine is.
DEADLINE_S = 1500.0
#: Seconds between two looks.
LOOK_EVERY_S = 8.0
ENDPOINT = "chaos-arrivals"
#: See Airflow's configuration reference; so that it sees in seconds, not in minutes, that something died.
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
}
#: What the pipeline does: it reads each file of its folder, and writes what it has read.
READ_ALL = """import hashlib, json, pathlib, sys
folder, out = map(pathlib.Path, sys.argv[1:])
files = sorted(each for each in folder.iterdir() if each.is_file())
read = dict((each.name, hashlib.sha256(each.read_bytes()).hexdigest()) for each in files)
(out / "{digests}").write_text(json.dumps(read))
print(len(read), "files read")
""".replace("{digests}", DIGESTS)


def run(seed: int, plan: Plan, console: Console) -> int:
    """Run it; returns the exit code."""
    folder = ROOT / ".run" / f"chaos-{seed}"
    try:
        database = Postgres(folder)
    except MissingError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "dags").mkdir(parents=True)
    shutil.copy(ROOT / "demo" / "dags" / f"{DAG}.py", folder / "dags")
    show = Tally(f"{plan.counts['blobs']} blobs under fire", console=console)
    show.say(f"Seed {seed}; logs are in {folder}")
    with database, _stack(folder, database.url).owned() as stack:
        _bring_up(stack, plan, show)
        hammer = Hammer(stack.airflow, emulator=stack.emulator, azurite=stack.valved)
        with hammer, _Chaos(stack, plan, show, hammer) as chaos, show:
            world = chaos.run()
            found = chaos.judge(world)
            told = {**chaos.figures(), **figures(world, found)}
    for each in found:
        console.print(f"  - {each.kind}: {each.what}", markup=False)
    print(json.dumps({"chaos": "arrivals", "seed": seed, **plan.counts, **told, "seconds": round(show.seconds)}))
    return 1 if found else 0


def _stack(folder: Path, db: str) -> Stack:
    return Stack(
        folder,
        dags=folder / "dags",
        db=db,
        emulator_arguments=("--control",),
        triggerers=2,
        environment=SETTINGS,
        template=None,
        valve=True,
    )


def _bring_up(stack: Stack, plan: Plan, show: Tally) -> None:
    """Start everything, with the pipeline published and the faults of events in force."""
    show.doing("Starting Azurite behind its valve, the emulator, and Airflow on PostgreSQL")
    stack.start_azure()
    with BlobServiceClient.from_connection_string(stack.emulator.connection_string) as service:
        service.create_container(INCOMING)
    with _client(stack) as client:
        _publish(client)
        client.put("/control/events", json=list(plan.faults)).raise_for_status()
    stack.airflow.migrate()
    stack.airflow.tell(airflow_environment(stack.emulator))
    stack.airflow.start()
    stack.airflow.unpause(DAG)
    wait_until(lambda: _listens(stack), deadline_s=120)
    show.say(f"Airflow: {stack.airflow.url}  emulator: {stack.emulator.http}/ui")


def _listens(stack: Stack) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return stack.airflow.listens(DAG)
    return False


def _client(stack: Stack) -> httpx.Client:
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    return httpx.Client(base_url=stack.emulator.http, headers=bearer, timeout=30, trust_env=False)


def _publish(client: httpx.Client) -> None:
    """Publish a pipeline of one step that reads every file of its folder, behind an endpoint."""

    def _put(path: str, **properties: Any) -> str:
        body = {"properties": properties}
        answer = client.put(f"{WORKSPACE_ID}/{path}", json=body, params={"api-version": API_VERSION})
        return str(answer.raise_for_status().json()["id"])

    faces: dict[str, Any] = {
        "inputs": {"data": {"type": "uri_folder"}},
        "outputs": {"digests": {"type": "uri_folder"}},
    }
    step = {
        "type": "command",
        "name": "read",
        "version": "1",
        "is_deterministic": False,
        "command": f"python -S -c '{READ_ALL}' ${{{{inputs.data}}}} ${{{{outputs.digests}}}}",
        **faces,
    }
    node = {
        "type": "command",
        "componentId": _put("components/read/versions/1", componentSpec=step),
        "inputs": {"data": {"job_input_type": "literal", "value": "${{parent.inputs.data}}"}},
        "outputs": {"digests": {"type": "literal", "value": "${{parent.outputs.digests}}"}},
    }
    whole = {"type": "pipeline", "name": ENDPOINT, "version": "1", "jobs": {"read": node}, **faces}
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {
            "assetId": _put(f"components/{ENDPOINT}/versions/1", componentSpec=whole),
            "referenceType": "Id",
        },
    }
    _put(f"batchEndpoints/{ENDPOINT}")
    _put(f"batchEndpoints/{ENDPOINT}/deployments/all", deploymentConfiguration=configuration)
    default = {"properties": {"defaults": {"deploymentName": "all"}}}
    path = f"{WORKSPACE_ID}/batchEndpoints/{ENDPOINT}"
    client.put(path, json=default, params={"api-version": API_VERSION}).raise_for_status()


class _Chaos:
    """Lets a plan happen; use it with ``with``."""

    def __init__(self, stack: Stack, plan: Plan, show: Tally, hammer: Hammer) -> None:
        self.stack, self.plan, self.show, self.hammer = stack, plan, show, hammer
        self.agenda = Agenda()
        self.killing = Killing(hammer, self.agenda, show, is_over=lambda: False)
        self.writer = Writer(stack.emulator.blob, plan.writes, self.agenda)
        self.witness = Witness(stack)
        self._control = _client(stack)
        self._looks = ThreadPoolExecutor(1)
        self._looking: Future[World | None] | None = None
        self._seen: World | None = None

    def __enter__(self) -> Self:
        self.killing.__enter__()
        self.witness.__enter__()
        self.writer.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self.writer.__exit__(*exit_)
        self.killing.__exit__(*exit_)
        self._looks.shutdown()
        self.witness.__exit__(*exit_)
        self._control.close()

    def run(self) -> World:
        """Let everything happen, and look until all is over or the time is."""
        self.killing.expect(self.plan.kills)
        self.show.doing("Writing and killing")
        looked_at = changed_at = ends_at = 0.0
        while True:
            self.agenda.happen()
            self.killing.revive()
            is_calm = self.agenda.is_empty and self.killing.is_quiet and self.writer.is_done
            if is_calm and not ends_at:
                ends_at = self.agenda.now + DEADLINE_S
                self.show.doing("Waiting until all is scored")
            if self.agenda.now >= looked_at + LOOK_EVERY_S and self._has_looked():
                looked_at = self.agenda.now
                if (world := self._latest()) != self._seen:
                    changed_at, self._seen = looked_at, world
                is_done = self._seen is not None and self._seen.is_done
                if ends_at and (is_done or looked_at > min(ends_at, changed_at + STUCK_S)):
                    return self._settle()
            time.sleep(0.1)

    def _has_looked(self) -> bool:
        """Whether the look that was begun has ended; looks take long while things are down, and kills do not wait."""
        return self._looking is None or self._looking.done()

    def _latest(self) -> World | None:
        """Take the result of the last look, or that of the one before where it failed, and begin another."""
        found = self._looking.result() if self._looking is not None else None
        self._looking = self._looks.submit(self._look)
        return found or self._seen

    def _look(self) -> World | None:
        """Look once; None when something does not answer just now."""
        try:
            world = self.witness.look()
        except (httpx.HTTPError, AzureError, ValueError):
            return None
        outputs = world.outputs
        self.show.tell(
            blobs={
                "there": len(world.current),
                "published": sum(version in outputs for version in world.surviving),
                "writes": self.writer.acknowledged,
            },
            batches=Counter(batch.state for batch in world.batches),
            jobs=Counter(job.status for job in world.jobs),
            runs=Counter(world.runs.values()),
            kills=self.hammer.killed,
        )
        return world

    def _settle(self) -> World:
        """Wait until every run that has begun by now is over, and look at everything; later runs find nothing to do."""
        self.show.doing("Waiting until Airflow's runs are over")
        begun = set(self._asked(self.witness.runs))
        wait_until(lambda: self._are_over(begun), deadline_s=STUCK_S, step_s=2)
        self.show.doing("Judging")
        world = self._asked(lambda: self.witness.look(with_entries=True))
        return attrs.evolve(world, runs={run: state for run, state in world.runs.items() if run in begun})

    def _are_over(self, begun: set[str]) -> bool:
        self.killing.revive()
        return all(state in OVER for run, state in self._asked(self.witness.runs).items() if run in begun)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer: nothing is killed any more, but a busy machine takes its time."""
        end = time.monotonic() + STUCK_S
        while True:
            try:
                return ask()
            except (httpx.HTTPError, AzureError):
                if time.monotonic() > end:
                    raise
                time.sleep(2)

    def judge(self, world: World) -> list[Fault]:
        """Say what is wrong."""
        truth = Truth(last={path: write.digest for path, write in self.plan.last.items()}, contents=self.plan.contents)
        found = faults(world, truth)
        if not self.writer.is_done:
            found.append(Fault("unfinished", "not everything that was to be written is written"))
        missed = len(self.plan.kills) - self.hammer.killed.total()
        return [*found, Fault("unfinished", f"{missed} kills hit nothing")] if missed else found

    def figures(self) -> Mapping[str, object]:
        """Count what was done to them."""
        events = self._control.get("/control/events").raise_for_status().json()
        struck = {next(name for name in _EFFECTS if name in fault): fault["struck"] for fault in events}
        return {
            "writes": self.writer.acknowledged,
            "unanswered_writes": self.writer.unanswered,
            "kills": self.hammer.killed.total(),
            "killed": dict(sorted(self.hammer.killed.items())),
            "ended_by_themselves": self.killing.revived.total(),
            **{f"events_{_EFFECTS[name]}": count for name, count in struck.items()},
        }


_EFFECTS = {"lost": "lost", "doubled": "doubled", "behind": "overtaken", "delay_s": "late"}
