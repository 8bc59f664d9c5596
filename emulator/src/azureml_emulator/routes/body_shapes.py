"""What the members of a body are, so that one of another type is refused before anything is done with it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: Deeper than any body that a client of Azure ML writes.
DEEPEST = 60
#: What a database's integer holds.
LARGEST = 2**63 - 1


class Shape(enum.Enum):
    """What a member is; null is always taken for a member that is left out."""

    TEXT = "a text"
    FLAG = "true or false"
    #: Azure takes numbers that are written as texts, too.
    NUMBER = "a number"
    OBJECT = "an object"
    #: An object whose names are the client's own, and whose values are texts, numbers or flags.
    TEXTS = "an object of texts"
    #: An object whose names are the client's own, and whose values are objects.
    OBJECTS = "an object of objects"
    #: An object that nobody looks into.
    ANY_OBJECT = "an object "
    #: An id, or an object that names one.
    REFERENCE = "an id or an object"
    LIST = "a list"
    LIST_OF_TEXTS = "a list of texts"
    LIST_OF_OBJECTS = "a list of objects"


def _named(shape: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), shape)


#: Azure Resource Manager's members and those of the data plane that are written alike.
#: Source: REST reference of Azure Machine Learning, 2024-04-01.
MEMBERS: Mapping[str, Shape] = {
    **_named(
        Shape.TEXT,
        "accountName assetId assetType authMode authType category codeId codeUri command compute computeId computeType"
        " condaFile containerName credentialsType dataRegistryName dataType dataUri datastoreType deploymentName"
        " deploymentConfigurationType description displayName endpoint endpointComputeType environmentId"
        " experimentName expression frequency friendlyName image instanceType jobInputType jobOutputType jobType"
        " keyType keyValue kind location metricName mode modelMountPath modelType modelUri outputAction outputFileName"
        " pendingUploadType primaryMetric protocol referenceType runId samplingAlgorithmType scaleType scoringScript"
        " secretsType sourceAssetId stage target timeZone triggerType type uri vmPriority vmSize",
    ),
    **_named(Shape.FLAG, "isAnonymous isArchived isEnabled selectRunMetadata appInsightsEnabled"),
    **_named(
        Shape.NUMBER,
        "errorThreshold instanceCount interval maxConcurrencyPerInstance maxConcurrentTrials maxNodeCount maxRetries"
        " maxTotalTrials minNodeCount miniBatchSize capacity maxConcurrentRequestsPerInstance",
    ),
    **_named(
        Shape.OBJECT,
        "action codeConfiguration credentials defaults deploymentConfiguration identity jobDefinition limits"
        " objective resources retrySettings samplingAlgorithm scaleSettings schedule secrets sku trial trigger"
        " requestSettings livenessProbe readinessProbe componentSpec",
    ),
    **_named(Shape.ANY_OBJECT, "distribution flavors searchSpace services settings dataCollector"),
    **_named(Shape.TEXTS, "environmentVariables tags traffic mirrorTraffic ParameterAssignments Tags"),
    **_named(Shape.OBJECTS, "inputData inputs jobs outputData outputs DataPathAssignments"),
    **_named(Shape.REFERENCE, "componentId model"),
    **_named(Shape.LIST, "hours minutes monthDays regionDetails"),
    **_named(Shape.LIST_OF_TEXTS, "values weekDays"),
}
#: MLflow's members, which are the same in all its bodies. Source: MLflow's REST API.
MLFLOW_MEMBERS: Mapping[str, Shape] = {
    **_named(
        Shape.TEXT,
        "alias description experiment_id filter key model_id model_json model_type name new_name page_token run_id"
        " run_name run_uuid source source_run_id stage",
    ),
    **_named(Shape.NUMBER, "end_time max_results start_time step timestamp"),
    **_named(Shape.FLAG, "archive_existing_versions"),
    **_named(Shape.LIST_OF_TEXTS, "experiment_ids stages"),
    **_named(Shape.LIST, "order_by"),  # texts, but of logged models objects
    **_named(Shape.LIST_OF_OBJECTS, "datasets metrics models params tags"),
}


def faults(body: Mapping[str, Any], members: Mapping[str, Shape]) -> Iterator[str]:
    """Say what is wrong with a body.

    Args:
        body: An object, read from JSON that is not deeper than `DEEPEST`.
        members: What its members are, by name; others are not looked at, and not into.
    """
    for name, value in body.items():
        shape = members.get(name, Shape.OBJECT if name == "properties" else None)
        if shape is not None and value is not None:
            yield from (f"{name}{fault}" for fault in _LOOKS[shape](value, members, shape))


def too_deep(body: Any, deepest: int = DEEPEST) -> bool:
    """Whether objects and lists are nested deeper than any client nests them."""
    level = [body]
    for _ in range(deepest):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _wrong(value: Any, shape: Shape) -> str:
    words = {
        bool: "a flag",
        str: "a text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return f" is {words.get(type(value), 'null')}, and must be {shape.value.strip()}"


def _text(value: Any, _: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, str):
        yield _wrong(value, shape)


def _flag(value: Any, _: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, bool):
        yield _wrong(value, shape)


def _number(value: Any, _: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            yield _wrong("", shape)
            return
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield _wrong(value, shape)
    elif not -LARGEST <= value <= LARGEST:
        yield f" is {value:g}, which is too large"


def _object(value: Any, members: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong(value, shape)
    elif shape is Shape.OBJECT:
        yield from (f".{fault}" for fault in faults(value, members))


def _reference(value: Any, members: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _object(value, members, Shape.OBJECT)
    elif not isinstance(value, str):
        yield _wrong(value, shape)


def _texts(value: Any, _: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong(value, shape)
        return
    yield from (f".{name}{_wrong(each, Shape.TEXT)}" for name, each in value.items() if not _is_plain(each))


def _objects(value: Any, members: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong(value, shape)
        return
    for name, each in value.items():
        if each is not None:
            yield from (f".{name}{fault}" for fault in _object(each, members, Shape.OBJECT))


def _list(value: Any, members: Mapping[str, Shape], shape: Shape) -> Iterator[str]:
    if not isinstance(value, list):
        yield _wrong(value, shape)
        return
    inner = {Shape.LIST_OF_TEXTS: Shape.TEXT, Shape.LIST_OF_OBJECTS: Shape.OBJECT}.get(shape)
    for number, each in enumerate(value) if inner else ():
        yield from (f"[{number}]{fault}" for fault in _LOOKS[inner or shape](each, members, inner or shape))


_LOOKS: Mapping[Shape, Callable[[Any, Mapping[str, Shape], Shape], Iterator[str]]] = {
    Shape.TEXT: _text,
    Shape.FLAG: _flag,
    Shape.NUMBER: _number,
    Shape.OBJECT: _object,
    Shape.ANY_OBJECT: _object,
    Shape.TEXTS: _texts,
    Shape.OBJECTS: _objects,
    Shape.REFERENCE: _reference,
    Shape.LIST: _list,
    Shape.LIST_OF_TEXTS: _list,
    Shape.LIST_OF_OBJECTS: _list,
}
