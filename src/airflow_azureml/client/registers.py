"""The registers of models, and the tags that follow them: reading, compare-and-set, mending, writing anew."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from airflow_azureml.core.lineage import KEY_PROPERTY
from airflow_azureml.core.models import STAGE_TAG, Entry, Register, is_model_name, number_of
from airflow_azureml.errors import ConfigError, ProtocolError, UnavailableError
from airflow_azureml.wire import models
from airflow_azureml.wire.models import ModelVersion

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.register_store import Shelf
    from airflow_azureml.core.documents import Document
    from airflow_azureml.core.workspace import Workspace

log = logging.getLogger(__name__)

#: How often a change is tried again when somebody else was faster; each time somebody has got on with it.
TRIES = 50
#: Versions that were crowned lately, whose tags are looked at.
REIGNS = 3
#: Most seconds before such a try, but for the first few.
_WAIT_S, _AT_ONCE = 0.2, 3


@define(kw_only=True)
class Registers:
    """The registers of a workspace's models.

    Attributes:
        workspace: Where the models are.
        client: Speaks with it.
        shelf: Where the registers are kept.
    """

    workspace: "Workspace"
    client: "Client"
    shelf: "Shelf"
    #: What was read or written here last, by the document's name; it may be old.
    _known: "dict[str, Document]" = field(factory=dict, init=False)

    def read(self, model: str) -> Register:
        """Read a model's register; an empty one where there is none.

        Raises:
            ConfigError: It was lost: versions say that they are in it. Or the model is written otherwise in it.
            ProtocolError: It cannot be read.
        """
        return self._read(model)[0]

    def change(self, model: str, step: Callable[[Register], Register]) -> Register:
        """Change a register by compare-and-set, as often as others are faster; return what it is then.

        What was last read or written here is tried first. It may be old: only a write that is done proves it right.

        Args:
            model: The model.
            step: Makes the new register of the old one; called again for each try. The same register changes nothing.

        Raises:
            UnavailableError: Others were faster all the time.
            ConfigError: As `read`.
            ProtocolError: Likewise.
        """
        name = name_of(model)
        document, is_fresh = self._known.get(name), False
        for attempt in range(TRIES):
            is_fresh = is_fresh or document is None
            before, version = (self._parse(document, model), document.version) if document else self._read(model)
            after = step(before)
            if after == before and is_fresh:
                return after
            if after == before:
                document = None
                continue
            text = after.to_text()
            document, is_fresh = self.shelf.write(name, text, over=version), True
            if document is not None and document.text == text:
                self._known[name] = document
                return after
            if attempt > _AT_ONCE:
                time.sleep(random.uniform(0, _WAIT_S))  # noqa: S311  # spreads load, guards nothing
                document = None
        raise crowded(model)

    def mend(self, model: str, register: Register, *, seen: Sequence[ModelVersion] = (), reigns: int = REIGNS) -> None:
        """Write the tags of the versions that were crowned lately, where they differ from the register.

        Whoever writes a tag looks at the register again afterwards, since it may have changed meanwhile.

        Args:
            model: The model.
            register: What the register was a moment ago.
            seen: More versions, as a look has just shown them.
            reigns: How many of the versions that were crowned last are looked at.
        """
        shown = {each.version: each for each in seen}
        for _ in range(TRIES):
            lately = {each: shown.get(each) or self.look(model, each) for each in register.reigns[-reigns:] if reigns}
            lagging = [each for each in (shown | lately).values() if each and _lags(each, register)]
            for each in lagging:
                self._tag(model, register, each)
            if not lagging:
                return
            now = self.read(model)
            if (now.champion, now.reigns) == (register.champion, register.reigns):
                return
            shown = {each: found for each in shown if (found := self.look(model, each))}
            register = now
        raise crowded(model)

    def rebuild(self, model: str, *, champion: str) -> Register:
        """Write a register that was lost, or cannot be read, anew from what the versions say of themselves.

        Raises:
            ConfigError: There is a register that can be read, or the champion is none of the versions.
            UnavailableError: Somebody else was faster.
        """
        name = name_of(model)
        there = self.shelf.read(name)
        if there is not None and _is_readable(there.text):
            raise ConfigError(f"Model {model} has a register, {self.shelf.url}{name}, that can be read: it is kept.")
        register = Register(model=model)
        for each in sorted(self._versions(model), key=lambda one: number_of(one.version)):
            key = each.properties.get(KEY_PROPERTY, "")
            key = "" if register.of_key(key) else key
            register = evolve(register, entries=(*register.entries, Entry(version=each.version, key=key, job=each.job)))
        if champion:
            crowned = register.crown(champion, expected="")
            if not crowned.crowned:
                raise ConfigError(f"Write the register of model {model} anew: {crowned.reason}")
            register = crowned.register
        text = register.to_text()
        written = self.shelf.write(name, text, over="" if there is None else there.version)
        if written is None or written.text != text:
            raise UnavailableError(f"Write the register of model {model} anew", message="Somebody else was faster.")
        return register

    def look(self, model: str, version: str) -> ModelVersion | None:
        """Look at a version; None when it is not there."""
        return self.client.run(models.get(self.workspace, model, version))

    def _tag(self, model: str, register: Register, found: ModelVersion) -> None:
        stage = register.stage_of(found.version)
        tags = {**found.tags, STAGE_TAG: stage.value}
        self.client.run(models.change(self.workspace, model, found, tags=tags, stage=stage.azure))
        log.info("Version %s of model %s is tagged %s", found.version, model, stage.value)

    def _versions(self, model: str) -> list[ModelVersion]:
        return list(self.client.run(models.versions(self.workspace, model, archived=True)))

    def _read(self, model: str) -> tuple[Register, str]:
        """Read a register and its version; where there is none, an empty one and an empty text."""
        name = name_of(model)
        found = self.shelf.read(name)
        if found is None and any(KEY_PROPERTY in each.properties for each in self._versions(model)):
            found = self.shelf.read(name)  # somebody may have begun it meanwhile
            if found is None:
                raise ConfigError(
                    f"The register of model {model}, {self.shelf.url}{name}, is lost: versions of the model say that"
                    " they are in it. Nothing is registered or crowned until it is there again; see 'When the register"
                    " is lost' in docs/how-to/models.md."
                )
        if found is None:
            return Register(model=model), ""
        self._known[name] = found
        return self._parse(found, model), found.version

    def _parse(self, found: "Document", model: str) -> Register:
        try:
            register = Register.from_text(found.text)
        except ProtocolError as error:
            raise ProtocolError(f"Read the register of model {model}, {self.shelf.url}{found.id}: {error}") from error
        if register.model != model:
            raise ConfigError(
                f"Model {model!r} is called {register.model!r} in its register, and Azure ML does not tell upper from"
                f" lower case: call it {register.model!r}."
            )
        return register


def _lags(found: ModelVersion, register: Register) -> bool:
    return found.tags.get(STAGE_TAG) != register.stage_of(found.version).value


def check_name(model: str) -> None:
    """Refuse what is no model's name.

    Raises:
        ConfigError: It is none.
    """
    if not is_model_name(model):
        raise ConfigError(f"model is {model!r}; a name has up to 255 letters, digits, '-', '_' and '.'.")


def name_of(model: str) -> str:
    """Name a model's document; Azure does not tell upper from lower case."""
    check_name(model)
    return f"{model.lower()}.json"


def crowded(model: str) -> UnavailableError:
    """Say that others were faster all the time."""
    return UnavailableError(f"Change the register of model {model}", message=f"Others were faster {TRIES} times.")


def _is_readable(text: str) -> bool:
    try:
        Register.from_text(text)
    except ProtocolError:
        return False
    return True
