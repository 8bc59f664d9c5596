"""The models of a workspace as MLflow's registry reads and writes them: the same that Azure Resource Manager shows."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import attrs

from azureml_emulator.errors import Json, WireError
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes import logged_models
from azureml_emulator.routes.artifacts import MODELS, RUNS, UPLOADS
from azureml_emulator.routes.asset_kinds import KINDS, Asked, next_version
from azureml_emulator.routes.calls import Call, system_data
from azureml_emulator.routes.datastores import ARTIFACTS
from azureml_emulator.routes.mlflow_wire import absent, invalid
from azureml_emulator.routes.uris import artifacts_of
from azureml_emulator.store import Store

NO_STAGE = "None"
STAGES = (NO_STAGE, "Staging", "Production", "Archived")
#: What Azure ML takes for the name of an asset.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_KIND = next(kind for kind in KINDS if kind.segment == "models")
_RUN_ARTIFACTS = re.compile(r"(?:azureml://.+|mlflow-artifacts:)/runs/([^/]+)/artifacts/?(.*)", re.DOTALL)
_UPLOADED = re.compile(rf"(?:mlflow-artifacts:/uploads|azureml://artifacts/({UPLOADS}|{RUNS}))/([^/]+)/(.+)", re.DOTALL)
_OTHER_MODEL = re.compile(
    r"(?:models:/([^/]+)/([^/@]+)|mlflow-artifacts:/models/([^/]+)/versions/([^/]+)|"
    rf"azureml://artifacts/{MODELS}/([^/]+):([^/:]+)/.+)"
)
_LOGGED = re.compile(r"models:/(m-[^/@]+)")
_TAKEN = re.compile(r"(?:azureml:)?runs:/[^/]+/.+|azureml://(?:jobs|datastores|subscriptions)/.+", re.DOTALL)
_IN_RUN = re.compile(rf".*/datastores/{ARTIFACTS}/paths/{RUNS}/dcid\.([^/]+)/(.*)", re.DOTALL)


def name_of(version: Json) -> str:
    """The name of the model that a version is of."""
    return str(version["id"].split("/")[-3])


@attrs.frozen
class Models:
    """The models of one workspace. Nothing here waits, so that each change is whole."""

    store: Store
    workspace: WorkspaceName

    def _id(self, name: str) -> str:
        return f"{self.workspace.arm_id}/models/{name}"

    def container(self, name: str) -> Json | None:
        """Find a registered model."""
        return self.store.get(self._id(name)) if NAME.fullmatch(name) else None

    def containers(self) -> list[Json]:
        """List the registered models that are not archived."""
        return [
            one for one in self.store.children(f"{self.workspace.arm_id}/models") if not one["properties"]["isArchived"]
        ]

    def create(self, name: str, *, description: str = "", tags: dict[str, str] | None = None) -> Json:
        """Register a model without versions."""
        stored = {"description": description, "tags": tags or {}, "properties": {}, "isArchived": False}
        body: Json = {
            "id": self._id(name),
            "name": name,
            "type": f"{PROVIDER}/workspaces/models",
            "properties": stored,
            "systemData": system_data(),
        }
        self.store.put(body["id"], body)
        return body

    def version(self, name: str, version: str) -> Json | None:
        """Find a version."""
        if not NAME.fullmatch(name) or not NAME.fullmatch(version):
            return None
        return self.store.get(f"{self._id(name)}/versions/{version}")

    def versions(self, name: str) -> list[Json]:
        """List the versions that are not archived, oldest first."""
        found = self.store.children(f"{self._id(name)}/versions")
        return [one for one in found if not one["properties"]["isArchived"]]

    def latest(self, name: str) -> list[Json]:
        """List the newest version of each stage."""
        return list({one["properties"]["stage"]: one for one in self.versions(name)}.values())

    def add(self, name: str, *, uri: str, job: str | None, description: str, tags: dict[str, str]) -> Json:
        """Register the next version, of MLflow's own type.

        Raises:
            WireError: 400 when the URI names a job or an output that is not there.
        """
        version = next_version(_KIND, self.store.children(f"{self._id(name)}/versions"))
        sent = {"modelUri": uri, "modelType": "mlflow_model", "jobName": job, "description": description, "tags": tags}
        try:
            properties = _KIND.properties(Asked(self.store, self.workspace, name, version, sent))
        except WireError as error:
            raise invalid(str(((error.body or {}).get("error") or {}).get("message"))) from error
        body: Json = {
            "id": f"{self._id(name)}/versions/{version}",
            "name": version,
            "type": f"{PROVIDER}/workspaces/models/versions",
            "properties": properties,
            "systemData": system_data(),
        }
        self.store.put(body["id"], body)
        return body

    def change(self, body: Json, **properties: Any) -> Json:
        """Change some properties of a model or of a version."""
        changed = body | {
            "properties": body["properties"] | properties,
            "systemData": system_data(body["systemData"]),
        }
        self.store.put(body["id"], changed)
        return changed

    def delete(self, version: Json) -> None:
        """Delete a version, and the aliases that mean it."""
        name = name_of(version)
        for alias, of in self.aliases(name).items():
            if of == version["name"]:
                self.set_alias(name, alias, None)
        self.store.delete(version["id"])

    def aliases(self, name: str) -> dict[str, str]:
        """List the aliases: the version that each means, and which is there."""
        kept: dict[str, str] = (self.store.get(f"{self._id(name)}/mlflow") or {}).get("aliases", {})
        return {alias: version for alias, version in kept.items() if self.version(name, version)}

    def set_alias(self, name: str, alias: str, version: str | None) -> None:
        """Let an alias mean a version, or nothing."""
        kept = {one: of for one, of in self.aliases(name).items() if one != alias}
        self.store.put(f"{self._id(name)}/mlflow", {"aliases": kept | ({alias: version} if version else {})})


def source(call: Call, uri: str) -> tuple[str, str | None]:
    """Read where the files of a new version are, in whatever way a client says it.

    Returns:
        A URI that Azure Resource Manager takes for a model, and the run that made the files; None when it names none.

    Raises:
        WireError: 400 for files that are not in the workspace; 404 for a run or a model that is not there.
    """
    if found := _LOGGED.fullmatch(uri):
        return _logged(call, found[1])
    if found := _OTHER_MODEL.fullmatch(uri):
        name, version = (part for part in found.groups() if part)
        model = Models(call.store, call.workspace).version(name, version)
        if model is None:
            raise absent(f"Model Version (name={name}, version={version}) not found")
        return str(model["properties"]["modelUri"]), model["properties"]["jobName"]
    if found := _RUN_ARTIFACTS.fullmatch(uri):
        run = found[1]
        if call.store.run(call.workspace.arm_id, run) is None:
            raise absent(f"Run {run} was not found.")
        return f"{artifacts_of(run)}{found[2]}", run
    if found := _UPLOADED.fullmatch(uri):
        origin, container, path = found[1] or UPLOADS, found[2], found[3]
        return f"azureml://datastores/{ARTIFACTS}/paths/{origin}/{container}/{path}", None
    if _TAKEN.fullmatch(uri):
        return uri, None
    raise invalid(
        f"The model's source {uri!r} is not in this workspace; give runs:/RUN/PATH, models:/NAME/VERSION,"
        " azureml://jobs/… or azureml://datastores/…."
    )


def _logged(call: Call, model: str) -> tuple[str, str | None]:
    """Say where the files of a logged model are, and which run has logged it."""
    found = logged_models.find(call.store, call.workspace, model)
    if found is None:
        raise absent(f"Logged model with ID '{model}' not found.")
    run, path = logged_models.folder_of(found)
    folder = artifacts_of(run) if run else f"azureml://datastores/{ARTIFACTS}/paths/{UPLOADS}/{model}/"
    return f"{folder}{path}", run or None


def address(call: Call, version: Json) -> str:
    """Write where a version's files are, as the client that asks can follow it: see `routes.artifacts`."""
    name, number, uri = name_of(version), version["name"], str(version["properties"]["modelUri"])
    if not call.origin.real:
        return f"mlflow-artifacts:/models/{quote(name)}/versions/{quote(number)}"
    found = _IN_RUN.fullmatch(uri)
    run = call.store.run(call.workspace.arm_id, found[1]) if found else None
    if found and run:
        root = call.origin.tracking(call.workspace).replace("/mlflow/v1.0", "/mlflow/v2.0")
        return f"{root}/experiments/{run.experiment}/runs/{run.name}/artifacts/{found[2]}".rstrip("/")
    return f"azureml://artifacts/{MODELS}/{name}:{number}/{uri.rstrip('/').rpartition('/')[2]}"
