"""What it costs a task to invoke a published pipeline: ours, and azure-ai-ml's.

Each side runs in a child forked from a parent that has loaded what an Airflow executor has loaded, as a task does; the
emulator is the service, and both use the same unsigned token. Figures are CPU seconds of the whole child, so what the
child has to import counts; beside it, those of one more invocation in the same process. Requests are counted below both
clients, in urllib3. Ours checks what is passed against the pipeline's interface, and looks for the key's job before it
posts; the SDK posts blindly. The description of the pipeline, which a machine's workers remember for ten minutes, was
read by an earlier task: the requests of that first task are told, too.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import invocations
from benchmarks.forks import in_child, start_as_airflow_does
from benchmarks.report import Report
from demo.stack import Stack

ROUNDS = 7
FEWEST_TIMES, MOST_REQUESTS = 20, 2


def measure() -> Report:
    """Invoke by turns."""
    with tempfile.TemporaryDirectory() as folder:
        start_as_airflow_does(
            folder, ["airflow.executors.local_executor", "airflow.sdk.execution_time.supervisor", "airflow.sdk"]
        )
        stack = Stack(Path(folder) / "stack")
        with stack.owned():
            stack.start_azure()
            http = {"EMULATOR_HTTP": stack.emulator.http, "TMPDIR": folder}
            names = stack.emulator.client_environment
            in_child(invocations.publish, names)
            first = in_child(invocations.ours, http)
            turns = [(in_child(invocations.ours, http), in_child(invocations.sdk, names)) for _ in range(ROUNDS)]
    ours, sdk = [mine for mine, _ in turns], [theirs for _, theirs in turns]
    mine, peer = _median(ours, "cpu_s"), _median(sdk, "cpu_s")
    requests = max(int(one["requests"]) for one in ours)
    return Report(
        benchmark="submit",
        ours=mine,
        peer=peer,
        ratio=peer / mine,
        unit="CPU s per task that invokes twice",
        goal=f"azure-ai-ml / ours >= {FEWEST_TIMES}, and at most {MOST_REQUESTS} requests an invocation",
        ok=peer / mine >= FEWEST_TIMES and requests <= MOST_REQUESTS,
        beside={
            "requests": requests,
            "requests_of_the_first_task": first["requests"],
            "requests_sdk": max(int(one["requests"]) for one in sdk),
            "one_more_cpu_s": round(_median(ours, "more_cpu_s"), 5),
            "one_more_cpu_s_sdk": round(_median(sdk, "more_cpu_s"), 5),
            "azure_ai_ml": sdk[0]["version"],
            "rounds": ROUNDS,
        },
    )


def _median(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.median(float(one[name]) for one in runs)
