"""Deployments of models to batch endpoints: what one takes and gives, and writing what a DAG passes to it.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-access-data-batch-endpoints-jobs: one input of data
and one output, whose names do not matter, no literals, and no properties of the job's own, so no experiment.
"""

from collections.abc import Mapping
from typing import Any

from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import URI_TYPES, Declared, Interface, Invocation
from airflow_azureml.errors import ConfigError

#: The one output. Source: azure-ai-ml 1.35, ``jobs.download``.
SCORE = "score"
#: The step that scores; what the job itself does not show, such as its output, this step does. Source: the same.
STEP = "batchscoring"
DATA_TYPES = ("uri_file", "uri_folder")

#: What every model takes and gives; of the two inputs, one.
INTERFACE = Interface(
    inputs={kind: Declared(type=kind) for kind in DATA_TYPES}, outputs={SCORE: Declared(type="uri_folder")}
)


def bind(
    passed: Passed, *, outputs: Mapping[str, Any], assets: str, deployment: str, experiment: str = ""
) -> Invocation:
    """Check what is passed to a model, and write it as the SDK writes a single input.

    Args:
        passed: The inputs; there must be one, whatever its name.
        outputs: URIs; ``score`` is the only one there is.
        assets: The workspace's id, in which short names such as ``azureml:data:3`` are looked up.
        deployment: What to call the deployment in the message.
        experiment: Must be empty: a model's jobs are listed under the endpoint's name.

    Raises:
        ConfigError: It does not fit, or does not say whether the input is a file or a folder.
    """
    given = {name: value for name, value in passed.values.items() if value is not None}
    if len(given) != 1:
        said = ", ".join(sorted(given)) or "none"
        raise ConfigError(
            f"{deployment} is a deployment of a model, which takes exactly one input, a file or a folder; passed:"
            f" {said}."
        )
    if experiment:
        raise ConfigError(
            f"{deployment} is a deployment of a model, whose jobs Azure ML lists under the endpoint's name: the"
            f" experiment {experiment!r} would have no effect. Leave it out."
        )
    ((name, value),) = given.items()
    kind = "uri_file" if name in passed.arrivals else _kind_of(name, value)
    wire_name = URI_TYPES[kind]
    return Invocation.bind(
        Interface(inputs={wire_name: Declared(type=kind, required=True)}, outputs=INTERFACE.outputs),
        inputs={wire_name: value},
        outputs=outputs,
        assets=assets,
        pipeline=deployment,
    )


def _kind_of(name: str, value: Any) -> str:
    """Tell a file from a folder, by what the DAG says.

    Raises:
        ConfigError: It does not say.
    """
    said = value.get("type") if isinstance(value, Mapping) else None
    if said is None and name in DATA_TYPES:
        said = name
    if said in DATA_TYPES:
        return str(said)
    uri = value.get("uri") if isinstance(value, Mapping) else value
    if said is None and isinstance(uri, str) and uri.endswith("/"):
        return "uri_folder"
    raise ConfigError(
        f"Input {name!r} does not say whether a model is to score a file or a folder: {str(uri)[:200]!r}. End a"
        f" folder's URI with '/', or give {{'uri': …, 'type': 'uri_file'}} (or 'uri_folder')."
        + (f" Its type is {said!r}." if said is not None else "")
    )
