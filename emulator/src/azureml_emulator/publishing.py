"""``azureml-emulator publish``: a pipeline component becomes a published pipeline of SDK v1, in a running emulator."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from azureml_emulator.authority import AUTHORITY
from azureml_emulator.names import WorkspaceName
from azureml_emulator.settings import DEFAULT_WORKSPACE, Addresses, SettingsError

_AUDIENCE = "https://management.azure.com"
_PATIENCE_S = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes, besides the state directory."""
    parser.add_argument("component", metavar="COMPONENT:VERSION", help="a registered pipeline component")
    parser.add_argument(
        "--workspace", default=DEFAULT_WORKSPACE, metavar="SUB/RG/NAME", help="whose it is; default %(default)s"
    )
    parser.add_argument("--name", default="", help="the published pipeline's name; default: the component's")
    parser.add_argument("--endpoint", default="", metavar="NAME", help="make it the default version of this endpoint")


def publish(said: argparse.Namespace) -> str:
    """Publish a component, and say its ids: the published pipeline's, and the pipeline endpoint's if there is one.

    Raises:
        SettingsError: No emulator is ready there, the workspace's name is none, or the emulator refuses.
    """
    root = Addresses.read(Path(said.state_dir).absolute()).http
    try:
        workspace = WorkspaceName.parse(said.workspace)
    except ValueError as error:
        raise SettingsError(f"--workspace {said.workspace!r} is not SUBSCRIPTION/RESOURCE_GROUP/NAME.") from error
    url = f"{root}/emulator/published{workspace.arm_id}"
    body = {"component": said.component} | ({"name": said.name} if said.name else {})
    AUTHORITY.adopt(Path(said.state_dir).absolute())
    pipeline = _post(f"{url}/Pipelines", body)["Id"]
    if not said.endpoint:
        return f"{pipeline}\n"
    endpoint = _post(f"{url}/PipelineEndpoints", {"name": said.endpoint, "pipelineId": pipeline})
    return f"{pipeline}\n{endpoint['Id']} version {endpoint['DefaultVersion']}\n"


def _post(url: str, body: dict[str, str]) -> dict[str, Any]:
    from azureml_emulator.tokens import issue  # noqa: PLC0415  # the other commands need not wait for it

    head = {"Authorization": f"Bearer {issue(_AUDIENCE)}", "Content-Type": "application/json"}
    asked = urllib.request.Request(url, json.dumps(body).encode(), head, method="POST")  # noqa: S310  # our own address
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(asked, timeout=_PATIENCE_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise SettingsError(f"The emulator refuses: {_words(error.read())}") from error
    except OSError as error:
        raise SettingsError(f"The emulator at {url} does not answer: {error}") from error


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return body.decode("utf-8", "replace")[:500]
