"""Registering models: which version, which champion, where it is shared; whatever dies, it can be done again."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from airflow_azureml.client.register_store import BlobShelf
from airflow_azureml.client.registers import TRIES, Registers, check_name, crowded
from airflow_azureml.client.sharing import share
from airflow_azureml.core.jobs import Phase
from airflow_azureml.core.lineage import DATA_VERSION, EVALUATION, JOB, KEY_PROPERTY
from airflow_azureml.core.models import STAGE_TAG, Champion, Coronation, Entry, Kind, Register, Registration, Stage
from airflow_azureml.core.places import in_datastore
from airflow_azureml.errors import AzureMLError, ConfigError, NotReadyError, RefusedError
from airflow_azureml.wire import datastores, jobs, models, outputs
from airflow_azureml.wire.models import ModelVersion

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.register_store import Shelf
    from airflow_azureml.core.workspace import ConnectionSettings
    from airflow_azureml.wire.registries import SharedModel

log = logging.getLogger(__name__)

#: Where registers are kept, unless told otherwise: in the datastore that every workspace has.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/models/"
#: The file that MLflow needs in a model's folder.
_MLMODEL = "MLmodel"


@frozen(kw_only=True)
class Registered:
    """What came of registering.

    Attributes:
        version: The version, as the workspace has it.
        is_new: Whether it was written just now.
    """

    version: ModelVersion
    is_new: bool


@define(kw_only=True)
class Registrar:
    """Registers the models of a workspace, from a worker; see `open_registrar`.

    Each verb may be called again at any time, by whomever, after whatever: what is done stays done, and the rest is
    made up for. All raise `RefusedError` or `UnavailableError` when the workspace or its storage says no or nothing,
    `ProtocolError` when the register cannot be read, and `ConfigError` when it is lost; then nothing is written.

    Attributes:
        settings: The connection.
        client: Speaks with the workspace.
        shelf: Where registers are kept.
    """

    settings: "ConnectionSettings"
    client: "Client"
    shelf: "Shelf"
    registers: Registers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.registers = Registers(workspace=self.settings.workspace, client=self.client, shelf=self.shelf)

    def champion(self, model: str) -> Champion | None:
        """Look for the champion; one that was archived or deleted outside counts as none, and the log says so.

        What tags lag behind is mended; where that is not possible, the log says so.
        """
        register = self.registers.read(model)
        found = self.registers.look(model, register.champion) if register.champion else None
        try:
            self.registers.mend(model, register, seen=[found] if found else [])
        except AzureMLError as error:
            log.warning("The tags of model %s may lag behind its register: %s", model, error)
        if not register.champion:
            return None
        if found is None or found.is_archived:
            became = "deleted" if found is None else "archived"
            words = "Version %s of model %s is its champion, and was %s outside: that counts as no champion"
            log.warning(words, register.champion, model, became)
            return None
        told = found.properties
        return Champion(
            model=model,
            version=found.version,
            uri=found.uri,
            job=told.get(JOB, "") or found.job,
            evaluation=told.get(EVALUATION, ""),
            data_version=told.get(DATA_VERSION, ""),
        )

    def register(self, registration: Registration, *, source: str) -> Registered:
        """Make a job's output a version of a model; the same job and output are the same version.

        Args:
            registration: What is to be registered.
            source: The URI of the output, ``azureml://datastores/NAME/paths/…``; that its files are there is seen to
                before anything is written.

        Raises:
            ConfigError: Something of it is wrong, the job is not completed, or its output is not there; nothing was
                written. Or its version was deleted since; it is not made again.
            NotReadyError: The job has not ended yet; nothing was written.
        """
        if wrong := "; ".join(registration.faults()):
            raise ConfigError(f"Register model {registration.model!r}: {wrong}.")
        model, register = registration.model, self.registers.read(registration.model)
        entry = register.of_key(registration.key)
        found = self.registers.look(model, entry.version) if entry else None
        if found is not None and _is_of(registration, found):
            return Registered(version=found, is_new=False)
        if entry is not None and entry.version in register.reigns:
            became = "was made anew by somebody outside" if found else "was deleted"
            raise ConfigError(
                f"Output {registration.output} of job {registration.job} was version {entry.version} of model {model},"
                f" which was its champion and {became} since: it is not registered again. Run the training anew."
            )
        self._check_source(registration, source)
        return self._put(registration, entry or self._reserve(registration))

    def crown(self, model: str, version: str, *, expected: str, again: bool = False) -> Coronation:
        """Make a version the champion, if the champion is still the one that it was compared with.

        Args:
            model: The model.
            version: The version; one that was registered outside may be crowned, too.
            expected: The version that it was compared with; empty for no champion.
            again: Whether it may be one that was replaced before; for a person who goes back.

        Raises:
            ConfigError: The version is not there, is archived, or is not ready.
        """
        check_name(model)
        found = self.registers.look(model, version)
        if found is None or found.is_archived:
            raise ConfigError(f"Version {version} of model {model} {'is archived' if found else 'is not there'}.")
        if found.provisioning in {"Failed", "Canceled"}:
            raise ConfigError(f"Version {version} of model {model} is not ready: Azure ML says {found.provisioning}.")
        vacant = "" if expected else self._vacant(model)
        told: list[Coronation] = []

        def _step(register: Register) -> Register:
            is_vacant = bool(vacant) and register.champion == vacant
            adopted = register.adopt(version, job=found.job)
            told.append(adopted.crown(version, expected=expected, vacant=is_vacant, again=again))
            return told[-1].register if told[-1].crowned else register

        register = self.registers.change(model, _step)
        self.registers.mend(model, register, seen=[found], reigns=2 if told[-1].crowned else 0)
        return told[-1]

    def retire(self, model: str, version: str) -> bool:
        """Have no champion any more, if it is this version; tell whether there is none now."""
        register = self.registers.change(model, lambda now: now.retire(version))
        self.registers.mend(model, register)
        return not register.champion

    def rebuild(self, model: str, *, champion: str = "") -> Register:
        """Write a register that was lost, or cannot be read, anew from what the versions say of themselves.

        Args:
            model: The model.
            champion: The version that is the champion, as a person knows it; empty for none.

        Raises:
            ConfigError: There is a register that can be read, or the champion is none of the versions.
        """
        register = self.registers.rebuild(model, champion=champion)
        self.registers.mend(model, register)
        return register

    def share(self, model: str, version: str, *, registry: str) -> "SharedModel":
        """Share a version with a registry, under the same name and number; one that is there already is fine.

        Raises:
            ConfigError: There is no such registry, or it has another model under that name and number.
            RefusedError: The registry refuses it.
            UnavailableError: It did not say, or did not get ready in time; asking again is safe.
        """
        return share(self.client, self.settings.workspace, model, version, registry=registry)

    def _check_source(self, registration: Registration, source: str) -> None:
        """See to it that the job is completed and its output is there.

        Raises:
            ConfigError: It is not.
            NotReadyError: The job has not ended.
        """
        from airflow_azureml.client.containers import is_there  # noqa: PLC0415  # not when a DAG is parsed

        workspace = self.settings.workspace
        job = self.client.run(jobs.get(workspace, registration.job))
        if job.phase is not Phase.SUCCEEDED:
            told = f"Job {job.name} is {job.status}; only what a completed job made is registered."
            raise (ConfigError if job.phase.is_final else NotReadyError)(told)
        folder = "/".join(filter(None, (source.rstrip("/"), registration.path.strip("/"))))
        needed = f"{folder}/{_MLMODEL}" if registration.kind is Kind.MLFLOW else folder
        url = self.client.run(outputs.blob_url(workspace, needed, domain=self.settings.addresses.storage))
        if not is_there(self.settings, url):
            what = f"no file {_MLMODEL}, which a model of kind mlflow has," if needed != folder else "nothing"
            raise ConfigError(
                f"Output {registration.output} of job {job.name} has {what} at {folder}: check output and path."
            )

    def _reserve(self, registration: Registration) -> Entry:
        model = registration.model

        def _step(now: Register) -> Register:
            above = 0 if now.entries else self.client.run(models.highest(self.settings.workspace, model))
            return now.reserve(registration, above=above)

        return _entry(self.registers.change(model, _step), registration)

    def _put(self, registration: Registration, entry: Entry) -> Registered:
        """Write the version that is reserved, unless it is there; go to another where somebody outside took it."""
        model = registration.model
        for _ in range(TRIES):
            found = self.registers.look(model, entry.version)
            if found is not None and _is_of(registration, found):
                return Registered(version=found, is_new=False)
            if found is None:
                with contextlib.suppress(_TakenError):
                    return Registered(version=self._write(registration, entry.version), is_new=True)
            log.warning("Version %s of model %s was registered outside; it is left as it is", entry.version, model)
            entry = self._move(registration)
        raise crowded(model)

    def _move(self, registration: Registration) -> Entry:
        above = self.client.run(models.highest(self.settings.workspace, registration.model))
        change = self.registers.change
        return _entry(change(registration.model, lambda now: now.move(registration.key, above=above)), registration)

    def _write(self, registration: Registration, version: str) -> ModelVersion:
        body = {
            "description": registration.description,
            "tags": {**registration.tags, STAGE_TAG: Stage.CHALLENGER.value},
            "properties": registration.properties,
            "isAnonymous": False,
            "isArchived": False,
            "flavors": {},
            "modelType": registration.kind.azure,
            "modelUri": registration.uri,
            "jobName": registration.job,
            "stage": Stage.CHALLENGER.azure,
        }
        try:
            return self.client.run(models.put(self.settings.workspace, registration.model, version, body))
        except RefusedError as error:
            if models.is_path_taken(error):
                raise _TakenError from error
            raise

    def _vacant(self, model: str) -> str:
        """Name the champion that is not in the workspace any more; empty where it is, or there is none."""
        champion = self.registers.read(model).champion
        found = self.registers.look(model, champion) if champion else None
        return champion if found is None or found.is_archived else ""


class _TakenError(Exception):
    """A version could not be written, since somebody outside was faster."""


@contextlib.contextmanager
def open_registrar(settings: "ConnectionSettings", *, folder: str = FOLDER) -> Iterator[Registrar]:
    """Open a registrar of a connection's workspace, from a worker.

    Args:
        settings: The connection; its identity needs the role Storage Blob Data Contributor where registers are kept.
        folder: Where registers are kept, ``azureml://datastores/NAME/paths/FOLDER/``; whoever registers a model must
            name the same.

    Raises:
        ConfigError: The folder is none of a datastore of blobs.
    """
    from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # not when a DAG is parsed
    from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # as above

    place = in_datastore(folder)
    if place is None or place.workspace not in {"", settings.workspace.name.lower()}:
        raise ConfigError(f"register is {folder!r}; it must be a folder azureml://datastores/NAME/paths/FOLDER/.")
    with contextlib.ExitStack() as opened:
        opened.enter_context(emulator_in_reach(settings))
        client = opened.enter_context(Client(settings))
        store = client.run(datastores.named(settings.workspace, place.name))
        container = store.container_url(settings.addresses.storage)
        inside = f"{place.path.rstrip('/')}/" if place.path else ""
        shelf = opened.enter_context(BlobShelf(settings, container, folder=inside))
        yield Registrar(settings=settings, client=client, shelf=shelf)


def _is_of(registration: Registration, found: ModelVersion) -> bool:
    return found.properties.get(KEY_PROPERTY) == registration.key


def _entry(register: Register, registration: Registration) -> Entry:
    found = register.of_key(registration.key)
    if found is None:
        raise AssertionError(registration.key)
    return found
