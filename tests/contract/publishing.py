"""Publishing on the real emulator: folders in real git repositories, and publishers that die."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.bundle_folder import opened_folder, read_bundle
from airflow_azureml.client.publishing import Publisher
from airflow_azureml.core.environments import Environment
from airflow_azureml.core.publication import Wanted
from airflow_azureml.core.workspace import ConnectionSettings
from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, REPOSITORY, Emulator
from tests.contract.registering import Life, MortalClient, settings_of
from tests.unit.provider.publishing import folder, git

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}


@attrs.define
class Project:
    """A git repository with a folder of one pipeline that says a word; all of it is nobody else's.

    Attributes:
        root: Its work tree.
        name: The endpoint's name, which is the component's, too.
    """

    root: Path
    name: str = attrs.field(factory=lambda: f"e{uuid.uuid4().hex[:10]}")

    @property
    def path(self) -> Path:
        return self.root / "pipelines" / self.name

    def begin(self, **files: str) -> str:
        """Make the repository; gives the commit."""
        self.path.mkdir(parents=True)
        git(self.root, "init", "-q", "-b", "main")
        texts = folder([self.name])
        texts["say.yml"] = texts["say.yml"].replace("name: say", f"name: {self.name}_say")
        return self.commit({**texts, **files})

    def commit(self, files: Mapping[str, str]) -> str:
        """Write files and commit them; gives the commit."""
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        git(self.root, "add", ".")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "a change")
        return git(self.root, "rev-parse", "HEAD")

    def say(self, command: str) -> str:
        """Have the pipeline do something else; gives the commit."""
        lines = (self.path / "say.yml").read_text().splitlines()
        changed = [f"command: {command}" if line.startswith("command:") else line for line in lines]
        return self.commit({"say.yml": "\n".join([*changed, ""])})

    @contextlib.contextmanager
    def published_apart(self, emulator: Emulator) -> Iterator[subprocess.Popen[bytes]]:
        """Publish it in a process of its own, which is killed at the end of the block."""
        command = [sys.executable, "-W", "ignore", "-m", "tests.contract.publishing"]
        command += [str(emulator.state_dir), str(self.root), self.name]
        with subprocess.Popen(command, cwd=REPOSITORY) as process:
            yield process
            process.kill()


@contextlib.contextmanager
def publisher(
    settings: ConnectionSettings,
    project: Project,
    *,
    sha: str = "",
    claimant: str = "somebody",
    life: Life | None = None,
    environment: Environment | None = None,
) -> Iterator[Publisher]:
    """Open one that publishes a project's folder; with a life, it dies at its end."""
    with contextlib.ExitStack() as opened:
        files, source = opened.enter_context(opened_folder(project.path, sha=sha))
        client: Client = MortalClient(settings) if life else Client(settings)
        if isinstance(client, MortalClient) and life:
            client.life = life
        opened.enter_context(client)
        bundle = read_bundle(files, name=project.name)
        yield Publisher(
            client=client,
            settings=settings,
            wanted=Wanted.of(bundle, source, environment or Environment("staging", conn_id="test")),
            folder=files,
            claimant=claimant,
            owner=f"dag/run/{claimant}/-1/1",
            say=lambda _: None,
        )


def to_the_end(opened: Publisher) -> dict[str, Any]:
    """Publish, waiting for smoke runs."""
    while (pending := opened.go_on()) is not None:
        opened.wait(pending)
    return opened.result()


@attrs.define
class Seen:
    """What somebody else sees of an endpoint."""

    emulator: Emulator

    def get(self, path: str, version: str = "2023-10-01") -> Any:
        with httpx.Client(base_url=self.emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
            answer = http.get(f"{ARM_ID}/{path}", params={"api-version": version})
            return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def endpoint(self, name: str) -> Any:
        return self.get(f"batchEndpoints/{name}")

    def default(self, name: str) -> str:
        found = self.endpoint(name)
        return str(found["properties"]["defaults"]["deploymentName"] or "") if found else ""

    def deployments(self, name: str) -> set[str]:
        return {each["name"] for each in self.get(f"batchEndpoints/{name}/deployments")["value"]}

    def jobs(self, name: str) -> list[str]:
        """The jobs of an endpoint's experiment."""
        listed = self.get("jobs", "2024-01-01-preview")["value"]
        return [each["name"] for each in listed if each["properties"]["experimentName"] == name]

    def put_compute(self, name: str) -> None:
        """Have somebody make a compute cluster."""
        body = {"location": "westeurope", "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "a"}}}
        with httpx.Client(base_url=self.emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
            url, params = f"{ARM_ID}/computes/{name}", {"api-version": "2023-08-01-preview"}
            http.put(url, params=params, json=body).raise_for_status()


def main(state_dir: str, root: str, name: str) -> None:
    """Publish a project, as the same somebody."""
    emulator = Emulator(Path(state_dir), 0, 0)
    with publisher(settings_of(emulator), Project(Path(root), name=name)) as opened:
        to_the_end(opened)


if __name__ == "__main__":
    main(*sys.argv[1:])
