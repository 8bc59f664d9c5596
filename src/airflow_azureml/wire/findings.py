"""Asking for what must be there: an answer of "no" and no answer at all are two different findings."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from attrs import define, field, frozen

from airflow_azureml.core.needs import Named
from airflow_azureml.core.preflight import Finding, Gravity
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError
from airflow_azureml.wire.absence import read
from airflow_azureml.wire.http import Flow, Request

T = TypeVar("T")
#: The version that azure-ai-ml 1.35 uses for environments, data and models.
ASSET_VERSION = "2023-04-01"


@frozen
class Answer(Generic[T]):
    """What came of asking: nothing where nobody could tell."""

    value: T | None = None
    told: bool = True


@define
class Findings:
    """What is found on the way; a question that is not answered is a finding too, and ends nothing."""

    all: list[Finding] = field(factory=list)

    def wrong(self, sentence: str) -> None:
        """Find something that keeps the job from running."""
        self.all.append(Finding(Gravity.WRONG, sentence))

    def unknown(self, sentence: str) -> None:
        """Find something that nobody here could tell."""
        self.all.append(Finding(Gravity.UNKNOWN, sentence))

    def ask(self, flow: Flow[T]) -> Flow[Answer[T]]:
        """Ask something."""
        try:
            value = yield from flow
        except AzureMLError as error:
            self.unknown(f"{error}.")
            return Answer(told=False)
        return Answer(value)


def existing(found: Findings, what: str, url: str, version: str) -> Flow[Mapping[str, Any] | None]:
    """Read a resource that must be there; None where it is not, or nobody could tell."""
    answer = yield from found.ask(
        read(Request(doing=f"Look for {what}", method="GET", url=url, params={"api-version": version}))
    )
    if answer.told and answer.value is None:
        found.wrong(f"{what} is not there: check the name, and that it is published in this workspace.")
    return answer.value


def version_of(
    workspace: Workspace, kind: str, wanted: Named, *, what: str, found: Findings
) -> Flow[Mapping[str, Any] | None]:
    """Read a version of an environment, of data or of a model; None where it is not there, or nobody could tell."""
    if wanted.label and wanted.label != "latest":
        found.unknown(f"{what}: what the label {wanted.label!r} stands for was not looked for.")
        return None
    url, params = f"{workspace.url}/{kind}/{quote(wanted.name, safe='')}/versions", {"api-version": ASSET_VERSION}
    if wanted.version:
        url = f"{url}/{quote(wanted.version, safe='')}"
    else:
        params |= {"$top": "1", "$orderBy": "createdtime desc"}
    answer = yield from found.ask(read(Request(doing=f"Look for {what}", method="GET", url=url, params=params)))
    raw = answer.value
    if raw is not None and not wanted.version:
        raw = next(iter(raw.get("value") or []), None)
    if answer.told and raw is None:
        found.wrong(f"{what} is not in workspace {workspace.name}: register it, or name one that is there.")
    return raw
