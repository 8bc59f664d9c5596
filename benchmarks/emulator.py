"""How the emulator bears load: looks at a job a second from one client process, its starts, and many small jobs.

Ours is `GET` of a job, as azure-ai-ml's ``jobs.get`` asks for it, over kept connections of one asynchronous client,
with the emulator as a process of its own; any answer but 200 counts as an error. The peer is a bare server of the same
kind, which answers the same bytes from memory and does nothing else: what is lost against it is what the emulator does.
Beside it, azure-ai-ml's own ``jobs.get``, one after the other in one process, whose own work bounds it; and how long a
test run waits for its first workspace, of an emulator in its own process and of one beside it.
"""

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from azureml_emulator.tokens import issue
from benchmarks.report import Report
from demo import command_jobs
from demo.azure import RESOURCE_GROUP, ROOT, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Azurite, Emulator
from demo.evidence import API_VERSION
from demo.processes import Child, free_ports, own_environment, wait_until

#: Seconds of each measurement, and turns.
WINDOW_S, ROUNDS, CONNECTIONS = 5.0, 3, 16
GOAL, START_S, WORKSPACE_S = 2000.0, 1.5, 1.0
JOBS, NODES, LASTS_S = 200, 4, 1.0
#: A bare server of the same kind.
BARE = """\
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
body = open(sys.argv[1], "rb").read()
async def answer(request):
    return Response(body, media_type="application/json")
app = Starlette(routes=[Route("/{path:path}", answer)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""
#: azure-ai-ml in a process of its own, for so many seconds.
SDK = """\
import json, os, sys, time
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
subscription, group, workspace, seconds = sys.argv[1:]
client = MLClient(DefaultAzureCredential(), subscription, group, workspace, enable_telemetry=False)
client.jobs.get("asked")
end, done = time.monotonic() + float(seconds), 0
while time.monotonic() < end:
    client.jobs.get("asked")
    done += 1
print(json.dumps(done / float(seconds)))
"""
#: What a test run does before its first test: an emulator, and a workspace; seconds.
FIRST_WORKSPACE = """\
import json, sys, time
began = time.monotonic()
from azureml_emulator.testing import emulator
blob, queue, own_process = sys.argv[1:]
with emulator(azurite_blob=blob, azurite_queue=queue, own_process=bool(own_process)) as azureml:
    azureml.workspace()
    print(json.dumps(time.monotonic() - began))
"""


def measure() -> Report:
    """Measure by turns, then let the jobs run."""
    with tempfile.TemporaryDirectory() as name, Azurite(Path(name) / "azurite") as azurite:
        first_s = {where: _first_workspace(azurite, own_process=where == "beside") for where in ("within", "beside")}
        began = time.monotonic()
        # As many processes at once as there are nodes, whatever cores this machine has: the jobs only sleep.
        told = ("--max-steps", str(NODES))
        with Emulator(Path(name) / "emulator", azurite, event_queues=(), arguments=told) as emulator:
            start_s = time.monotonic() - began
            ours, bare, errors = _turns(emulator, Path(name), _asked_about(emulator))
            sdk = _sdk(emulator)
            ended, faults, jobs_s = _jobs(emulator)
    rate, peer = max(ours), max(bare)
    is_quick = start_s <= START_S and max(first_s.values()) <= WORKSPACE_S
    return Report(
        benchmark="emulator",
        ours=rate,
        peer=peer,
        ratio=rate / peer,
        unit="looks at a job a second, by one client process",
        goal=f">= {GOAL:.0f} a second without an error; first answer in <= {START_S} s, a test run's first"
        f" workspace in <= {WORKSPACE_S} s; all of {JOBS} jobs Completed",
        ok=errors == 0 and rate >= GOAL and is_quick and not faults and ended == {"Completed": JOBS},
        beside={
            "errors": errors,
            "rounds": [[round(mine), round(theirs)] for mine, theirs in zip(ours, bare, strict=True)],
            "start_s": round(start_s, 2),
            "first_workspace_s": {where: round(seconds, 2) for where, seconds in first_s.items()},
            "azure_ai_ml_jobs_get": round(sdk, 1),
            "jobs": {"ended": ended, "faults": faults, "seconds": round(jobs_s, 1), "nodes": NODES, "each_s": LASTS_S},
            "azure_ai_ml": importlib.metadata.version("azure-ai-ml"),
            "starlette": importlib.metadata.version("starlette"),
        },
    )


def _asked_about(emulator: Emulator) -> bytes:
    """Run the job that is asked about; what is answered then."""
    with command_jobs.open_client(emulator.http) as client:
        command_jobs.make_cluster(client, nodes=NODES)
        command_jobs.submit(client, ["asked"], lasts_s=0)
        command_jobs.watch_to_the_end(client, ["asked"], deadline_s=60)
        return client.get(f"{WORKSPACE_ID}/jobs/asked").raise_for_status().content


def _turns(emulator: Emulator, folder: Path, body: bytes) -> tuple[list[float], list[float], int]:
    """Ask both by turns; their rates, and errors of ours."""
    (folder / "body.json").write_bytes(body)
    (port,) = free_ports(1)
    command = [sys.executable, "-c", BARE, str(folder / "body.json"), str(port)]
    child = Child(name="The bare server", command=command, environment=own_environment({}), log=folder / "bare.log")
    child.start()
    ours: list[float] = []
    bare: list[float] = []
    errors = 0
    try:
        path = f"{WORKSPACE_ID}/jobs/asked?api-version={API_VERSION}"
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/"), deadline_s=30)
        for _ in range(ROUNDS):
            rate, wrong = asyncio.run(_asked(emulator.http + path))
            ours.append(rate)
            errors += wrong
            bare.append(asyncio.run(_asked(f"http://127.0.0.1:{port}{path}"))[0])
    finally:
        child.kill()
    return ours, bare, errors


def _answers(url: str) -> bool:
    return asyncio.run(_once(url))


async def _once(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200  # noqa: PLR2004  # HTTP's own word
    except aiohttp.ClientError:
        return False


async def _asked(url: str) -> tuple[float, int]:
    """Ask over some connections for a while; answers a second, and how many were wrong."""
    headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    done = wrong = 0
    end = time.monotonic() + WINDOW_S
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def _ask() -> None:
            nonlocal done, wrong
            while time.monotonic() < end:
                async with session.get(url) as answer:
                    await answer.read()
                    done += 1
                    wrong += answer.status != 200  # noqa: PLR2004  # likewise

        await asyncio.gather(*(_ask() for _ in range(CONNECTIONS)))
    return done / WINDOW_S, wrong


def _first_workspace(azurite: Azurite, *, own_process: bool) -> float:
    """Make one as a test run does; the better of two tries, for the first one reads modules from the disk."""
    given = [azurite.blob_url, azurite.queue_url, "yes" if own_process else ""]
    return min(_told(FIRST_WORKSPACE, given, own_environment({})) for _ in range(2))


def _sdk(emulator: Emulator) -> float:
    return _told(SDK, [SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE, str(WINDOW_S)], emulator.client_environment)


def _told(program: str, given: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a program of Python in a process of its own; the number that it prints."""
    command = [sys.executable, "-c", program, *given]
    done = subprocess.run(command, env=dict(environment), cwd=ROOT, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _jobs(emulator: Emulator) -> tuple[dict[str, int], list[str], float]:
    """Run many small jobs on a few nodes."""
    names, began = [f"job-{number:03d}" for number in range(JOBS)], time.monotonic()
    with command_jobs.open_client(emulator.http) as client:
        command_jobs.submit(client, names, lasts_s=LASTS_S)
        watch = command_jobs.watch_to_the_end(client, names, deadline_s=600)
    ended = dict(watch.counts)
    ended["Completed"] -= 1  # the job that was asked about
    return ended, watch.faults(names), time.monotonic() - began
