"""What a user of azure-ai-ml sees of a model that was registered, and downloads; prints it as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDK is whom it hears
import json
import os
import pathlib
import sys
from typing import Any

from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
MODEL = sys.argv[1]

ml: Any = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
version = ml.models.get(MODEL, version="2")
ml.models.download(MODEL, version="2", download_path=SCRATCH)
files = {path.name: path.read_text() for path in SCRATCH.rglob("*") if path.is_file()}
print(
    json.dumps(
        {
            "type": version.type,
            "job": version.job_name,
            "stage": version.stage,
            "tags": version.tags,
            "properties": version.properties,
            "description": version.description,
            "production": [one.version for one in ml.models.list(MODEL, stage="Production")],
            "files": files,
        }
    )
)
