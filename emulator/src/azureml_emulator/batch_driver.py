"""Hands the files of a batch endpoint's job, or of a parallel step, to a script, mini-batch by mini-batch.

The job's own Python runs this file as a script, so it imports the standard library only. It hands out mini-batches to
processes that run ``batch_worker.py``, and writes what comes back. On its standard input it is told the settings, as
JSON on one line, and then the paths of data, model and output, each on a line; a parallel step has no model, perhaps no
output, and a line of arguments for its script. A line is empty for what there is not.

What a failure is, and what follows from it, is what Azure documents:
https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline (tries, failed items),
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-batch-endpoints (logs, the last words),
https://learn.microsoft.com/azure/machine-learning/how-to-mlflow-batch (models without a scoring script).
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import select
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

#: What Azure says when nothing at all was scored (how-to-troubleshoot-batch-endpoints, "No succeeded mini-batch").
NOTHING_SUCCEEDED = (
    "No succeeded mini batch item returned from run(). Please check 'response: run()' in"
    " https://aka.ms/batch-inference-documentation."
)
#: What an MLflow model without a scoring script can read here; Azure reads images too.
TABLES = (".csv", ".parquet", ".pqt")
WORKER = pathlib.Path(__file__).resolve().parent / "batch_worker.py"


@dataclass(frozen=True)
class Settings:
    """What a deployment says of its jobs.

    Attributes:
        script: The scoring script, beneath the working directory; empty for an MLflow model that has none.
        model_name: The last part of the model's path: its file or folder has that name in AZUREML_MODEL_DIR.
        mini_batch_size: Files; at least 1.
        nodes: Instances, all of which are this machine; at least 1.
        processes_per_node: Worker processes on each; at least 1.
        max_tries: How often a mini-batch is tried before its files count as failed; at least 1.
        timeout_s: Seconds for one call of ``run``.
        error_threshold: How many files may fail; -1 for any number.
        mini_batch_error_threshold: How many mini-batches may fail; -1 for any number.
        logging_level: ``DEBUG``, ``INFO`` or ``WARNING``.
        output_file: The file in the output that rows are appended to; empty for ``summary_only``.
        arguments: What the script finds in ``sys.argv``, in front of what Azure gives it; as a shell writes them.
    """

    script: str = ""
    model_name: str = "model"
    mini_batch_size: int = 10
    nodes: int = 1
    processes_per_node: int = 1
    max_tries: int = 3
    timeout_s: float = 30.0
    error_threshold: int = -1
    mini_batch_error_threshold: int = -1
    logging_level: str = "INFO"
    output_file: str = "predictions.csv"
    arguments: str = ""

    @property
    def thresholds(self) -> tuple[int, int]:
        """How many files and how many mini-batches may fail."""
        return self.error_threshold, self.mini_batch_error_threshold


def files_of(data: pathlib.Path, *, nested: bool) -> list[str]:
    """List the files to score, in the order of their names; a file is its own list."""
    if data.is_file():
        return [str(data)]
    return sorted(str(path) for path in (data.rglob("*") if nested else data.glob("*")) if path.is_file())


def mini_batches(files: list[str], size: int) -> list[list[str]]:
    """Cut files into mini-batches; only the last may be smaller."""
    return [files[start : start + size] for start in range(0, len(files), size)]


@dataclass
class Tally:
    """What has become of the mini-batches so far; an item is a file.

    Attributes:
        total: Mini-batches.
        processed: Those for which ``run`` returned an answer.
        failed: Those that failed on every try.
        succeeded_items: What ``run`` returned, all answers together.
        failed_items: The files of failed mini-batches, and those by which an answer was shorter than its mini-batch.
    """

    total: int
    processed: int = 0
    failed: int = 0
    succeeded_items: int = 0
    failed_items: int = 0

    def answered(self, files: int, returned: int) -> None:
        """Count an answer; one with more items than files is as good as one with as many."""
        self.processed += 1
        self.succeeded_items += returned
        self.failed_items += max(0, files - returned)

    def lost(self, files: int) -> None:
        """Count a mini-batch that failed on its last try."""
        self.failed += 1
        self.failed_items += files

    def fault(self, threshold: int, batches: int = -1) -> str:
        """Say why the job must end now, by how many files and mini-batches may fail; empty when it need not."""
        if 0 <= threshold < self.failed_items:
            return f"{self.failed_items} items failed, which is more than the error threshold of {threshold}."
        if 0 <= batches < self.failed:
            return f"{self.failed} mini-batches failed, which is more than the error threshold of {batches}."
        return ""

    def verdict(self, threshold: int, batches: int = -1) -> str:
        """Say why a job that has nothing left to do has failed; empty when it succeeded. The arguments are as above."""
        if fault := self.fault(threshold, batches):
            return fault
        if left := self.total - self.processed - self.failed:
            return f"{left} of {self.total} mini-batches were not finished; the log says what broke."
        return "" if self.succeeded_items else NOTHING_SUCCEEDED


def unreadable(files: list[str]) -> str:
    """Say which file an MLflow model without a scoring script cannot read; Azure fails a job that has one."""
    for file in files:
        kind = pathlib.Path(file).suffix
        if kind.lower() not in TABLES:
            return f"Error processing input file: '{file}'. File type '{kind[1:]}' is not supported."
    return ""


@dataclass
class MiniBatch:
    """Some files, and how often they were tried."""

    number: int
    files: list[str]
    tries: int = 0


class Gone(Exception):  # noqa: N818  # it tells what became of a process
    """A worker process ended, or was ended, without an answer; the message says why."""


class Worker:
    """A process that scores, seen from the one that hands out the mini-batches."""

    def __init__(self, settings: Settings, out: pathlib.Path) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603  # the file beside this one
            [sys.executable, str(WORKER), str(requests), str(answers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(requests, answers),
        )
        os.close(requests)
        os.close(answers)
        self._unread = b""
        self._echo = threading.Thread(target=self._copy_output, args=(out,), daemon=True)
        self._echo.start()
        self._send(asdict(settings))

    def _copy_output(self, out: pathlib.Path) -> None:
        """Copy what the script prints to the file that Azure has for it, and to the job's log, to be seen at once."""
        with out.open("ab") as file:
            for line in self._process.stdout or ():
                file.write(line)
                file.flush()
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()

    def _send(self, message: Any) -> None:
        try:
            os.write(self._requests, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            return  # whoever waits for the answer hears it

    def ask(self, files: list[str], timeout_s: float) -> dict[str, Any]:
        """Have a mini-batch scored.

        Raises:
            Gone: There was no answer in time, and the process has been ended; or it ended by itself.
        """
        self._send(files)
        return self.answer(timeout_s)

    def answer(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for what the process says next; ``init`` has all the time it needs.

        Raises:
            Gone: As `ask`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], left)[0]:
                self.end()
                raise Gone(f"run() took longer than {timeout_s:g} s; its process was ended.")
            data = os.read(self._answers, 1 << 16)
            if not data:
                self.end()
                raise Gone(f"The process ended with exit code {self._process.returncode} before it answered.")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process from another thread; whoever waits for its answer hears that it is gone."""
        self._process.kill()

    def end(self) -> None:
        """End the process and let go of it."""
        self._process.kill()
        self._process.wait()
        self._echo.join(timeout=5)  # a process that the script left behind may hold the output open
        for pipe in (self._requests, self._answers):
            os.close(pipe)


@dataclass
class Job:
    """The whole: which mini-batches wait, and what has become of the others.

    Attributes:
        rows: The file that rows are appended to; None for none.
        logs: The folder of the job's logs, with the names that Azure gives them.
        fault: Why the job must end; empty as long as it need not.
    """

    settings: Settings
    waiting: collections.deque[MiniBatch]
    tally: Tally
    rows: pathlib.Path | None
    logs: pathlib.Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    workers: list[Worker] = field(default_factory=list)
    fault: str = ""

    def run(self) -> str:
        """Score everything, and say why that failed; empty when it succeeded."""
        count = min(self.settings.nodes * self.settings.processes_per_node, len(self.waiting))
        slots = [threading.Thread(target=self._slot, args=(number,)) for number in range(count)]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        return self.fault or self.tally.verdict(*self.settings.thresholds)

    def say(self, line: str) -> None:
        """Write a line to the job's log and to the overview of its progress."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        self._append("job_progress_overview.txt", line)

    def _append(self, name: str, text: str) -> None:
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{text.rstrip()}\n")

    def _slot(self, number: int) -> None:
        """Score with one process after another, until nothing waits or the job must end."""
        node, process = divmod(number, self.settings.processes_per_node)
        place = f"node{node}/process{process:03d}"
        worker: Worker | None = None
        while (batch := self._next()) is not None:
            worker = worker or self._start(place)
            if worker is None:
                return
            try:
                answer = worker.ask(batch.files, self.settings.timeout_s)
            except Gone as gone:
                worker, answer = None, {"fault": str(gone), "trace": str(gone)}
            if not self.fault:  # else its process was ended because of another's
                self._count(batch, answer, place)
        if worker is not None:
            worker.end()

    def _next(self) -> MiniBatch | None:
        with self.lock:
            return self.waiting.popleft() if self.waiting and not self.fault else None

    def _start(self, place: str) -> Worker | None:
        """Start a process and wait for its ``init``; None when that failed, and the job with it."""
        out = self.logs / "user" / "stdout" / f"{place}.stdout.txt"
        out.parent.mkdir(parents=True, exist_ok=True)
        with self.lock:
            if self.fault:
                return None
            worker = Worker(self.settings, out)
            self.workers.append(worker)
        try:
            answer = worker.answer()
            if "fault" not in answer:
                return worker
            worker.end()
        except Gone as gone:
            answer = {"fault": str(gone), "trace": str(gone)}
        if not self.fault:
            self._tell_user(place, answer["trace"])
            self._fail(f"The scoring script cannot be used: {answer['fault']}")
        return None

    def _count(self, batch: MiniBatch, answer: dict[str, Any], place: str) -> None:
        batch.tries += 1
        failed = "fault" in answer
        with self.lock:
            if not failed:
                self.tally.answered(len(batch.files), answer["returned"])
                self._write(answer["rows"])
            elif batch.tries < self.settings.max_tries:
                self.waiting.append(batch)
            else:
                self.tally.lost(len(batch.files))
            fault = self.tally.fault(*self.settings.thresholds)
        if failed:
            self._tell_user(place, answer["trace"])
            tried = f"on try {batch.tries} of {self.settings.max_tries}"
            self.say(f"Mini-batch {batch.number} failed {tried}: {answer['fault']}")
        else:
            self.say(f"Mini-batch {batch.number}: {len(batch.files)} files, {answer['returned']} items returned.")
        if fault:
            self._fail(fault)

    def _write(self, rows: str) -> None:
        if self.rows is not None:
            with self.rows.open("a", newline="") as file:
                file.write(rows)

    def _tell_user(self, place: str, trace: str) -> None:
        with self.lock:
            self._append("user/error.txt", trace.rstrip().rpartition("\n")[2])
            self._append(f"user/error/{place}.txt", trace)
            sys.stdout.write(f"{trace.rstrip()}\n")
            sys.stdout.flush()

    def _fail(self, fault: str) -> None:
        with self.lock:
            self.fault = self.fault or fault
            for worker in self.workers:
                worker.kill()


def place_model(model: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """Make AZUREML_MODEL_DIR: the folder in which the model's file or folder lies under its own name.

    Source: how-to-batch-scoring-script, "Using models that are folders".
    """
    folder.mkdir(parents=True)
    model.rename(folder / name)
    return folder


def _rows(settings: Settings, path: pathlib.Path) -> pathlib.Path | None:
    """Say which file rows are appended to, None for none, and tell the script where its output is."""
    is_folder = path.is_dir()  # an output of type uri_file is the path of the file itself
    os.environ["AZUREML_BI_OUTPUT_PATH"] = str(path if is_folder else path.parent)
    rows = path / settings.output_file if is_folder else path
    rows.parent.mkdir(parents=True, exist_ok=True)
    return rows if settings.output_file else None


def main(told: list[str]) -> int:
    """Run a job, as the lines that were told say; 0 when it succeeded."""
    settings = Settings(**json.loads(told[0]))
    if told[2]:
        folder = pathlib.Path(os.environ["TMPDIR"]) / "azureml-models"
        os.environ["AZUREML_MODEL_DIR"] = str(place_model(pathlib.Path(told[2]), settings.model_name, folder))
    settings = replace(settings, arguments=" ".join(told[4:]))
    rows = _rows(settings, pathlib.Path(told[3])) if told[3] else None
    files = files_of(pathlib.Path(told[1]), nested=bool(settings.script))
    cut = enumerate(mini_batches(files, settings.mini_batch_size))
    waiting = collections.deque(MiniBatch(number, each) for number, each in cut)
    tally = Tally(total=len(waiting))
    job = Job(settings, waiting, tally, rows, pathlib.Path.cwd() / "logs")
    job.say(f"{len(files)} files in {tally.total} mini-batches of at most {settings.mini_batch_size}.")
    fault = ("" if settings.script else unreadable(files)) or job.run()
    job.say(f"Mini-batches: {tally.total} in all, {tally.processed} processed, {tally.failed} failed.")
    job.say(f"Items: {tally.succeeded_items} succeeded, {tally.failed_items} failed.")
    job.say(f"The job failed: {fault}" if fault else "The job succeeded.")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read().splitlines()))
