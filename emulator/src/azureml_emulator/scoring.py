"""Deployments of models to batch endpoints: what one may say, and the job that an invocation of one is.

The job is a pipeline of one step, ``batchscoring``, whose command runs ``batch_driver.py``; its output is ``score``.
Bodies and defaults are those of recorded answers of Azure ML, 2023-03 and 2023-04 (API version 2022-05-01).
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from azureml_emulator.batch_driver import Settings
from azureml_emulator.durations import seconds
from azureml_emulator.errors import Json, bad_request, not_emulated, not_found
from azureml_emulator.names import is_inside
from azureml_emulator.steps import SpecificationError
from azureml_emulator.store import Store

NODE = "batchscoring"
OUTPUT = "score"
DRIVER = Path(__file__).with_name("batch_driver.py")
#: Azure's words for the levels, by what clients write.
_LEVELS = {"warning": "Warning", "info": "Info", "debug": "Debug"}
_ACTIONS = {"appendrow": "AppendRow", "append_row": "AppendRow", "summaryonly": "SummaryOnly"}
_DATA_TYPES = frozenset({"uri_folder", "uri_file"})


# deployments


def deployment_properties(store: Store, name: str, sent: Mapping[str, Any]) -> Json:
    """Make the ``properties`` of a deployment of a model, with the members that the service fills in.

    Args:
        store: Holds the model and the code.
        name: The deployment's name.
        sent: The ``properties`` that came.

    Raises:
        WireError: 404 for a model or code that is not there, 400 for what is missing or out of its bounds.
    """
    model = _model(store, asset_id(sent.get("model")))
    code = sent.get("codeConfiguration")
    is_mlflow = model["properties"].get("modelType") == "mlflow_model"
    if code:
        _check_code(store, name, code)
    elif not is_mlflow:
        raise bad_request(f"Deployment {name} has no codeConfiguration; only an MLflow model needs no scoring script.")
    if not sent.get("environmentId") and (code or not is_mlflow):
        raise bad_request(f"Deployment {name} has no environmentId; only an MLflow model without a script needs none.")
    made = {
        "description": sent.get("description"),
        "properties": sent.get("properties") or {},
        "codeConfiguration": code,
        "environmentId": sent.get("environmentId"),
        "environmentVariables": sent.get("environmentVariables") or {},
        "compute": sent.get("compute"),
        "errorThreshold": _or(sent.get("errorThreshold"), -1),
        "retrySettings": _retries(sent.get("retrySettings")),
        "miniBatchSize": _or(sent.get("miniBatchSize"), 10),
        "loggingLevel": _word(sent, "loggingLevel", _LEVELS, "Info"),
        "model": {**sent["model"], "referenceType": "Id"},
        "maxConcurrencyPerInstance": _or(sent.get("maxConcurrencyPerInstance"), 1),
        "outputAction": _word(sent, "outputAction", _ACTIONS, "AppendRow"),
        "outputFileName": sent.get("outputFileName") or "predictions.csv",
        "resources": _resources(sent.get("resources")),
    }
    _settings(store, made, {})  # refuses what is out of its bounds
    return made


def _or(value: Any, default: int) -> Any:
    return default if value is None else value


def _retries(sent: Mapping[str, Any] | None) -> Json:
    given = sent or {}
    return {"maxRetries": _or(given.get("maxRetries"), 3), "timeout": given.get("timeout") or "PT30S"}


def _resources(sent: Mapping[str, Any] | None) -> Json:
    given = sent or {}
    count = _or(given.get("instanceCount"), 1)
    return {"instanceCount": count, "instanceType": given.get("instanceType"), "properties": None}


def _word(sent: Mapping[str, Any], member: str, known: Mapping[str, str], default: str) -> str:
    said = str(sent.get(member) or default)
    if said.lower() not in known:
        raise bad_request(f"{member} is {said!r}, which is none of {', '.join(sorted(set(known.values())))}.")
    return known[said.lower()]


def asset_id(reference: object) -> str | None:
    """Read the id of a reference, ``{"referenceType": "Id", "assetId": …}``; None where it names none."""
    return reference.get("assetId") if isinstance(reference, dict) else None


def _model(store: Store, named: str | None) -> Json:
    if not named:
        raise bad_request("The deployment's model has no assetId.")
    found = store.get(named.removeprefix("azureml:"))
    if found is None:
        raise not_found("ModelNotFound", f"Model {named} not found.")
    return found


def _check_code(store: Store, name: str, code: Mapping[str, Any]) -> None:
    if not code.get("scoringScript") or not code.get("codeId"):
        raise bad_request(f"The codeConfiguration of deployment {name} needs a codeId and a scoringScript.")
    if store.get(str(code["codeId"]).removeprefix("azureml:")) is None:
        raise not_found("CodeNotFound", f"Code {code['codeId']} of deployment {name} not found.")
    if not is_inside(str(code["scoringScript"])):
        raise bad_request(f"The scoringScript of deployment {name} is no path within its code.")


# jobs


@attrs.frozen(kw_only=True)
class Scoring:
    """What an invocation of a model runs, in the words of a run.

    Attributes:
        spec: The specification: a pipeline of one step.
        parameters: What the service writes into the property ``azureml.parameters``.
        tags: The tags that it gives the job.
    """

    spec: Json
    inputs: dict[str, Json]
    outputs: dict[str, Json]
    parameters: dict[str, str]
    tags: dict[str, str]


def plan(
    store: Store,
    deployment: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    inputs: Mapping[str, Json],
    outputs: Mapping[str, Json],
) -> Scoring:
    """Make the job of an invocation.

    Args:
        store: Holds the model.
        deployment: The deployment's ``properties``.
        asked: The invocation's ``properties``; ``miniBatchSize``, ``errorThreshold``, ``retrySettings``,
            ``outputFileName`` and ``compute.instanceCount`` in it go over the deployment's.
        inputs: Its inputs as a run has them; there must be one, of data, whatever its name.
        outputs: Its outputs; one at most, whatever its name.

    Raises:
        WireError: 400 for other inputs or outputs, 404 for a model that is not there any more.
    """
    data, output = _data(inputs), _output(asked, outputs)
    settings = _settings(store, deployment, asked)
    code = deployment.get("codeConfiguration") or {}
    component = {
        "name": NODE,
        "type": "command",
        "is_deterministic": False,  # a batch job scores every time that it is asked to
        "command": command(settings),
        "code": code.get("codeId"),
        "environment": deployment.get("environmentId"),
        "environment_variables": deployment.get("environmentVariables") or {},
        "inputs": {"data": {"type": data["jobInputType"]}, "model": {"type": "custom_model"}},
        "outputs": {OUTPUT: {"type": output["jobOutputType"]}},
    }
    node = {
        "type": "command",
        "component": component,
        "computeId": deployment.get("compute"),
        "resources": {"instanceCount": settings.nodes},
        "inputs": {
            "data": {"job_input_type": data["jobInputType"], "uri": data["uri"]},
            "model": {"job_input_type": "custom_model", "uri": deployment["model"]["assetId"]},
        },
        "outputs": {OUTPUT: {"value": f"${{{{parent.outputs.{OUTPUT}}}}}", "type": "literal"}},
    }
    shown = {"compute": deployment.get("compute"), "retrySettings": _retries(_over(deployment, asked, "retrySettings"))}
    return Scoring(
        spec={"jobType": "Pipeline", "jobs": {NODE: node}, "settings": {}, "scoring": shown},
        inputs=dict(inputs),
        outputs={OUTPUT: output},
        parameters=_parameters(settings),
        tags={"outputType": "output_data", "inputType": "input_data", "azureml.jobtype": "azureml.batchjob"},
    )


def _data(inputs: Mapping[str, Json]) -> Json:
    """Find the one input. Source: learn.microsoft.com, how-to-access-data-batch-endpoints-jobs."""
    if len(inputs) != 1:
        said = ", ".join(inputs) or "none"
        raise bad_request(f"A deployment of a model takes exactly one input, of data, and it was given {said}.")
    ((name, one),) = inputs.items()
    if one["jobInputType"] not in _DATA_TYPES:
        raise bad_request(f"Input {name} is a {one['jobInputType']}; a model scores a uri_folder or a uri_file.")
    return one


def _output(asked: Mapping[str, Any], outputs: Mapping[str, Json]) -> Json:
    if len(outputs) > 1:
        raise bad_request(f"A deployment of a model has one output, and it was given {', '.join(outputs)}.")
    if outputs:
        return dict(next(iter(outputs.values())))
    output = {"jobOutputType": "uri_folder", "uri": None, "mode": "ReadWriteMount"}
    if dataset := asked.get("outputDataset"):
        datastore = str(dataset.get("datastoreId") or "").rpartition("/")[2] or "workspaceblobstore"
        output["uri"] = f"azureml://datastores/{datastore}/paths/{str(dataset.get('path') or '').strip('/')}/"
    return output


def _over(deployment: Mapping[str, Any], asked: Mapping[str, Any], member: str) -> Any:
    """Take a setting of the invocation, or else the deployment's; of retries, each part by itself."""
    if member == "retrySettings":
        said = {key: value for key, value in (asked.get(member) or {}).items() if value is not None}
        return {**(deployment.get(member) or {}), **said}
    return deployment[member] if asked.get(member) is None else asked[member]


def _settings(store: Store, deployment: Mapping[str, Any], asked: Mapping[str, Any]) -> Settings:
    """Read what the driver must know.

    Raises:
        WireError: 400 for a number that is none, or is out of its bounds.
    """
    if asked.get("dataset"):
        raise not_emulated("POST", "jobs", "an invocation with a v1 dataset")
    retries = _retries(_over(deployment, asked, "retrySettings"))
    nodes = (asked.get("compute") or {}).get("instanceCount") or deployment["resources"]["instanceCount"]
    appends = deployment["outputAction"] == "AppendRow"
    output_file = str(_over(deployment, asked, "outputFileName"))
    if not is_inside(output_file):
        raise bad_request(f"outputFileName is {output_file!r}, which is no path within the output.")
    uri = str(_model(store, deployment["model"]["assetId"])["properties"].get("modelUri") or "")
    return Settings(
        script=str((deployment.get("codeConfiguration") or {}).get("scoringScript") or ""),
        model_name=uri.rstrip("/").rpartition("/")[2] or "model",
        mini_batch_size=_number("miniBatchSize", _over(deployment, asked, "miniBatchSize"), least=1),
        nodes=_number("instanceCount", nodes, least=1),
        processes_per_node=_number("maxConcurrencyPerInstance", deployment["maxConcurrencyPerInstance"], least=1),
        # Recorded: maxRetries 3 becomes the parameter run_max_try 3, which counts the first try too.
        max_tries=max(1, _number("maxRetries", retries["maxRetries"], least=0)),
        timeout_s=_timeout(retries["timeout"]),
        error_threshold=_number("errorThreshold", _over(deployment, asked, "errorThreshold"), least=-1),
        logging_level=deployment["loggingLevel"].upper(),
        output_file=output_file if appends else "",
    )


def _number(member: str, value: Any, *, least: int) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError):
        found = least - 1
    if found < least:
        raise bad_request(f"{member} is {value!r}, which is no whole number of at least {least}.")
    return found


def _timeout(duration: Any) -> float:
    try:
        return seconds(str(duration), "retrySettings.timeout")
    except SpecificationError as error:
        raise bad_request(str(error)) from error


def _parameters(settings: Settings) -> dict[str, str]:
    """Write the settings as the service shows them among a job's properties; recorded."""
    named = {"append_row_file_name": settings.output_file} if settings.output_file else {}
    return {
        "run_max_try": str(settings.max_tries),
        "run_invocation_timeout": f"{settings.timeout_s:g}",
        "mini_batch_size": str(settings.mini_batch_size),
        "error_threshold": str(settings.error_threshold),
        "logging_level": settings.logging_level,
        "process_count_per_node": str(settings.processes_per_node),
        "legacy_model_job": "False",
        "NodeCount": str(settings.nodes),
        **named,
    }


def command(settings: Settings) -> str:
    """Write the command of the step; paths go in by a here-document, in which the shell reads nothing."""
    told = json.dumps(vars(settings)).replace("$", "\\u0024")
    end = f"END-{uuid.uuid4().hex}"
    places = "\n".join(f"${{{{{place}}}}}" for place in ("inputs.data", "inputs.model", f"outputs.{OUTPUT}"))
    return f"exec python {shlex.quote(str(DRIVER))} <<'{end}'\n{told}\n{places}\n{end}\n"
