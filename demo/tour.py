"""The demonstration: files are scored in a batch, and the model is trained anew, which makes it better, or does not.

Four files arrive, one told of twice, one replaced, one half-broken, one no CSV at all. They arrive while the DAG is
still off, so that they are scored in one batch. Then the model is retrained three times: a better one becomes the
champion, a worse one is rejected, and data with a shifted column is quarantined. All is shown, and checked.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs
from azure.storage.blob import BlobServiceClient
from rich.console import Console

from demo.azure import ROOT
from demo.batches import DAG, BatchLook, BatchWitness, Row, faults, faults_of_ledger
from demo.evidence import Version
from demo.patients import PatientFile, arriving_files
from demo.processes import StartError
from demo.rounds import FIRST_SHARE, learn
from demo.scenario import blobs, deliver_again, listen, make_queue, publishing, upload
from demo.show import Show, Way
from demo.stack import Stack

FOLDER = ROOT / ".run" / "demo"
#: Seconds within which all files have to be scored.
DEADLINE_S = 180.0
#: Seconds between two looks.
LOOK_EVERY_S = 1.0
#: Rows of predictions, and rejected rows, that are shown of a file.
SHOWN = 3
COLUMNS = ("age", "bmi", "bp", "s5", "prediction")


@attrs.frozen
class Upload:
    """One upload of a file.

    Attributes:
        is_doubled: Whether its event comes twice.
    """

    label: str
    file: PatientFile
    version: Version
    is_doubled: bool = False


def run(console: Console) -> int:
    """Run the demonstration; 0 when everything it promises is true, 1 otherwise."""
    began = time.monotonic()
    with _alone(FOLDER), Stack(FOLDER).owned() as stack:
        show = Show("From blobs to predictions", console=console, began=began)
        bring_up(stack, show)
        with blobs(stack.emulator) as service, BatchWitness(stack, service) as witness:
            uploads = arrive(stack, show, service)
            turn_on(stack, show)
            look = watch(stack, show, witness, uploads)
            show.doing("Asking the ledger: airflow azureml ledger show")
            rows = witness.ledger()
            wrong = _faults(look, uploads, witness) + faults_of_ledger(rows, look)
            tell_results(show, witness, look)
            tell_ledger(show, rows)
            wrong += learn(stack, show, service)
        show.doing("Ending Airflow, the emulator and Azurite")
    if wrong:
        console.print("\n[bold red]Not all of it is true:[/bold red]")
        for each in wrong:
            console.print(f"  - {each}", markup=False)
    else:
        console.print(
            "\n[bold green]All of it is true:[/bold green] one batch, one completed job; each version that is"
        )
        console.print("there was scored once, with the right rows, or rejected once, with its reason; the one that was")
        console.print("replaced was left out. Airflow, the workspace, the storage and the ledger say the same.")
        console.print("The better model is the champion, and the only one; of the worse one and of the shifted data")
        console.print("nothing was registered, and the data lies in quarantine with its report.")
    console.print(f"Total: {time.monotonic() - began:.0f} s. Logs: {FOLDER}")
    return 1 if wrong else 0


def bring_up(stack: Stack, show: Show) -> None:
    """Start a stack, and publish and train while Airflow starts."""
    show.doing("Starting Azurite and the emulator")
    with ThreadPoolExecutor(1) as pool:
        migrated = pool.submit(stack.airflow.migrate, stack.template)
        stack.start_azure()
        show.say(f"Azurite: {stack.azurite.blob_url}  emulator: {stack.emulator.http}/ui")
    show.doing("Publishing the pipelines with azure-ai-ml, while Airflow starts")
    said_of = publishing(stack.emulator, say=lambda said: show.say(f"  {said}"), fraction=FIRST_SHARE)
    with said_of as published:
        migrated.result()
        make_queue(stack.emulator)
        stack.start_airflow()
        show.say(f"Airflow: {stack.airflow.url}")
        model = published()["model"]
    metrics = ", ".join(f"{name} {value:.3g}" for name, value in model["metrics"].items())
    show.say(f"Model {model['name']}:{model['version']} is trained and registered: {metrics}")


def arrive(stack: Stack, show: Show, service: BlobServiceClient) -> list[Upload]:
    """Upload the files, and have the event of the first one come twice."""
    uploads: list[Upload] = []
    for number, file in enumerate(arriving_files()):
        again = " again" if any(each.file.path == file.path for each in uploads) else ""
        label = file.path.rpartition("/")[2] + again
        uploads.append(Upload(label, file, upload(service, file), is_doubled=number == 0))
    deliver_again(stack.emulator, uploads[0].version)
    show.say(f"{len(uploads)} uploads to incoming/patients/, and an event that comes twice, while the DAG is off")
    return uploads


def turn_on(stack: Stack, show: Show) -> None:
    """Let the DAG look for arrivals."""
    show.doing(f"Turning on the DAG {DAG}")
    listen(stack, DAG)
    show.say(f"The DAG {DAG} is on and listens for blobs in incoming/patients/")


def watch(stack: Stack, show: Show, witness: BatchWitness, uploads: Sequence[Upload]) -> BatchLook:
    """Show the way of the files until each is scored or rejected, or the time is over; returns the last look."""
    told: set[str] = set()
    end = time.monotonic() + DEADLINE_S
    show.doing("Waiting for the predictions")
    with show:
        while True:
            look = witness.look_at_batches()
            for address in [witness.run_page(run) for run in look.runs] + [witness.page(job) for job in look.jobs]:
                if address not in told:
                    told.add(address)
                    show.say(address)
            show.show([_way(each, look) for each in uploads])
            if (_is_over(look, uploads) and look.is_quiet) or time.monotonic() > end:
                return look
            stack.check()
            time.sleep(LOOK_EVERY_S)


def tell_results(show: Show, witness: BatchWitness, look: BatchLook) -> None:
    """Print what each batch came to: the first predictions, the rejected rows and blobs, and where to look further."""
    for batch in look.batches:
        for each in batch.scored:
            scores = witness.scores_of(batch, each)
            where = [scores.columns.index(name) for name in COLUMNS]
            rows = [
                {name: f"{float(row[at]):.4g}" for name, at in zip(COLUMNS, where, strict=True)}
                for row in scores.rows[:SHOWN]
            ]
            show.table(rows, title=f"{each.version.path}: {each.rows} predictions, {each.rejected_rows} rows rejected")
            for line, reason, *_ in scores.rejected[:SHOWN]:
                show.console.print(f"  rejected line {line}: {reason}", markup=False)
        for version, reason in batch.rejected.items():
            show.console.print(f"{version.path}: rejected as a whole: {reason}", markup=False)
        show.console.print(f"  batch {batch.id}\n  {batch.output}\n  job  {witness.page(batch.job)}", markup=False)
    for run in look.runs:
        show.console.print(f"  run  {witness.run_page(run)}", markup=False)


def tell_ledger(show: Show, rows: Sequence[Row]) -> None:
    """Print the ledger."""
    show.table(
        [
            {
                "blob": row.version.path,
                "version": row.version.etag,
                "state": row.state,
                "batch": _short(row.batch),
                "reason": row.reason,
            }
            for row in sorted(rows, key=lambda row: row.version)
        ],
        title="The ledger: airflow azureml ledger show",
    )


def _is_over(look: BatchLook, uploads: Sequence[Upload]) -> bool:
    """Say whether every upload was told of and, where it is still there, scored or rejected."""
    current = [each.version for each in uploads if look.current.get(each.version.path) == each.version.etag]
    ended = all(look.scored(each) or look.rejected(each) for each in current)
    return ended and all(each.version in look.heard for each in uploads)


def _faults(look: BatchLook, uploads: Sequence[Upload], witness: BatchWitness) -> list[str]:
    """Judge, and see that what is to be shown has happened at all."""
    current = {each.version: each.file for each in uploads if look.current.get(each.file.path) == each.version.etag}
    wanted = {version: file for version, file in current.items() if not file.is_broken}
    wrong = faults(look, wanted, current.keys() - wanted.keys(), scores_of=witness.scores_of)
    if len(current) != len({each.file.path for each in uploads}):
        wrong.append(f"{len(current)} files are there as they were uploaded last")
    if len(look.batches) != 1:
        wrong.append(f"there are {len(look.batches)} batches, not 1")
    for each in uploads:
        times = len(look.heard.get(each.version, ()))
        if times < 1 + each.is_doubled:
            wrong.append(f"Airflow has stored {times} events of {each.label}, not {1 + each.is_doubled}")
    return wrong


def _way(each: Upload, look: BatchLook) -> Way:
    """Say how far an upload has come."""
    way = Way(each.label, {"uploaded": f"{len(each.file.content) / 1000:.1f} kB"})
    heard = look.heard.get(each.version, ())
    if heard:
        way.hops["event"] = "stored" if len(heard) == 1 else f"stored {len(heard)} times"
    batch = next((found.id for found, _ in look.scored(each.version)), look.staged.get(each.version, ""))
    if batch:
        way.hops["batch"] = _short(batch)
        job = look.job_of(batch)
        if job is not None:
            steps = ", ".join(f"{name} {status}" for name, status in job.steps)
            way.hops["job: steps"] = f"{job.status}: {steps}" if steps else job.status
    way.hops.update(_published(each.version, look))
    return way


def _published(version: Version, look: BatchLook) -> Mapping[str, str]:
    for _, scored in look.scored(version):
        return {"published": f"{scored.rows} rows, {scored.rejected_rows} rejected"}
    for reason in look.rejected(version):
        return {"published": f"rejected: {reason}"}
    if look.current.get(version.path) != version.etag:
        return {"published": "replaced by the later upload"}
    return {}


def _short(name: str) -> str:
    return f"…{name[-6:]}" if name else ""


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
