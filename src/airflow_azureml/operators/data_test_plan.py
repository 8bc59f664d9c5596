"""What a data test is about: which rules, which version of which blob, and where everything goes."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.data_results import OnFail, RunOn, check_fits
from airflow_azureml.core.data_tests import DataTests, Format, format_of
from airflow_azureml.core.data_tests_text import text_of
from airflow_azureml.core.jobs import JobKey
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.quarantine import REPORT, VERDICT, Cell
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.operators.start import SupersededError
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client

#: Where reports go unless told otherwise.
REPORTS = "azureml://datastores/workspaceblobstore/paths/data-tests/"


@frozen(kw_only=True)
class Rules:
    """What data must be like, as it was written.

    Attributes:
        text: The YAML, or JSON.
        name: What it is called in errors: its file.
        folder: The folder of its file, to which the file of a pandera schema is relative.
        tests: The same, read.
    """

    text: str
    name: str
    folder: Path
    tests: DataTests

    @classmethod
    def read(cls, spec: Any, schema: str) -> "Rules":
        """Read what an operator was given.

        Args:
            spec: A YAML file's path, its content as a mapping, or `DataTests`; None for none.
            schema: A pandera schema's ``module:attribute``; empty for none.

        Raises:
            ConfigError: It is neither or both, the file is not there, or what it says is wrong.
        """
        if bool(spec) == bool(schema):
            raise ConfigError(
                "Give one of spec (a YAML file, or its content) and schema (module:attribute of pandera's)."
            )
        folder, name = Path.cwd(), "spec"
        if isinstance(spec, DataTests):
            text = text_of(spec)
        elif isinstance(spec, Mapping):
            text = _json(spec)
        elif isinstance(spec, str) and spec:
            file = Path(spec).absolute()
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(f"The data tests in {spec} cannot be read on this worker: {error}.") from error
            folder, name = file.parent, file.name
        elif spec:
            raise ConfigError(f"spec is a {type(spec).__name__}; give a YAML file's path, its content, or DataTests.")
        else:
            text, name = _json({"schema": 1, "name": schema, "pandera": schema}), "schema"
        return cls(text=text, name=name, folder=folder, tests=DataTests.parse(text, name=name))


@frozen(kw_only=True)
class Subject:
    """The version of a blob that is tested.

    Attributes:
        path: The URI that it was given by; of an arrival its address.
        url: The blob's address, quoted.
        etag: The version, without quotes.
        size_bytes: How large it is.
        modified: When it was written, UTC.
    """

    path: str
    url: str
    etag: str
    size_bytes: int
    modified: datetime

    @classmethod
    def find(cls, client: "Client", settings: ConnectionSettings, data: Any) -> "Subject":
        """Find the version that is meant: that of the arrival, or the one that is there now.

        Args:
            client: Reads datastores.
            settings: The connection whose identity looks.
            data: An arrival as ``ClaimArrivalsOperator`` returns it, or the URI of a blob.

        Raises:
            ConfigError: It is neither, or there is no such blob.
            SupersededError: The blob was replaced after it arrived.
            RefusedError: The identity may not read it.
            UnavailableError: Storage does not answer; trying again later may work.
        """
        from airflow_azureml.client.versions import version_now  # noqa: PLC0415  # not when a DAG is parsed

        arrival = _arrival(data)
        path = arrival.uri if arrival else str(data)
        url = address(client, settings, path)
        found = version_now(settings, url)
        if arrival is not None and found.etag != arrival.etag:
            raise SupersededError(
                f"Blob {path} was replaced after it arrived at {arrival.time} (eTag {arrival.etag}, now {found.etag})."
                " Nothing was tested; the newer version is tested under its own arrival."
            )
        return cls(path=path, url=url, etag=found.etag, size_bytes=found.size_bytes, modified=found.modified)


def _arrival(data: Any) -> Arrival | None:
    """Read an arrival; None for the URI of a blob."""
    if isinstance(data, Mapping):
        try:
            return Arrival.from_wire(data)
        except ProtocolError as error:
            raise ConfigError(f"data looks like an arrival and is none: {error}.") from error
    if not isinstance(data, str) or not data:
        raise ConfigError(
            f"data is a {type(data).__name__}; give one arrival, or the URI of one blob. For several, expand the task:"
            " .expand(data=claim.output)."
        )
    return None


def address(client: "Client", settings: ConnectionSettings, uri: str) -> str:
    """Find the address of the blob, or of the folder, that a URI names; always that of the blob service, quoted.

    Raises:
        ConfigError: It names none of Azure Storage.
        RefusedError: There is no such datastore, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    if uri.startswith("azureml:"):
        return client.run(outputs.blob_url(settings.workspace, uri, domain=settings.addresses.storage))
    place = StorageUrl.parse(uri)
    return f"{place.blob_base}/{quote(place.path, safe='/~')}"


@frozen(kw_only=True)
class Plan:
    """One data test, before anything is read.

    Attributes:
        rules: What the data must be like.
        subject: Which data.
        key: What makes two tests the same: the task instance, and the version.
        format: What the file is.
        on_fail: What becomes of data that fails.
        run_on: Where it is tested.
        cell: Where it is kept then; None where it is not.
        reports: The folder for what is found, ``azureml://datastores/NAME/paths/…/``.
        reference: The URI of what it is compared with; empty for nothing.
    """

    rules: Rules
    subject: Subject
    key: JobKey
    format: str
    on_fail: OnFail
    run_on: RunOn
    cell: Cell | None
    reports: str
    reference: str

    @property
    def reference_format(self) -> str:
        """What the reference is, where it is a file."""
        try:
            return format_of(self.reference).value
        except ConfigError:
            return self.format

    @property
    def report(self) -> str:
        """The URI of the report."""
        return f"{self.reports}{REPORT}"

    @property
    def verdict(self) -> str:
        """The URI of the verdict."""
        return f"{self.reports}{VERDICT}"

    @property
    def kept_at(self) -> str:
        """The address of the copy in quarantine; empty where there is none."""
        return self.cell.address(self.cell.copy) if self.cell else ""

    def check(self) -> None:
        """See that the plan can be carried out, as far as that can be said before anything is read.

        Raises:
            ConfigError: It cannot.
        """
        if self.rules.tests.distribution and not self.reference:
            raise ConfigError("The data tests compare distributions: give reference, the URI of what is compared with.")
        if self.reference and not self.rules.tests.distribution:
            raise ConfigError("There is a reference, and the data tests have no distribution that is compared with it.")
        _check_pandera(self.rules)
        check_fits([self.subject.path, self.report, self.verdict, self.kept_at])


def reports_in(folder: str, key: JobKey) -> str:
    """Name the folder of one test among the reports.

    Raises:
        ConfigError: It is none of a datastore.
    """
    if in_datastore(folder) is None:
        raise ConfigError(
            f"reports is {folder!r}; it must be a folder of a datastore: azureml://datastores/NAME/paths/…/."
        )
    return f"{folder.rstrip('/')}/{key.digest}/"


def format_named(said: str, path: str) -> str:
    """Tell the format of a file from what was said, or from its name.

    Raises:
        ConfigError: Neither tells.
    """
    if said and said not in set(Format):
        raise ConfigError(f"format is {said!r}; it is none of {', '.join(Format)}.")
    return said or format_of(path).value


def _check_pandera(rules: Rules) -> None:
    """See that the module of a pandera schema is there; what is in it is read where the data is tested."""
    module, colon, name = rules.tests.pandera.rpartition(":")
    if not rules.tests.pandera:
        return
    if not colon or not name.isidentifier():
        raise ConfigError(f"The pandera schema {rules.tests.pandera!r} is none: expected module:attribute.")
    if module.endswith(".py") and not (rules.folder / module).is_file():
        raise ConfigError(f"The pandera schema's file {rules.folder / module} is not there on this worker.")


def _json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"spec is no JSON value: {error}.") from error
