"""What a user of azure-ai-ml sees of scripted jobs; prints it as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDK is whom it hears
import contextlib
import io
import json
import os
import time
from typing import Any

from azure.ai.ml import MLClient, command
from azure.ai.ml.exceptions import JobException
from azure.identity import DefaultAzureCredential

ml = MLClient(DefaultAzureCredential(), *os.environ["CONTRACT_WORKSPACE"].split("/"))


def submit(name: str, script: Any) -> str:
    job = command(command="exit 7", environment="azureml:anything:1", name=name)
    job.properties = {"emulator.script": json.dumps(script)}
    return str(ml.jobs.create_or_update(job).name)


good = submit("sdk-good", {"statuses": [["Running", 2], ["Completed", 0]], "log": "the script says hello\n"})
said = io.StringIO()
with contextlib.redirect_stdout(said):
    ml.jobs.stream(good)

error = {"code": "UserError", "message": "Out of memory."}
bad = submit("sdk-bad", {"statuses": [["Running", 0.5], ["Failed", 0]], "error": error})
message = ""
try:
    with contextlib.redirect_stdout(io.StringIO()):
        ml.jobs.stream(bad)
except JobException as raised:
    message = error["message"] if error["message"] in str(raised) else str(raised)

long = submit("sdk-long", [["Running", 600], ["Completed", 0]])
ml.jobs.begin_cancel(long).wait()
deadline = time.monotonic() + 60
while ml.jobs.get(long).status == "CancelRequested" and time.monotonic() < deadline:
    time.sleep(0.2)

told = {
    "streamed": ml.jobs.get(good).status,
    "log": said.getvalue(),
    "failed": {"status": ml.jobs.get(bad).status, "message": message},
    "canceled": ml.jobs.get(long).status,
    "steps": [one.display_name for one in ml.jobs.list(parent_job_name="sdk-steps-00000")],
    "names": [one.name for one in ml.jobs.list()],
}
print(json.dumps(told))
