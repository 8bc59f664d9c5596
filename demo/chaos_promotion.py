"""Kill workers and triggerers while models are promoted and rolled out, under load all the while.

    python -m demo.chaos --case promotion [SEED]

Models are trained, crowned and released one after the other, sound ones and slow ones; whoever asks the production
endpoint, 100 times a second, must notice nothing. The last line is one JSON object, whatever happens, and comes within
ten minutes; the exit code is 1 when anything is wrong, and 2 when PostgreSQL is not installed. The same seed gives the
same plan (not the same interleaving: the processes are real).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from airflow_azureml.client.models import open_registrar
from demo.agenda import Agenda
from demo.azure import ROOT, WORKSPACE_ID
from demo.chaos_jobs import SETTINGS
from demo.chaos_plan import Kill
from demo.chaos_promotion_judge import Look, Run, faults, figures
from demo.chaos_promotion_plan import DAG, ENDPOINT, LEAST_ROUNDS, MODEL, RATE_PER_S, Plan, Round
from demo.chaos_show import Tally
from demo.hammer import Hammer
from demo.killing import Killing
from demo.postgres import MissingError, Postgres
from demo.pressing import Pressure, TrafficWatch
from demo.serving import MODELS_VERSION, SOUND, Serving
from demo.stack import Stack, airflow_environment

#: What serves before the first round.
FIRST = f"{MODEL}-first"
#: Seconds after which no round goes on, however slow the machine is, counted from the very beginning.
DEADLINE_S = 530.0
#: Seconds after which no other round begins once all kills are done: it would not end in time.
LAST_BEGIN_S = 330.0
LOOK_EVERY_S = 1.0
#: Seconds after which a task that is queued stays so until its scheduler is started anew; see docs/chaos.md.
QUEUED_S = 40.0
#: Airflow sees within seconds that a task is dead whose worker died with it.
SOONER = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}
ENDED = frozenset({"success", "failed"})
API_VERSION = "2024-01-01-preview"
#: The training writes the model that it is told, and the figures that it is told.
COMMAND = (
    "printf '%s' '${{inputs.model_json}}' > ${{outputs.model}}/model.json && printf '{\"schema\": 1,"
    ' "metrics": {"rmse": %s}, "data": {"version": "sha256:1", "rows": 60}}\' \'${{inputs.rmse}}\''
    " > ${{outputs.evaluation}}/evaluation.json && mkdir -p ${{outputs.prepared}} && touch ${{outputs.prepared}}/rows"
)


def run(seed: int, plan: Plan, console: Console) -> int:
    """Run it, and print its figures whatever happens; returns the exit code."""
    folder = ROOT / ".run" / f"chaos-promotion-{seed}"
    try:
        database = Postgres(folder)
    except MissingError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    show = Tally("Promotions under fire", console=console)
    show.say(f"Seed {seed}; logs are in {folder}")
    told: dict[str, Any] = {}
    try:
        with database, _stack(folder, database.url).owned() as stack:
            wrong = _happen(stack, plan, show, told)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # whatever it is, it is told, with what is known
        wrong = [f"{type(error).__name__}: {error}"]
    for each in wrong:
        console.print(f"  - {each}", markup=False)
    ended = {"faults": len(wrong), "ok": not wrong, "seconds": round(show.seconds)}
    print(json.dumps({"chaos": "promotion", "seed": seed, **told, **ended}))
    return 1 if wrong else 0


def _happen(stack: Stack, plan: Plan, show: Tally, told: dict[str, Any]) -> list[str]:
    """Let all of it happen; returns what is wrong, and tells the figures as they are known."""
    with contextlib.ExitStack() as exits:
        show.doing("Starting Azurite, the emulator and Airflow on PostgreSQL")
        stack.start_azure()
        serving = exits.enter_context(Serving(stack.emulator))
        _prepare(serving)
        stack.airflow.migrate()
        stack.airflow.tell(airflow_environment(stack.emulator))
        stack.airflow.start()
        stack.airflow.unpause(DAG)
        show.say(f"Airflow: {stack.airflow.url}  emulator: {stack.emulator.http}/ui")
        pressure, watch = exits.enter_context(serving.under_load(ENDPOINT, rate_per_s=RATE_PER_S))
        hammer = exits.enter_context(Hammer(stack.airflow))
        chaos = _Chaos(stack, plan, show, hammer)
        try:
            with show:
                runs = chaos.run(lambda: _shown(pressure, watch))
        finally:
            told |= {"kills": hammer.killed.total(), "killed": dict(sorted(hammer.killed.items()))}
            told |= {"freed": chaos.freed, "ended_by_themselves": chaos.killing.revived.total() - chaos.freed}
            told |= {"requests": pressure.tally.requests, "failed": pressure.tally.failed, "torn": len(watch.torn)}
        time.sleep(2)
        look = _look(serving, runs, pressure, watch)
    wrong = faults(look)
    if len(plan.kills) != hammer.killed.total():
        wrong.append(f"{hammer.killed.total()} of {len(plan.kills)} kills hit something")
    told |= figures(look, wrong)
    return wrong


def _stack(folder: Path, db: str) -> Stack:
    return Stack(
        folder,
        dags=ROOT / "demo" / "dags",
        db=db,
        event_queues=(),
        triggerers=2,
        environment={**SETTINGS, **SOONER, "CHAOS_PLAN": str(_no_jobs(folder))},
        template=None,
    )


def _no_jobs(folder: Path) -> Path:
    """Write the plan that the other DAG of the folder reads."""
    path = folder / "no_jobs.json"
    path.write_text(json.dumps({"shape": {"endpoint": 1, "component": 1, "job": 1}, "parts": []}))
    return path


def _prepare(serving: Serving) -> None:
    """Publish the training, and have a sound model serve."""
    ports = {
        "inputs": {"model_json": {"type": "string"}, "rmse": {"type": "string"}},
        "outputs": {name: {"type": "uri_folder"} for name in ("model", "evaluation", "prepared")},
    }
    with httpx.Client(
        base_url=serving.emulator.http, headers=dict(serving.headers), trust_env=False, timeout=30
    ) as http:

        def _put(name: str, **spec: Any) -> str:
            url = f"{WORKSPACE_ID}/components/{name}/versions/1?api-version={API_VERSION}"
            body = {"properties": {"componentSpec": {"name": name, "version": "1", **spec, **ports}}}
            return str(http.put(url, json=body).raise_for_status().json()["id"])

        node = {
            "type": "command",
            "componentId": _put("numbers-step", type="command", command=COMMAND),
            **{
                part: {name: {"value": f"${{{{parent.{part}.{name}}}}}"} for name in names}
                for part, names in ports.items()
            },
        }
        _put("numbers-training", type="pipeline", jobs={"train": node})
    serving.register("numbers-first", "1", SOUND)
    serving.deploy(ENDPOINT, FIRST, "numbers-first:1")


class _Chaos:
    """Lets a plan happen."""

    def __init__(self, stack: Stack, plan: Plan, show: Tally, hammer: Hammer) -> None:
        self._stack, self._plan, self._show, self._hammer = stack, plan, show, hammer
        self._states: Mapping[str, str] = {}
        self._agenda = Agenda()
        self._queued_since: dict[str, float] = {}
        #: How often the scheduler was started anew for a task that stayed queued.
        self.freed = 0
        self.killing = Killing(hammer, self._agenda, show, is_over=lambda: False)

    def run(self, tell: Any) -> list[Run]:
        """Promote one model after the other until all has been killed that is to be; returns what became of each."""
        found: list[Run] = []
        self.killing.expect(kill for kill in self._plan.kills if kill.part != "worker")
        for kill in self._plan.kills:
            if kill.part == "worker":
                self._agenda.add(kill.at_s, partial(self._strike, kill))
        with self.killing:
            for each in self._plan.rounds:
                is_enough = len(found) >= LEAST_ROUNDS or (found and self._show.seconds >= LAST_BEGIN_S)
                if (self._agenda.is_empty and is_enough) or self._show.seconds >= DEADLINE_S:
                    break
                self._show.doing(f"Promoting model {each.number}, a {'sound' if each.is_sound else 'slow'} one")
                found.append(self._round(each, tell))
                self._show.say(f"{each.run_id}: {found[-1].state}")
        return found

    def _round(self, this: Round, tell: Any) -> Run:
        looked_at = 0.0
        begun, run = False, Run(round=this, state="none", version="", deployment="")
        while self._show.seconds < DEADLINE_S:
            self._agenda.happen()
            self.killing.revive()
            if self._agenda.now >= looked_at + LOOK_EVERY_S:
                looked_at = self._agenda.now
                begun = begun or self._begin(this)
                run = (self._look(this) or run) if begun else run
                self._states = run.tasks
                self._free(run)
                self._show.tell(**tell(), tasks=Counter(run.tasks.values()))
                if run.state in ENDED:
                    break
            time.sleep(0.1)
        return run

    def _strike(self, kill: Kill) -> float | None:
        """Kill a task that Airflow knows to run, or say when to try again.

        One whose worker dies before that is not seen to be dead by Airflow 3.3; most tasks are short, so that whoever
        kills as soon as there is one hits little else.
        """
        if "running" not in self._states.values():
            return 0.5
        told = self._hammer.strike_task(whole=kill.whole, pick=kill.pick)
        if not told:
            return 0.5
        self._states = {}
        self._show.say(f"Killed: {told}")
        return None

    def _free(self, run: Run) -> None:
        """End a scheduler that waits for a worker that is dead; it is started anew with whatever has ended."""
        queued = {task for task, state in run.tasks.items() if state == "queued"}
        now = self._agenda.now
        self._queued_since = {task: self._queued_since.get(task, now) for task in queued}
        if any(now - since > QUEUED_S for since in self._queued_since.values()):
            self._queued_since.clear()
            self.freed += 1
            self._show.say(f"Queued for more than {QUEUED_S:.0f} s: {', '.join(sorted(queued))}")
            self._stack.airflow.children["scheduler"].kill()

    def _begin(self, this: Round) -> bool:
        body = {"logical_date": None, "dag_run_id": this.run_id, "conf": this.conf}
        try:
            self._stack.airflow.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)
        except httpx.HTTPStatusError as error:
            return error.response.status_code == httpx.codes.CONFLICT
        except httpx.TransportError:
            return False
        return True

    def _look(self, this: Round) -> Run | None:
        """Look at a run; None when Airflow does not answer just now."""
        runs = f"/api/v2/dags/{DAG}/dagRuns/{this.run_id}"
        try:
            state = self._stack.airflow.get(runs)["state"]
            tasks = self._stack.airflow.get(f"{runs}/taskInstances", limit=100)["task_instances"]
            states = {each["task_id"]: str(each["state"]) for each in tasks}
            version = self._told(runs, "learn.register", states).get("version", "")
            deployment = self._told(runs, "release.plan", states).get("deployment", "")
        except (httpx.HTTPError, ValueError):
            return None
        return Run(round=this, state=state, version=version, deployment=deployment, tasks=states)

    def _told(self, runs: str, task: str, states: Mapping[str, str]) -> dict[str, str]:
        if states.get(task) != "success":
            return {}
        found: dict[str, str] = self._stack.airflow.get(f"{runs}/taskInstances/{task}/xcomEntries/return_value")[
            "value"
        ]
        return found


def _shown(pressure: Pressure, watch: TrafficWatch) -> dict[str, dict[str, int]]:
    tally = pressure.tally
    traffic = dict(watch.states[-1].traffic) if watch.states else {}
    return {"requests": {"asked": tally.requests, "failed": tally.failed}, "traffic": traffic}


def _look(serving: Serving, runs: list[Run], pressure: Pressure, watch: TrafficWatch) -> Look:
    """Ask the workspace what is there in the end."""
    with open_registrar(serving.settings) as registrar:
        reigns = registrar.registers.read(MODEL).reigns
    url = f"{serving.emulator.http}{WORKSPACE_ID}/models/{MODEL}/versions?api-version={MODELS_VERSION}"
    answer = httpx.get(url, headers=dict(serving.headers), trust_env=False, timeout=30).raise_for_status()
    tagged = [each["name"] for each in answer.json()["value"] if each["properties"]["tags"].get("stage") == "champion"]
    return Look(
        runs=runs,
        reigns=reigns,
        champions=tagged,
        seen=list(watch.states),
        deployments={
            name: each["properties"]["provisioningState"] for name, each in serving.deployments(ENDPOINT).items()
        },
        rollout=serving.rollout(ENDPOINT),
        first=FIRST,
        requests=pressure.tally.requests,
        failed=pressure.tally.failed,
        failures=list(pressure.tally.failures),
    )
