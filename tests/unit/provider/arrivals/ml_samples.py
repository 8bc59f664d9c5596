"""The samples of Microsoft's page on Azure ML as a source of Event Grid, and what is read from them."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from airflow_azureml.core.ml_events import DeploymentEvent, DriftEvent, JobEvent, ModelEvent, WorkspaceEvent

PLACE = "sub/group/ws"
TIME = "2026-06-26T18:41:00.958410+00:00"

MODEL: dict[str, Any] = {
    "ModelName": "diabetes",
    "ModelVersion": 20,
    "ModelTags": {"area": "diabetes", "type": "regression"},
    "ModelProperties": {"type": "test"},
}
DEPLOYMENT: dict[str, Any] = {
    "ServiceName": "my-service",
    "ServiceComputeType": "ACI",
    "ModelIds": "diabetes:1,other:2",
    "ServiceTags": {"area": "diabetes"},
    "ServiceProperties": {"type": "test"},
}
RUN: dict[str, Any] = {
    "experimentId": "0fa9dfaa-cba3-4fa7-b590-23e48548f5c1",
    "experimentName": "training",
    "runId": "job-1",
    "runType": None,
    "runTags": {},
    "runProperties": {"pipeline_spec": "{}"},
}
DRIFT: dict[str, Any] = {
    "DataDriftId": "01d29aa4-e6a4-470a-9ef3-66660d21f8ef",
    "DataDriftName": "monitor",
    "RunId": "01d29aa4_1571590300380",
    "BaseDatasetId": "3c56d136-0f64-4657-a0e8-5162089a88a3",
    "TargetDatasetId": "d7e74d2e-c972-4266-b5fb-6c9c182d2a74",
    "DriftCoefficient": 0.83503490684792081,
    "StartTime": "2019-07-04T00:00:00+00:00",
    "EndTime": "2019-07-05T00:00:00+00:00",
}
MODEL_EVENT = ModelEvent(workspace=PLACE, time=TIME, model="diabetes", version="20", tags=MODEL["ModelTags"])
DEPLOYMENT_EVENT = DeploymentEvent(
    workspace=PLACE,
    time=TIME,
    endpoint="my-service",
    compute_type="ACI",
    models="diabetes:1,other:2",
    tags={"area": "diabetes"},
)
JOB_EVENT = JobEvent(workspace=PLACE, time=TIME, job="job-1", experiment="training", status="Completed", kind="")
DRIFT_EVENT = DriftEvent(
    workspace=PLACE, time=TIME, monitor="monitor", job="01d29aa4_1571590300380", coefficient=0.8350349068479208
)
SAMPLES: list[tuple[str, dict[str, Any], WorkspaceEvent]] = [
    ("ModelRegistered", MODEL, MODEL_EVENT),
    ("ModelDeployed", DEPLOYMENT, DEPLOYMENT_EVENT),
    ("RunCompleted", RUN, JOB_EVENT),
    ("RunStatusChanged", {**RUN, "runStatus": "failed"}, evolve(JOB_EVENT, status="Failed")),
    ("DatasetDriftDetected", DRIFT, DRIFT_EVENT),
]
