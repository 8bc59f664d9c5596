"""Deployments of online endpoints as YAML describes them: azure-ai-ml uploads what they need and writes the resource.

The resource itself is put by `airflow_azureml.wire.online`: azure-ai-ml would wait for it in a thread of its own.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from airflow_azureml.client import sdk
from airflow_azureml.core.deploying import DIGEST_TAG, Wanted, digest_of
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire import online

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.online import OnlineDeployment
    from airflow_azureml.core.workspace import ConnectionSettings

#: A YAML file of the worker, or what stands in one.
DeploymentSource = str | os.PathLike[str] | Mapping[str, Any]
#: What does not say what a deployment is made of.
_NOT_MADE_OF = ("$schema", "name", "endpoint_name", "instance_count", "tags", "description")
_LEFT_OUT = frozenset({"__pycache__", ".git", ".ipynb_checkpoints"})


@frozen(kw_only=True)
class Authored:
    """A deployment as its YAML says it.

    Attributes:
        spec: What stands there.
        origin: The file to which its relative paths are relative.
    """

    spec: Mapping[str, Any]
    origin: Path

    @classmethod
    def read(cls, source: DeploymentSource) -> Self:
        """Read a YAML file, or take what stands in one.

        Raises:
            ConfigError: The file is not there, or is no YAML of a deployment.
        """
        import yaml  # noqa: PLC0415  # only where there is a file

        if isinstance(source, Mapping):
            return cls(spec=dict(source), origin=Path.cwd() / "deployment.yml")
        file = Path(source)
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"Deployment file {file} cannot be read: {error}") from error
        if not isinstance(content, Mapping):
            raise ConfigError(f"Deployment file {file} holds a {type(content).__name__}, not a mapping.")
        return cls(spec=content, origin=file.resolve())

    @property
    def instance_type(self) -> str:
        """The machines that it names; empty for none."""
        return str(self.spec.get("instance_type") or "")

    @property
    def instances(self) -> int | None:
        """How many it asks for; None when it does not say."""
        count = self.spec.get("instance_count")
        return count if isinstance(count, int) else None

    def digest(self, changes: Mapping[str, Any]) -> str:
        """Name what it is made of, with the content of the files beside it that it names.

        Args:
            changes: What is to be different from the YAML, by its names.
        """
        made_of = {name: value for name, value in {**self.spec, **changes}.items() if name not in _NOT_MADE_OF}
        return digest_of({"spec": made_of, "files": [_content(path) for path in _local(made_of, self.origin)]})

    def deploy(
        self, client: "Client", settings: "ConnectionSettings", wanted: Wanted, changes: Mapping[str, Any]
    ) -> "OnlineDeployment":
        """Upload what it needs, and ask Azure for it.

        Args:
            client: Asks for the resource itself.
            settings: The workspace and the identity.
            wanted: What it is to be.
            changes: What is to be different from the YAML, by its names.

        Raises:
            ConfigError: azure-ai-ml is not installed, or says that this is no deployment.
            RefusedError: The service or the SDK refuses it.
            UnavailableError: It was not taken; doing it again is safe.
        """
        tags = {**(self.spec.get("tags") or {}), **(changes.get("tags") or {}), DIGEST_TAG: wanted.digest}
        count = wanted.instances or self.instances or 1
        own = {"name": wanted.name, "endpoint_name": wanted.endpoint, "tags": tags, "instance_count": count}
        deployment = _load({**self.spec, **changes, **own}, self.origin)
        body, version = _written(settings, deployment)
        return client.run(
            online.write_deployment(settings.workspace, wanted.endpoint, wanted.name, body, version=version)
        )


class _Written(Exception):  # noqa: N818  # not an error: it carries what azure-ai-ml has written
    """What azure-ai-ml was about to send."""

    def __init__(self, body: Mapping[str, Any], version: str) -> None:
        super().__init__("written")
        self.body = body
        self.version = version


def _load(spec: Mapping[str, Any], origin: Path) -> Any:
    try:
        from azure.ai.ml import load_online_deployment  # four seconds
    except ImportError as error:
        raise ConfigError(f"A deployment from YAML needs azure-ai-ml: {sdk.INSTALL} ({error}).") from error
    try:
        return load_online_deployment(io.StringIO(json.dumps(dict(spec), default=str)), relative_origin=str(origin))
    except Exception as error:
        words = str(getattr(error, "message", "") or error).strip()[:800]
        raise ConfigError(f"azure-ai-ml cannot read the deployment of {origin.name}: {words}") from error


def _written(settings: "ConnectionSettings", deployment: Any) -> tuple[Mapping[str, Any], str]:
    """Have azure-ai-ml upload what a deployment needs and write its resource, which is not sent.

    Returns:
        The resource, and the API version that it is written for.
    """
    from azure.core.pipeline.policies import SansIOHTTPPolicy  # noqa: PLC0415  # not when a DAG is parsed

    end = f"/onlineendpoints/{deployment.endpoint_name}/deployments/{deployment.name}".lower()

    class Take(SansIOHTTPPolicy[Any, Any]):
        """Takes the resource out of the request that would put it."""

        def on_request(self, request: Any) -> None:
            """Look at a request before it is sent."""
            asked = request.http_request
            path, _, query = asked.url.partition("?")
            if asked.method == "PUT" and path.lower().endswith(end):
                version = next(each for each in query.split("&") if each.startswith("api-version="))
                raise _Written(json.loads(asked.body), version.partition("=")[2])

    doing = f"Deploy {deployment.name} to online endpoint {deployment.endpoint_name} with azure-ai-ml"
    try:
        with sdk.asking(settings, doing, per_call_policies=[Take()]) as client:
            client.online_deployments.begin_create_or_update(deployment)
    except _Written as taken:
        return taken.body, taken.version
    raise ProtocolError(f"{doing}: it wrote no deployment; its version is one that this package does not know")


def _local(spec: Mapping[str, Any], origin: Path) -> Iterator[Path]:
    """Find the files and folders that a specification names, those of an environment's file included."""
    environment, model = spec.get("environment"), spec.get("model")
    named = [(spec.get("code_configuration") or {}).get("code")]
    for asset in (environment, model):
        inline = asset if isinstance(asset, Mapping) else {"path": asset}
        named += [inline.get("path"), inline.get("conda_file"), (inline.get("build") or {}).get("path")]
    for text in named:
        if isinstance(text, str) and text and "azureml:" not in text and "://" not in text:
            path = origin.parent / text.removeprefix("file:")
            yield path
            if text == environment and path.is_file():
                yield from _local({"environment": Authored.read(path).spec}, path)


def _content(path: Path) -> str:
    """Name the content of a file or a folder; empty when there is none of that name."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = hashlib.sha256()
    for file in files:
        name = file.relative_to(path.parent)
        if _LEFT_OUT.isdisjoint(name.parts):
            found.update(f"{name}\0".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest() if files else ""
