"""Pipelines published with SDK v1: what one is told, and whether what a DAG passes fits it.

The names and shapes are those of azureml-pipeline-core 1.62, ``_restclients/aeva``: v1's REST interface.
"""

import math
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

from attrs import define, field, frozen

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.places import in_datastore
from airflow_azureml.errors import ConfigError, ProtocolError


@define(kw_only=False)
class PublishedPipeline:
    """A pipeline that SDK v1 published. The field may be a template.

    Attributes:
        id: The published pipeline's id.
    """

    id: str

    template_fields: ClassVar[tuple[str, ...]] = ("id",)

    def __str__(self) -> str:
        return f"published pipeline {self.id}"


@define(kw_only=False)
class PipelineEndpoint:
    """A pipeline endpoint of SDK v1: a name for the versions of a published pipeline. Both fields may be templates.

    Attributes:
        endpoint: The endpoint's id or its name.
        version: One of its versions; empty for its default.
    """

    endpoint: str
    version: str = ""

    template_fields: ClassVar[tuple[str, ...]] = ("endpoint", "version")

    def __str__(self) -> str:
        return f"pipeline endpoint {self.endpoint}" + (f", version {self.version}" if self.version else "")

    @property
    def is_id(self) -> bool:
        """Whether the endpoint is named by its id: a GUID."""
        return _GUID.fullmatch(self.endpoint) is not None


class Kind(StrEnum):
    """What a parameter of a v1 pipeline takes."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    STRING = "string"
    #: The pipeline does not tell the type.
    ANY = "value of any type"
    DATA_PATH = "DataPath"
    DATASET = "dataset"


#: Source: azureml-pipeline-core 1.62, ``_get_backend_param_type_code``. The service may say the number or the word.
KIND_OF_TYPE: Mapping[str, Kind] = {
    "0": Kind.INTEGER,
    "int": Kind.INTEGER,
    "1": Kind.NUMBER,
    "double": Kind.NUMBER,
    "2": Kind.BOOLEAN,
    "bool": Kind.BOOLEAN,
    "3": Kind.STRING,
    "string": Kind.STRING,
}
TRUTHS = ("true", "false")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@frozen(kw_only=True)
class DataPath:
    """A place in a datastore, as v1 says it.

    Attributes:
        path: The path below the datastore's root, unquoted, without a slash at its start.
    """

    datastore: str
    path: str

    @classmethod
    def from_wire(cls, raw: object) -> Self | None:
        """Read a DataPath; None for anything else."""
        if not isinstance(raw, Mapping) or not raw.get("DataStoreName"):
            return None
        return cls(datastore=str(raw["DataStoreName"]), path=str(raw.get("RelativePath") or ""))

    def to_wire(self) -> dict[str, str]:
        """Write it as v1 does."""
        return {"DataStoreName": self.datastore, "RelativePath": self.path}

    @property
    def uri(self) -> str:
        """Write it as v2 does."""
        return f"azureml://datastores/{self.datastore}/paths/{self.path}"


@frozen(kw_only=True)
class Parameter:
    """A parameter of a published pipeline.

    Attributes:
        required: Whether a caller must give it. What SDK v1 published has a default for each.
        default: What it is otherwise, as a text; a DataPath's as a URI, a dataset's id; empty for none.
    """

    kind: Kind
    required: bool = False
    default: str = ""


@frozen(kw_only=True)
class Published:
    """A published pipeline, as v1 describes it.

    Attributes:
        version: The version that whoever published it gave it; v1 gives it no meaning.
        status: ``Active``, ``Deprecated`` or ``Disabled``.
        steps: How many steps it has; 0 where that is not told.
    """

    id: str
    name: str
    description: str = ""
    version: str = ""
    status: str = "Active"
    continues_on_step_failure: bool = False
    steps: int = 0
    parameters: Mapping[str, Parameter] = field(factory=dict)

    @classmethod
    def from_wire(cls, entity: Mapping[str, Any], interface: Mapping[str, Any]) -> Self:
        """Read v1's PipelineEntity, and the EntityInterface of its graph.

        The entity has the parameters' values from when it was published, and no types; the interface has the types.

        Raises:
            ProtocolError: The entity has no id.
        """
        if not isinstance(entity.get("Id"), str):
            raise ProtocolError(f"v1 described a published pipeline without its Id: {sorted(entity)}")
        told = {name: parameter for name, parameter in _of_interface(interface) if name}
        published = {str(name): value for name, value in (entity.get("ParameterAssignments") or {}).items()}
        parameters = {
            name: Parameter(kind=Kind.ANY, default="" if value is None else str(value))
            for name, value in published.items()
        }
        parameters |= {
            str(name): Parameter(kind=Kind.DATASET, default=_dataset_id(value))
            for name, value in (entity.get("DataSetDefinitionValueAssignments") or {}).items()
        }
        for name, parameter in told.items():
            value = published.get(name)
            default = parameter.default if value is None else str(value)
            parameters[name] = Parameter(kind=parameter.kind, required=parameter.required, default=default)
        return cls(
            id=entity["Id"],
            name=str(entity.get("Name") or ""),
            description=str(entity.get("Description") or ""),
            version=str(entity.get("Version") or ""),
            status=str(entity.get("EntityStatus") or "Active"),
            continues_on_step_failure=entity.get("ContinueRunOnStepFailure") is True,
            steps=steps if isinstance(steps := entity.get("TotalRunSteps"), int) else 0,
            parameters=parameters,
        )


def _of_interface(interface: Mapping[str, Any]) -> Iterator[tuple[str, Parameter]]:
    for raw in _entries(interface, "Parameters"):
        default = raw.get("DefaultValue")
        kind = KIND_OF_TYPE.get(str(raw.get("Type")).lower(), Kind.ANY)
        yield _parameter(raw, kind, "" if default is None else str(default), has_default=default is not None)
    for raw in _entries(interface, "DataPathParameters"):
        found = DataPath.from_wire(raw.get("DefaultValue"))
        yield _parameter(raw, Kind.DATA_PATH, found.uri if found else "", has_default=found is not None)
    for raw in _entries(interface, "DataPathParameterList"):
        default = _dataset_id(raw.get("DefaultValue"))
        yield _parameter(raw, Kind.DATASET, default, has_default=bool(default))


def _parameter(raw: Mapping[str, Any], kind: Kind, default: str, *, has_default: bool) -> tuple[str, Parameter]:
    required = raw.get("IsOptional") is False and not has_default
    return str(raw.get("Name") or ""), Parameter(kind=kind, required=required, default=default)


def _entries(interface: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    return [raw for raw in interface.get(member) or [] if isinstance(raw, Mapping)]


def _dataset_id(value: object) -> str:
    """Read a DataSetDefinitionValue: the id of a saved or of a registered dataset."""
    if not isinstance(value, Mapping):
        return ""
    reference = value.get("SavedDataSetReference") or value.get("DataSetReference")
    return str(reference.get("Id") or "") if isinstance(reference, Mapping) else ""


@frozen(kw_only=True)
class Places:
    """What is known of where data is.

    Attributes:
        workspace: The workspace's name.
        datastores: The datastores that are containers of blobs, by storage account and container.
    """

    workspace: str
    datastores: Mapping[tuple[str, str], str] = field(factory=dict)


@frozen(kw_only=True)
class Assignments:
    """What is passed to a published pipeline, checked against its parameters and as v1 wants it.

    Attributes:
        literals: The parameters that are texts, also where they mean a number.
        datasets: The ids of saved datasets.
    """

    literals: Mapping[str, str] = field(factory=dict)
    data_paths: Mapping[str, DataPath] = field(factory=dict)
    datasets: Mapping[str, str] = field(factory=dict)

    @classmethod
    def bind(
        cls, published: Published, *, inputs: Mapping[str, Any], outputs: Mapping[str, Any], places: Places
    ) -> Self:
        """Check what is passed, and complain once of all that is wrong, before anything is submitted.

        Args:
            published: The pipeline.
            inputs: Literals, URIs, mappings with a ``uri``, and ids of datasets; None is the pipeline's own default.
            outputs: URIs. v1 knows no outputs of a pipeline: a place to write to is a parameter like any other.
            places: Where the data of the workspace is.

        Raises:
            ConfigError: Something is unknown, missing, or of another kind than the parameter.
        """
        given = {name: value for name, value in inputs.items() if value is not None}
        binder = _Binder(places=places)
        known = ", ".join(sorted(published.parameters)) or "none"
        for what, passed in (("input", given), ("output", outputs)):
            for name in sorted(passed):
                if name not in published.parameters:
                    binder.faults.append(f"{what} {name!r} is no parameter of it (its parameters: {known})")
                elif what == "output" and name in given:
                    binder.faults.append(f"output {name!r} is passed as an input, too")
                elif what == "output":
                    binder.bind_output(name, passed[name], published.parameters[name].kind)
                else:
                    binder.bind_input(name, passed[name], published.parameters[name].kind)
        binder.faults += [
            f"required parameter {name!r} ({one.kind}) is missing"
            for name, one in sorted(published.parameters.items())
            if one.required and name not in given and name not in outputs
        ]
        if binder.faults:
            called = f"{published.name or 'without a name'} ({published.id})"
            raise ConfigError(
                f"What is passed does not fit the published pipeline {called}: {'; '.join(binder.faults)}."
            )
        return cls(literals=binder.literals, data_paths=binder.data_paths, datasets=binder.datasets)

    def to_wire(self) -> dict[str, Any]:
        """Write the members of v1's PipelineSubmissionInfo."""
        return {
            "ParameterAssignments": dict(self.literals),
            "DataPathAssignments": {name: path.to_wire() for name, path in self.data_paths.items()},
            "DataSetDefinitionValueAssignments": {
                name: {"SavedDataSetReference": {"Id": each}} for name, each in self.datasets.items()
            },
        }


@define(kw_only=True)
class _Binder:
    """Collects what fits, and what is wrong."""

    places: Places
    literals: dict[str, str] = field(factory=dict)
    data_paths: dict[str, DataPath] = field(factory=dict)
    datasets: dict[str, str] = field(factory=dict)
    faults: list[str] = field(factory=list)

    def bind_input(self, name: str, value: Any, kind: Kind) -> None:
        what = f"input {name!r}"
        if kind is Kind.DATA_PATH:
            self._bind_path(what, name, value)
        elif kind is Kind.DATASET:
            if isinstance(value, str) and _GUID.fullmatch(value):
                self.datasets[name] = value
            else:
                self.faults.append(f"{what} is a dataset of v1, and {_shown(value)} is no id of a saved dataset")
        elif isinstance(value, (Mapping, list, tuple, set)):
            self.faults.append(f"{what} is a {kind}, not {type(value).__name__}")
        elif not _fits(value, kind):
            self.faults.append(f"{what} is a {kind}, and {_shown(value)} is none")
        else:
            self.literals[name] = str(value)

    def bind_output(self, name: str, value: Any, kind: Kind) -> None:
        what = f"output {name!r}"
        if kind is Kind.DATA_PATH:
            self._bind_path(what, name, value)
        elif kind in {Kind.STRING, Kind.ANY}:
            self.literals[name] = str(value)
        else:
            self.faults.append(f"{what}: the parameter is a {kind}, which cannot say where to write")

    def _bind_path(self, what: str, name: str, value: Any) -> None:
        uri = value.get("uri") if isinstance(value, Mapping) else value
        found = in_datastore(uri) if isinstance(uri, str) else None
        if found is not None:
            if found.workspace and found.workspace != self.places.workspace.lower():
                told = f"{what} is in workspace {found.workspace}, and the pipeline in {self.places.workspace}"
                self.faults.append(told)
            else:
                self.data_paths[name] = DataPath(datastore=found.name, path=found.path)
            return
        if not is_storage_url(uri):
            self.faults.append(
                f"{what} is a DataPath, and {_shown(uri)} is none: v1 takes azureml://datastores/NAME/paths/PATH, or"
                " the https address of a blob in the container of a datastore"
            )
            return
        self._bind_blob(what, name, str(uri))

    def _bind_blob(self, what: str, name: str, url: str) -> None:
        try:
            address = StorageUrl.parse(url)
        except ConfigError as error:
            self.faults.append(f"{what}: {error}")
            return
        container, _, path = address.path.partition("/")
        datastore = self.places.datastores.get((address.account, container))
        if datastore is None:
            self.faults.append(
                f"{what}: container {container} of storage account {address.account} is no datastore of workspace"
                f" {self.places.workspace}, and v1 reads only from those; register it as one"
            )
            return
        self.data_paths[name] = DataPath(datastore=datastore, path=path)


def is_storage_url(value: object) -> bool:
    """Tell whether a value is the address of a blob, for which the workspace's datastores must be known."""
    uri = value.get("uri") if isinstance(value, Mapping) else value
    return isinstance(uri, str) and uri.startswith(("https://", "http://"))


def _fits(value: Any, kind: Kind) -> bool:
    """Tell whether a literal is of a kind. SDK v1 declares a parameter that is a bool as Int: its check asks for
    ``int`` first, which a bool is one of. So an integer may be True or False.
    """  # noqa: D205  # the reason belongs to the fact
    text = str(value)
    truth = text.lower() in TRUTHS
    try:
        if kind is Kind.INTEGER:
            return truth or int(text) == float(text)
        if kind is Kind.NUMBER:
            return not isinstance(value, bool) and not math.isnan(float(text))
    except (ValueError, OverflowError):
        return False
    return kind is not Kind.BOOLEAN or truth


def _shown(value: object) -> str:
    return repr(value)[:200]
