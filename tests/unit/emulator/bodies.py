"""A good body for each route that takes one; what is made wrong of them is in `test_mutated_bodies`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.unit.emulator.mlflow_bodies import MLFLOW_BODIES

#: A script, so that nothing of a job runs here, whatever becomes of its command.
SCRIPTED = {"emulator.script": '[["Running", 1], ["Completed", 0]]'}
W = "{workspace}"
R = "{registry}"
_STORE = "azureml://datastores/workspaceblobstore/paths"
_STEP = {"type": "command", "componentId": f"{W}/components/step/versions/1", "inputs": {}, "computeId": ""}
_PIPELINE = {
    "type": "pipeline",
    "name": "all",
    "inputs": {"n": {"type": "integer", "default": "1"}},
    "jobs": {"one": _STEP},
}
_INPUTS = {
    "file": {"jobInputType": "uri_file", "uri": f"{_STORE}/a.csv", "mode": "Download"},
    "n": {"jobInputType": "literal", "value": "1"},
}
_OUTPUTS = {"out": {"jobOutputType": "uri_folder", "uri": f"{_STORE}/out/", "mode": "Upload"}}
_COMMAND = {
    "jobType": "Command",
    "command": "true",
    "displayName": "one",
    "experimentName": "trial",
    "environmentId": f"{W}/environments/env/versions/1",
    "codeId": None,
    "computeId": "",
    "environmentVariables": {"A": "1"},
    "inputs": _INPUTS,
    "outputs": _OUTPUTS,
    "limits": {"jobLimitsType": "Command", "timeout": "PT1H"},
    "resources": {"instanceCount": 1, "instanceType": "Standard_DS3_v2"},
    "distribution": None,
    "tags": {"a": "b"},
    "properties": SCRIPTED,
    "services": {},
    "isArchived": False,
}
_SWEEP = {
    "jobType": "Sweep",
    "searchSpace": {"x": ["choice", [[1, 2]]]},
    "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
    "objective": {"goal": "Minimize", "primaryMetric": "loss"},
    "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": 2, "maxConcurrentTrials": 1, "timeout": "PT1H"},
    "trial": {"command": "true", "environmentId": f"{W}/environments/env/versions/1"},
    "properties": SCRIPTED,
}
_PIPELINE_JOB = {
    "jobType": "Pipeline",
    "experimentName": "trial",
    "inputs": {"n": {"jobInputType": "literal", "value": "2"}},
    "jobs": {"one": _STEP},
    "settings": {"default_compute": "", "force_rerun": True},
    "properties": SCRIPTED,
}
_TRIGGER = {"triggerType": "Cron", "expression": "0 3 * * *", "timeZone": "UTC", "startTime": "2030-01-01T00:00:00"}
_MLFLOW = "/mlflow/v2.0{workspace}/api/2.0/mlflow"
_HISTORY = "/history/v1.0{workspace}"

#: (method, path, body); the paths name the routes, ``{workspace}`` and ``{registry}`` being ARM ids.
BODIES: list[tuple[str, str, Mapping[str, Any]]] = [
    ("PUT", f"{W}/jobs/command", {"properties": _COMMAND}),
    ("PUT", f"{W}/jobs/pipeline", {"properties": _PIPELINE_JOB}),
    ("PUT", f"{W}/jobs/sweep", {"properties": _SWEEP}),
    ("POST", f"{W}/jobs/command/cancel", {}),
    ("PUT", W, {"location": "westeurope", "tags": {"a": "b"}, "properties": {"description": "x", "friendlyName": "y"}}),
    (
        "PUT",
        f"{W}/datastores/other",
        {
            "properties": {
                "datastoreType": "AzureBlob",
                "accountName": "devstoreaccount1",
                "containerName": "other",
                "endpoint": "core.windows.net",
                "protocol": "https",
                "credentials": {
                    "credentialsType": "AccountKey",
                    "secrets": {"secretsType": "AccountKey", "key": "a2V5"},
                },
                "tags": {"a": "b"},
            }
        },
    ),
    ("POST", f"{W}/datastores/workspaceblobstore/listSecrets", {}),
    (
        "PUT",
        f"{W}/computes/small",
        {
            "location": "westeurope",
            "properties": {
                "computeType": "AmlCompute",
                "properties": {
                    "vmSize": "STANDARD_DS3_V2",
                    "vmPriority": "Dedicated",
                    "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                },
            },
        },
    ),
    (
        "PATCH",
        f"{W}/computes/small",
        {"properties": {"properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 3}}}},
    ),
    (
        "PUT",
        f"{W}/connections/git",
        {
            "properties": {
                "category": "Git",
                "target": "https://example.com",
                "authType": "PAT",
                "credentials": {"pat": "x"},
            }
        },
    ),
    ("POST", f"{W}/connections/git/listsecrets", {}),
    ("PUT", f"{W}/environments/env", {"properties": {"description": "x", "tags": {}}}),
    (
        "PUT",
        f"{W}/environments/env/versions/1",
        {
            "properties": {
                "image": "python",
                "condaFile": "name: x",
                "isArchived": False,
                "isAnonymous": False,
                "tags": {},
            }
        },
    ),
    ("PUT", f"{W}/codes/code", {"properties": {"tags": {}}}),
    ("PUT", f"{W}/codes/code/versions/1", {"properties": {"codeUri": "http://127.0.0.1/devstoreaccount1/c/code/"}}),
    ("POST", f"{W}/codes/code/versions/1/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}),
    ("PUT", f"{W}/components/step", {"properties": {"tags": {}}}),
    (
        "PUT",
        f"{W}/components/step/versions/1",
        {
            "properties": {
                "componentSpec": {
                    "type": "command",
                    "name": "step",
                    "version": "1",
                    "command": "true",
                    "environment": f"azureml:{W}/environments/env/versions/1",
                    "inputs": {"n": {"type": "integer", "optional": True}},
                    "outputs": {"out": {"type": "uri_folder"}},
                },
                "isAnonymous": False,
                "tags": {},
            }
        },
    ),
    ("PUT", f"{W}/components/all/versions/1", {"properties": {"componentSpec": _PIPELINE}}),
    ("PUT", f"{W}/data/data", {"properties": {"dataType": "uri_file", "tags": {}}}),
    (
        "PUT",
        f"{W}/data/data/versions/1",
        {"properties": {"dataType": "uri_file", "dataUri": f"{_STORE}/a.csv", "tags": {}}},
    ),
    ("PUT", f"{W}/models/model", {"properties": {"tags": {}}}),
    (
        "PUT",
        f"{W}/models/model/versions/1",
        {
            "properties": {
                "modelType": "custom_model",
                "modelUri": f"{_STORE}/model/",
                "stage": "Production",
                "flavors": {},
                "properties": {"a": "b"},
                "tags": {"a": "b"},
            }
        },
    ),
    (
        "PUT",
        f"{W}/batchEndpoints/other",
        {"location": "westeurope", "tags": {}, "properties": {"authMode": "AADToken", "defaults": {}}},
    ),
    ("PATCH", f"{W}/batchEndpoints/batch", {"tags": {"a": "b"}, "properties": {"description": "x"}}),
    (
        "PUT",
        f"{W}/batchEndpoints/batch/deployments/one",
        {
            "location": "westeurope",
            "tags": {},
            "properties": {
                "deploymentConfiguration": {
                    "deploymentConfigurationType": "PipelineComponent",
                    "componentId": {"referenceType": "Id", "assetId": f"{W}/components/all/versions/1"},
                    "settings": {"default_compute": ""},
                },
                "properties": SCRIPTED,
            },
        },
    ),
    ("PATCH", f"{W}/batchEndpoints/batch/deployments/one", {"tags": {"a": "b"}, "properties": {"description": "x"}}),
    (
        "PUT",
        f"{W}/batchEndpoints/batch/deployments/model",
        {
            "location": "westeurope",
            "properties": {
                "model": {"referenceType": "Id", "assetId": f"{W}/models/model/versions/1"},
                "codeConfiguration": {"codeId": f"{W}/codes/code/versions/1", "scoringScript": "score.py"},
                "environmentId": f"{W}/environments/env/versions/1",
                "compute": f"{W}/computes/small",
                "miniBatchSize": 2,
                "maxConcurrencyPerInstance": 1,
                "errorThreshold": 1,
                "outputAction": "AppendRow",
                "outputFileName": "predictions.csv",
                "retrySettings": {"maxRetries": 2, "timeout": "PT30S"},
                "resources": {"instanceCount": 1},
                "environmentVariables": {"A": "1"},
                "properties": SCRIPTED,
            },
        },
    ),
    (
        "PUT",
        f"{W}/onlineEndpoints/online",
        {
            "location": "westeurope",
            "tags": {"a": "b"},
            "identity": {"type": "SystemAssigned"},
            "properties": {"authMode": "Key", "properties": {"a": "b"}, "traffic": {}, "mirrorTraffic": {}},
        },
    ),
    ("PATCH", f"{W}/onlineEndpoints/online", {"tags": {"a": "b"}}),
    ("POST", f"{W}/onlineEndpoints/online/listKeys", {}),
    ("POST", f"{W}/onlineEndpoints/online/regenerateKeys", {"keyType": "Primary", "keyValue": None}),
    ("PUT", f"{W}/onlineEndpoints/tokens", {"location": "westeurope", "properties": {"authMode": "AMLToken"}}),
    ("POST", f"{W}/onlineEndpoints/tokens/token", {}),
    (
        "PUT",
        f"{W}/onlineEndpoints/online/deployments/one",
        {
            "location": "westeurope",
            "tags": {"a": "b"},
            "sku": {"name": "Default", "capacity": 1},
            "properties": {
                "endpointComputeType": "Managed",
                "model": f"{W}/models/model/versions/1",
                "codeConfiguration": {"codeId": f"{W}/codes/code/versions/1", "scoringScript": "score.py"},
                "environmentId": f"{W}/environments/env/versions/1",
                "environmentVariables": {"A": "1"},
                "instanceType": "Standard_DS3_v2",
                "properties": {"a": "b"},
                "requestSettings": {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1},
                "readinessProbe": {"failureThreshold": 30, "period": "PT10S"},
                "scaleSettings": {"scaleType": "Default"},
            },
        },
    ),
    ("PATCH", f"{W}/onlineEndpoints/online/deployments/one", {"tags": {"a": "b"}}),
    (
        "POST",
        f"{W}/onlineEndpoints/online/deployments/one/getLogs",
        {"containerType": "InferenceServer", "tail": 10},
    ),
    (
        "POST",
        "/inference/{short}/batch/jobs",
        {
            "properties": {
                "inputData": {"n": {"jobInputType": "literal", "value": "1"}},
                "outputData": {},
                "experimentName": "trial",
            }
        },
    ),
    (
        "PATCH",
        f"{_HISTORY}/experiments/trial/runs/command",
        {"displayName": "new", "tags": {"a": "b"}, "description": "x"},
    ),
    ("PATCH", f"{_HISTORY}/runs/command", {"displayName": "new", "tags": {"a": "b"}, "properties": {"c": "d"}}),
    ("POST", f"{_HISTORY}/rundata", {"runId": "command", "selectRunMetadata": True}),
    (
        "POST",
        "/data/v1.0{workspace}/dataversion/batchGetResolvedUris",
        {"values": ["azureml://locations/westeurope/workspaces/x/data/data/versions/1"]},
    ),
    ("POST", "/metric/v2.0{workspace}/runs/command/list", {"metricName": "loss"}),
    ("POST", "/metric/v2.0{workspace}/runs/command/full", {"metricName": "loss", "startTime": None}),
    ("POST", f"{_MLFLOW}/experiments/create", {"name": "new", "tags": [{"key": "a", "value": "b"}]}),
    ("POST", f"{_MLFLOW}/experiments/search", {"max_results": 10}),
    (
        "POST",
        f"{_MLFLOW}/runs/create",
        {"experiment_id": "0", "start_time": 1, "run_name": "x", "tags": [{"key": "a", "value": "b"}]},
    ),
    ("POST", f"{_MLFLOW}/runs/update", {"run_id": "command", "status": "FINISHED", "end_time": 2, "run_name": "y"}),
    (
        "POST",
        f"{_MLFLOW}/runs/search",
        {"experiment_ids": ["0"], "filter": "metrics.loss < 1", "max_results": 5, "order_by": ["metrics.loss ASC"]},
    ),
    (
        "POST",
        f"{_MLFLOW}/runs/log-metric",
        {"run_id": "command", "key": "loss", "value": 0.5, "timestamp": 1, "step": 0},
    ),
    (
        "POST",
        f"{_MLFLOW}/runs/log-batch",
        {
            "run_id": "command",
            "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1, "step": 0}],
            "params": [{"key": "p", "value": "1"}],
            "tags": [{"key": "a", "value": "b"}],
        },
    ),
    ("POST", f"{_MLFLOW}/runs/log-parameter", {"run_id": "command", "key": "p", "value": "1"}),
    ("POST", f"{_MLFLOW}/runs/set-tag", {"run_id": "command", "key": "a", "value": "b"}),
    ("POST", f"{_MLFLOW}/runs/delete-tag", {"run_id": "command", "key": "a"}),
    (
        "POST",
        f"{_MLFLOW}/registered-models/create",
        {"name": "reg", "tags": [{"key": "a", "value": "b"}], "description": "x"},
    ),
    ("PATCH", f"{_MLFLOW}/registered-models/update", {"name": "reg", "description": "y"}),
    ("POST", f"{_MLFLOW}/registered-models/rename", {"name": "reg", "new_name": "reg"}),
    ("POST", f"{_MLFLOW}/registered-models/get-latest-versions", {"name": "model", "stages": ["Production"]}),
    ("POST", f"{_MLFLOW}/registered-models/set-tag", {"name": "reg", "key": "a", "value": "b"}),
    ("POST", f"{_MLFLOW}/registered-models/alias", {"name": "model", "alias": "best", "version": "1"}),
    (
        "POST",
        f"{_MLFLOW}/model-versions/create",
        {"name": "reg", "source": f"{_STORE}/model/", "run_id": "command", "tags": [{"key": "a", "value": "b"}]},
    ),
    ("PATCH", f"{_MLFLOW}/model-versions/update", {"name": "model", "version": "1", "description": "x"}),
    (
        "POST",
        f"{_MLFLOW}/model-versions/transition-stage",
        {"name": "model", "version": "1", "stage": "Staging", "archive_existing_versions": True},
    ),
    ("POST", f"{_MLFLOW}/model-versions/set-tag", {"name": "model", "version": "1", "key": "a", "value": "b"}),
    ("POST", f"{_MLFLOW}/logged-models/search", {"experiment_ids": ["0"]}),
    (
        "POST",
        f"{_HISTORY}/experiments/trial/runs/command/artifacts/batch/metadata",
        {"paths": [{"path": "logs/a.txt"}]},
    ),
    (
        "POST",
        f"{_HISTORY}/experimentids/0/runs/command/artifacts/batch/metadata",
        {"paths": [{"path": "logs/a.txt"}]},
    ),
    (
        "POST",
        "/artifact/v2.0{workspace}/artifacts/ExperimentRun/dcid.command/batch/metadata",
        {"paths": [{"path": "a.txt"}]},
    ),
    ("PUT", "/mlflow/v2.0{workspace}/api/2.0/mlflow-artifacts/artifacts/command/a.txt", {"any": "bytes"}),
    (
        "POST",
        "/emulator/published{workspace}/Pipelines",
        {"name": "all", "component": f"{W}/components/all/versions/1", "description": "x"},
    ),
    (
        "POST",
        "/emulator/published{workspace}/PipelineEndpoints",
        {"name": "points", "pipelineId": "{pipeline}", "default": True},
    ),
    (
        "POST",
        "/pipelines/v1.0{workspace}/PipelineRuns/PipelineSubmit/{pipeline}",
        {"ExperimentName": "trial", "ParameterAssignments": {"n": 1}, "DataPathAssignments": {}, "RunSource": "SDK"},
    ),
    (
        "POST",
        "/pipelines/v1.0{workspace}/PipelineRuns/PipelineEndpointSubmit/Id/{points}",
        {"ExperimentName": "trial", "ParameterAssignments": {"n": 1}},
    ),
    (
        "POST",
        "/pipelines/v1.0{workspace}/PipelineRuns/PipelineEndpointSubmit/Id/{points}/0",
        {"ExperimentName": "trial", "ParameterAssignments": {"n": 1}},
    ),
    ("POST", "/pipelines/v1.0{workspace}/PipelineRuns/command/Cancel", {}),
    ("PUT", R, {"location": "westeurope", "properties": {"regionDetails": [{"location": "westeurope"}]}, "tags": {}}),
    ("PUT", "/mferp/managementfrontend{registry}/environments/env", {"properties": {"tags": {}}}),
    ("PUT", "/mferp/managementfrontend{registry}/environments/env/versions/1", {"properties": {"image": "python"}}),
    ("PUT", "/mferp/managementfrontend{registry}/codes/code", {"properties": {"tags": {}}}),
    ("PUT", "/mferp/managementfrontend{registry}/codes/code/versions/1", {"properties": {"codeUri": "https://x/y"}}),
    ("PUT", "/mferp/managementfrontend{registry}/components/step", {"properties": {"tags": {}}}),
    (
        "PUT",
        "/mferp/managementfrontend{registry}/components/step/versions/1",
        {"properties": {"componentSpec": {"type": "command", "name": "step", "command": "true"}}},
    ),
    ("PUT", "/mferp/managementfrontend{registry}/data/data", {"properties": {"dataType": "uri_file"}}),
    (
        "PUT",
        "/mferp/managementfrontend{registry}/data/data/versions/1",
        {"properties": {"dataType": "uri_file", "dataUri": "https://x/y"}},
    ),
    ("PUT", "/mferp/managementfrontend{registry}/models/model", {"properties": {"tags": {}}}),
    (
        "PUT",
        "/mferp/managementfrontend{registry}/models/model/versions/1",
        {"properties": {"modelUri": "https://x/y", "modelType": "custom_model"}},
    ),
    (
        "PUT",
        "/mferp/managementfrontend{registry}/tempdatarefs/ref/versions/1",
        {"assetId": "azureml://registries/reg/models/model/versions/1", "assetType": "models"},
    ),
    (
        "POST",
        "/mferp/managementfrontend{registry}/datarefs/model/versions/1",
        {"assetId": "azureml://registries/reg/models/model/versions/1", "dataRegistryName": "reg"},
    ),
    (
        "POST",
        "/mferp/managementfrontend{registry}/import",
        {
            "sourceAssetId": f"azureml:{W}/models/model/versions/1",
            "destinationName": "model",
            "destinationVersion": "2",
        },
    ),
    (
        "POST",
        f"{_HISTORY}/experiments/trial/runs:query",
        {"filter": "Status eq 'Running'", "top": 5},
    ),
    (
        "PUT",
        f"{W}/schedules/daily",
        {
            "properties": {
                "displayName": "x",
                "isEnabled": False,
                "trigger": _TRIGGER,
                "action": {"actionType": "CreateJob", "jobDefinition": _PIPELINE_JOB},
                "tags": {},
            }
        },
    ),
    (
        "PUT",
        f"{W}/schedules/weekly",
        {
            "properties": {
                "isEnabled": True,
                "trigger": {
                    "triggerType": "Recurrence",
                    "frequency": "Week",
                    "interval": 1,
                    "schedule": {"hours": [3], "minutes": [0], "weekDays": ["Monday"]},
                    "timeZone": "UTC",
                },
                "action": {"actionType": "CreateJob", "jobDefinition": _COMMAND},
            }
        },
    ),
    ("POST", f"{W}/schedules/daily/trigger", {}),
    ("PATCH", W, {"tags": {"a": "b"}, "properties": {"description": "x", "friendlyName": "y"}}),
    ("POST", f"{W}/listKeys", {}),
    ("POST", f"{W}/resyncKeys", {}),
    ("POST", f"{W}/diagnose", {"value": {"storageAccount": {}}}),
    (
        "PUT",
        "/subscriptions/s/resourcegroups/g/providers/Microsoft.Resources/deployments/new",
        {
            "properties": {
                "mode": "Incremental",
                "template": {
                    "resources": [
                        {
                            "type": "Microsoft.MachineLearningServices/workspaces",
                            "name": "[parameters('workspaceName')]",
                        }
                    ]
                },
                "parameters": {"workspaceName": {"value": "made"}, "tagValues": {"value": {"a": "b"}}},
            }
        },
    ),
    (
        "PUT",
        f"{W}/computes/instance",
        {"properties": {"computeType": "ComputeInstance", "properties": {"vmSize": "STANDARD_DS3_V2"}}},
    ),
    (
        "PUT",
        f"{W}/computes/kubernetes",
        {"properties": {"computeType": "Kubernetes", "resourceId": "/subscriptions/s/k", "properties": {}}},
    ),
    ("POST", f"{W}/computes/instance/stop", {}),
    ("POST", f"{W}/computes/instance/start", {}),
    ("POST", f"{W}/computes/instance/restart", {}),
    ("POST", f"{W}/computes/instance/enableSso", {"enableSSO": True}),
    ("POST", f"{W}/computes/small/listNodes", {}),
    ("POST", f"{W}/provisionManagedNetwork", {"includeSpark": False}),
    *MLFLOW_BODIES,
]
