"""The demonstration: three files arrive, one twice, one half-broken; what becomes of them is shown and checked."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from demo.azure import ROOT
from demo.evidence import Look, Version, Witness, faults
from demo.patients import PatientFile, three_files
from demo.processes import StartError
from demo.scenario import blobs, prepare, publishing, upload
from demo.show import Show, Way
from demo.stack import Stack

FOLDER = ROOT / ".run" / "demo"
#: Seconds within which all files have to be scored.
DEADLINE_S = 180.0
#: Seconds between two looks.
LOOK_EVERY_S = 1.0


@attrs.frozen
class Upload:
    """One upload of a file."""

    label: str
    file: PatientFile
    version: Version


def run(console: Console) -> int:
    """Run the demonstration; 0 when everything it promises is true, 1 otherwise."""
    began = time.monotonic()
    with _alone(FOLDER), Stack(FOLDER).owned() as stack:
        show = Show("From a blob to its predictions", console=console, began=began)
        bring_up(stack, show)
        with blobs(stack.emulator) as service, Witness(stack, service) as witness:
            uploads, look = let_arrive(stack, show, witness)
            current = {
                each.version: each.file for each in uploads if look.current.get(each.file.path) == each.version.etag
            }
            wrong = faults(look, current, scores_of=witness.scores)
            if len(current) != len(three_files()):
                wrong.append(f"{len(current)} of {len(three_files())} files are there as they were uploaded last")
            tell_results(show, witness, look, current)
        show.doing("Ending Airflow, the emulator and Azurite")
    if wrong:
        console.print("\n[bold red]Not all of it is true:[/bold red]")
        for each in wrong:
            console.print(f"  - {each}", markup=False)
    else:
        console.print(
            "\n[bold green]All of it is true:[/bold green] each blob version that is there has one completed job"
        )
        console.print(
            "and one predictions file with the right rows, counted in Airflow, in the workspace and in storage."
        )
    console.print(f"Total: {time.monotonic() - began:.0f} s. Logs: {FOLDER}")
    return 1 if wrong else 0


def bring_up(stack: Stack, show: Show) -> Mapping[str, Any]:
    """Start a stack, publish and train while Airflow starts, and let the DAG look for arrivals.

    Returns:
        What was published.
    """
    show.doing("Starting Azurite and the emulator")
    with ThreadPoolExecutor(1) as pool:
        migrated = pool.submit(stack.airflow.migrate, stack.template)
        stack.start_azure()
        show.say(f"Azurite: {stack.azurite.blob_url}  emulator: {stack.emulator.http}/ui")
    show.doing("Publishing the pipelines with azure-ai-ml, while Airflow starts")
    with publishing(stack.emulator, say=lambda said: show.say(f"  {said}")) as published:
        migrated.result()
        stack.start_airflow()
        show.say(f"Airflow: {stack.airflow.url}")
        prepare(stack)
        show.say("The DAG score_on_arrival is on and listens for blobs in incoming/patients/")
        found = published()
    model = found["model"]
    metrics = ", ".join(f"{name} {value:.3g}" for name, value in model["metrics"].items())
    show.say(f"Model {model['name']}:{model['version']} is trained and registered: {metrics}")
    return found


def let_arrive(stack: Stack, show: Show, witness: Witness) -> tuple[list[Upload], Look]:
    """Upload the files, and show their way until each current version is scored or the time is over."""
    uploads: list[Upload] = []
    told: set[str] = set()
    first, second, broken = three_files()
    with show:
        for file, again in ((first, ""), (second, ""), (broken, ""), (second, " again")):
            label = file.path.rpartition("/")[2] + again
            uploads.append(Upload(label, file, upload(witness.blobs, file)))
        end = time.monotonic() + DEADLINE_S
        show.doing("Waiting for the predictions")
        while True:
            look = witness.look()
            for address in [witness.run_page(run) for run in look.runs] + [witness.page(job) for job in look.jobs]:
                if address not in told:
                    told.add(address)
                    show.say(address)
            show.show([_way(each, look, witness) for each in uploads])
            wanted = [each.version for each in uploads if look.current.get(each.version.path) == each.version.etag]
            scored = all(look.completed(each) for each in wanted)
            if (scored and look.is_quiet) or time.monotonic() > end:
                return uploads, look
            stack.check()
            time.sleep(LOOK_EVERY_S)


def tell_results(show: Show, witness: Witness, look: Look, current: Mapping[Version, PatientFile]) -> None:
    """Print the first predictions, the counts, and where to look further."""
    for version, file in current.items():
        done = {job.name for job in look.completed(version)}
        for task in look.tasks.get(version, ()):
            if task.job not in done:
                continue
            scores = witness.scores(task)
            shown = ("age", "bmi", "bp", "s5", "prediction")
            where = [scores.columns.index(name) for name in shown]
            rows = [
                {name: f"{float(row[at]):.4g}" for name, at in zip(shown, where, strict=True)}
                for row in scores.rows[:3]
            ]
            title = f"{file.path}: {len(scores.rows)} predictions, {len(scores.rejected)} rows rejected"
            show.table(rows, title=title)
            for line, reason, *_ in scores.rejected[:3]:
                show.console.print(f"  rejected line {line}: {reason}")
            show.console.print(
                f"  {scores.place}\n  job  {witness.page(task.job)}\n  run  {witness.run_page(task.run_id)}"
            )


def _way(each: Upload, look: Look, witness: Witness) -> Way:
    """Say how far an upload has come; times are seconds after it."""
    way = Way(each.label, {"uploaded": f"{len(each.file.content) / 1000:.1f} kB"})
    at = each.version.at
    if each.version in look.heard:
        way.hops["event"] = f"+{look.heard[each.version] - at:.1f} s"
    tasks = look.tasks.get(each.version, ())
    if tasks:
        task = tasks[-1]
        began = f"+{task.began - at:.1f} s, " if task.began else ""
        way.hops["DAG run"] = f"{began}score {task.map_index} {task.state}"
    for job in look.jobs_of(each.version):
        steps = ", ".join(f"{name} {status}" for name, status in job.steps)
        way.hops["job: steps"] = f"{_short(job.name)} {job.status}" + (f": {steps}" if steps else "")
    for task in tasks:
        if task.state == "success" and task.job:
            scores = witness.scores(task)
            counts = f"{len(scores.rows)} rows, {len(scores.rejected)} rejected"
            way.hops["predictions"] = f"+{task.ended - at:.1f} s, {counts}"
    if "predictions" not in way.hops and look.current.get(each.version.path) != each.version.etag:
        way.hops["predictions"] = "replaced by the later upload"
    return way


def _short(job: str) -> str:
    return f"…{job[-6:]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Take a folder, emptied, for this process alone.

    Raises:
        StartError: Another one has it.
    """
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"Another demonstration uses {folder}; wait for its end.") from None
        shutil.rmtree(folder, ignore_errors=True)
        yield
