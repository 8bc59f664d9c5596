"""The demonstration, and the stack that stays: `python -m demo [demo | up | down | upload [FILE ...]]`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from rich.console import Console

from demo import lasting
from demo.azure import INCOMING
from demo.patients import PatientFile, arriving_files
from demo.processes import StartError
from demo.retraining import DAG as RETRAINING
from demo.retraining import MODEL, RetrainingWitness
from demo.rounds import prepare_model
from demo.scenario import ScenarioError, blobs, upload
from demo.show import Show
from demo.stack import Stack
from demo.tour import bring_up, run, turn_on


def main() -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The demonstration of this repository.")
    parser.add_argument("what", nargs="?", choices=("demo", "up", "down", "upload"), default="demo")
    parser.add_argument("files", nargs="*", type=Path, help="upload: CSV files; the demonstration's when none")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        match asked.what:
            case "up":
                return up(console)
            case "down":
                return down(console)
            case "upload":
                return send(console, asked.files)
            case _:
                return run(console)
    except (StartError, ScenarioError, httpx.HTTPError, AzureError, OSError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; what was started has been ended.")
        return 130


def up(console: Console) -> int:
    """Start everything and leave it running."""
    if lasting.is_up():
        console.print("It runs already; `make down` ends it.")
        return _tell(console, lasting.addresses())
    lasting.clear()
    stack = Stack(lasting.FOLDER)
    with stack.owned() as owned:
        show = Show("", console=console)
        bring_up(owned, show)
        turn_on(owned, show)
        with blobs(owned.emulator) as service, RetrainingWitness(owned, service) as witness:
            first = prepare_model(owned, witness, service, datetime.now(UTC))
        show.say(f"Version {first} of {MODEL} is the champion; turn on the DAG {RETRAINING} to train it anew")
        found = {
            "Airflow": stack.airflow.url,
            "emulator": f"{stack.emulator.http}/ui",
            "blobs": stack.emulator.connection_string,
            "state directory": str(stack.emulator.state_dir),
        }
        lasting.leave_running(stack, found)
        stack.disown()
    return _tell(console, found)


def down(console: Console) -> int:
    """End what `up` left running."""
    ended = lasting.down()
    console.print(f"Ended: {', '.join(ended)}." if ended else "Nothing was running.")
    return 0


def send(console: Console, paths: list[Path]) -> int:
    """Upload files to the stack that `up` left running."""
    found = lasting.addresses()
    if not found or not lasting.is_up():
        console.print("Nothing runs to upload to; `make up` starts it.")
        return 1
    files = [PatientFile(f"patients/{path.name}", path.read_bytes(), good=0) for path in paths] or list(
        arriving_files()
    )
    with BlobServiceClient.from_connection_string(found["blobs"]) as service:
        for file in files:
            version = upload(service, file)
            console.print(f"{INCOMING}/{version.path} is uploaded, eTag {version.etag}")
    return 0


def _tell(console: Console, found: dict[str, str]) -> int:
    for name, address in found.items():
        console.print(f"  {name:<16} {address}", markup=False)
    console.print("  The same is in .run/up/stack.json, the logs are in .run/up.")
    console.print(
        "  Upload the demonstration's files with `.venv/bin/python -m demo upload`, or your own by naming them."
    )
    console.print("  Official clients reach it with what `azureml-emulator env --state-dir DIRECTORY` prints.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
