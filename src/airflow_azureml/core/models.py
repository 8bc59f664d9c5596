"""Registered models: whose each version is, which of them is the champion, and how that changes.

What is decided stands in one document for each model, its register, which is changed by compare-and-set only: two tasks
never reserve the same version, and there is one champion or none. The tags of the versions follow the register, so a
tag that differs is a tag that lags behind, and whoever comes next mends it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Self

from attrs import evolve, field, frozen

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.lineage import LIMITS, Lineage
from airflow_azureml.errors import ConfigError, ProtocolError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: The tag of a version that follows the register.
STAGE_TAG = "stage"
#: The facts of a verdict by which a model is registered: the job that made it, the version of the champion that it was
#: compared with, or one of the words for none, and of which model that is; the last may be left out.
JOB_FACT, CHAMPION_FACT, MODEL_FACT = "job", "champion", "model"
NO_CHAMPION = frozenset({"", "none", "none yet"})
#: Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-model and the service's own complaint.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_WHAT_TO_DO = "See 'When the register is lost' in docs/how-to/models.md"


class Kind(StrEnum):
    """What a model's files are."""

    MLFLOW = "mlflow"
    CUSTOM = "custom"
    TRITON = "triton"

    @property
    def azure(self) -> str:
        """Azure ML's word for it. Source: azure-ai-ml 1.35, ``AssetTypes``."""
        return f"{self.value}_model"


class Stage(StrEnum):
    """What a version is, as its tag says."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    RETIRED = "retired"

    @property
    def azure(self) -> str:
        """MLflow's word for it, which Azure ML shows as the version's stage."""
        return {"champion": "Production", "challenger": "Staging", "retired": "Archived"}[self.value]


@frozen(kw_only=True)
class Registration:
    """A job's output that is to become a version of a model.

    Attributes:
        model: The model's name.
        job: The job.
        output: The name of its output.
        path: Where in the output the model is; empty for all of it.
        kind: What its files are.
        description: Markdown for people.
        tags: Tags of the user's own.
        lineage: How it came about.
    """

    model: str
    job: str
    output: str
    path: str = ""
    kind: Kind = Kind.CUSTOM
    description: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    lineage: Lineage = field(factory=Lineage)

    @property
    def key(self) -> str:
        """What makes two registrations the same: 32 hexadecimal digits."""
        parts = ("registration", self.job, self.output, self.path.strip("/"))
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]

    @property
    def uri(self) -> str:
        """Where the files are, as Azure ML reads it: it finds out the place and the job by itself."""
        inside = self.path.strip("/")
        return f"azureml://jobs/{self.job}/outputs/{self.output}" + (f"/paths/{inside}" if inside else "")

    @property
    def properties(self) -> dict[str, str]:
        """What the version is to say of itself for ever."""
        return self.lineage.to_properties(key=self.key, job=self.job, output=self.output)

    def faults(self) -> Iterator[str]:
        """Say what is wrong with it."""
        if not is_model_name(self.model):
            yield (
                f"model is {self.model!r}; a name has up to 255 letters, digits, '-', '_' and '.', and begins with a"
                " letter or a digit"
            )
        yield from (f"{name} is empty" for name in ("job", "output") if not getattr(self, name).strip())
        yield from (f"{name} has a slash in it" for name in ("job", "output") if "/" in getattr(self, name))
        if ".." in self.path.split("/") or "//" in self.path:
            yield f"path is {self.path!r}; it must lead into the output"
        if STAGE_TAG in self.tags:
            yield f"the tag {STAGE_TAG!r} is kept by the register"
        yield from LIMITS.faults_of_tags({**self.tags, STAGE_TAG: ""})


def is_model_name(name: str) -> bool:
    """Tell whether Azure ML takes it for a model's name."""
    return bool(_NAME.fullmatch(name))


@frozen(kw_only=True)
class Entry:
    """A version that is in the register; whether it is in the workspace yet, only the workspace says.

    Attributes:
        version: Its number, as text.
        key: For which registration it is reserved; empty for one that was registered outside.
        job: The job that made it.
    """

    version: str
    key: str
    job: str


def number_of(version: str) -> int:
    """Read a version as a number; -1 when it is none."""
    return int(version) if version.isascii() and version.isdecimal() else -1


@frozen(kw_only=True)
class Register:
    """The register of one model.

    Attributes:
        model: The model's name, as the first that registered wrote it.
        entries: Its versions, the oldest first.
        champion: The version that is the champion; empty for none.
        reigns: Every version that is or was the champion, the latest last.
    """

    model: str
    entries: tuple[Entry, ...] = ()
    champion: str = ""
    reigns: tuple[str, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ProtocolError: It is none, or contradicts itself; nothing may be decided by it.
        """
        try:
            raw = json.loads(text)
            if raw["schema"] != SCHEMA:
                raise ProtocolError(
                    f"it is of schema {raw['schema']!r}, and this version reads {SCHEMA}. {_WHAT_TO_DO}"
                )
            found = cls(
                model=_text(raw["model"]),
                entries=tuple(
                    Entry(version=_text(one["version"]), key=_text(one["key"]), job=_text(one["job"]))
                    for one in raw["entries"]
                ),
                champion=_text(raw["champion"]),
                reigns=tuple(_text(one) for one in raw["reigns"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolError(f"it is no register ({error!r}). {_WHAT_TO_DO}") from error
        if wrong := "; ".join(found.contradictions()):
            raise ProtocolError(f"it contradicts itself: {wrong}. {_WHAT_TO_DO}")
        return found

    def to_text(self) -> str:
        """Write it as JSON, each entry on a line of its own, for people who look."""
        entries = ",\n".join(
            json.dumps({"version": one.version, "key": one.key, "job": one.job}) for one in self.entries
        )
        head = {"schema": SCHEMA, "model": self.model, "champion": self.champion, "reigns": list(self.reigns)}
        return f'{json.dumps(head)[:-1]}, "entries": [\n{entries}\n]}}\n'

    def contradictions(self) -> Iterator[str]:
        """Say what cannot be true of any register."""
        versions = [one.version for one in self.entries]
        keys = [one.key for one in self.entries if one.key]
        if len(set(versions)) < len(versions) or "" in versions:
            yield "a version stands in it twice, or has no name"
        if len(set(keys)) < len(keys):
            yield "a registration stands in it twice"
        if len(set(self.reigns)) < len(self.reigns) or set(self.reigns) - set(versions):
            yield "a champion is in none of its entries, or is named twice"
        if self.champion and self.champion not in self.reigns[-1:]:
            yield f"version {self.champion} is the champion, and was not crowned last"

    def of_key(self, key: str) -> Entry | None:
        """Find the version of a registration; None when there is none."""
        return next((one for one in self.entries if one.key == key), None)

    def of_version(self, version: str) -> Entry | None:
        """Find a version; None when it is not in the register."""
        return next((one for one in self.entries if one.version == version), None)

    def stage_of(self, version: str) -> Stage:
        """Say what a version is."""
        if version == self.champion:
            return Stage.CHAMPION
        return Stage.RETIRED if version in self.reigns else Stage.CHALLENGER

    def reserve(self, registration: Registration, *, above: int = 0) -> Self:
        """Reserve a version for a registration; one that has a version keeps it.

        Args:
            registration: For what.
            above: The highest number that is taken, as far as is known besides.
        """
        if self.of_key(registration.key) is not None:
            return self
        entry = Entry(version=self._free(above), key=registration.key, job=registration.job)
        return evolve(self, entries=(*self.entries, entry))

    def move(self, key: str, *, above: int) -> Self:
        """Give a registration another version, since somebody outside has the one that was reserved for it.

        One that was ever crowned keeps its version.
        """
        entry = self.of_key(key)
        if entry is None or entry.version in self.reigns:
            return self
        others = tuple(one for one in self.entries if one is not entry)
        return evolve(self, entries=(*others, evolve(entry, version=self._free(above))))

    def adopt(self, version: str, *, job: str) -> Self:
        """Take in a version that somebody registered outside; one that is there stays as it is."""
        if self.of_version(version) is not None:
            return self
        return evolve(self, entries=(*self.entries, Entry(version=version, key="", job=job)))

    def crown(self, version: str, *, expected: str, vacant: bool = False, again: bool = False) -> "Coronation":
        """Make a version the champion, if the champion is still the one that it was compared with.

        Args:
            version: Which; it must be in the workspace.
            expected: The champion that it was compared with; empty for none.
            vacant: Whether the register's champion is not in the workspace any more, which counts as none.
            again: Whether one that was the champion before may become it once more, as a person decides who goes back.
        """
        if self.of_version(version) is None:
            return Coronation(register=self, crowned=False, reason=f"Version {version} is not in the register.")
        if version == self.champion:
            return Coronation(register=self, crowned=True)
        if version in self.reigns and not again:
            words = f"Version {version} was the champion before, and was replaced; only a person makes it so again."
            return Coronation(register=self, crowned=False, reason=words)
        if self.champion != expected and not (vacant and not expected):
            compared = f"version {expected}" if expected else "no champion"
            is_now = f"version {self.champion}" if self.champion else "none"
            words = f"It was compared with {compared}, and the champion is {is_now} now: the gate must look again."
            return Coronation(register=self, crowned=False, reason=words)
        reigns = (*(one for one in self.reigns if one != version), version)
        return Coronation(register=evolve(self, champion=version, reigns=reigns), crowned=True)

    def retire(self, version: str) -> Self:
        """Have no champion any more, if it is this version."""
        return evolve(self, champion="") if version and version == self.champion else self

    def _free(self, above: int) -> str:
        return str(max(above, 0, *(number_of(one.version) for one in self.entries)) + 1)


@frozen(kw_only=True)
class Champion:
    """The version that a challenger is compared with.

    Attributes:
        uri: Where its files are.
        job: The job that made it; empty for one that was made by none.
        evaluation: The URI of the folder with its evaluation; empty where nobody says.
        data_version: What it was evaluated on; empty where nobody says.
    """

    model: str
    version: str
    uri: str
    job: str
    evaluation: str
    data_version: str

    def to_wire(self) -> dict[str, str]:
        """Write it as JSON can hold it: ``model``, ``version``, ``uri``, ``job``, ``evaluation``, ``data_version``."""
        return {
            "model": self.model,
            "version": self.version,
            "uri": self.uri,
            "job": self.job,
            "evaluation": self.evaluation,
            "data_version": self.data_version,
        }


@frozen(kw_only=True)
class Coronation:
    """What came of crowning a version.

    Attributes:
        register: The register afterwards.
        crowned: Whether the version is the champion in it.
        reason: Why it is not, one sentence; empty where it is.
    """

    register: Register
    crowned: bool
    reason: str = ""


def check_verdict(verdict: Verdict, *, job: str, model: str) -> None:
    """Refuse a verdict by which a job's model may not be registered.

    Raises:
        ConfigError: It is a no, is about another job or none, or compares with another model's champion.
    """
    if not verdict.accepted:
        raise ConfigError(f"The verdict is a no: {verdict.sentence}")
    judged = verdict.facts.get(JOB_FACT, "")
    if judged != job:
        about = f"about job {judged}" if judged else f"about no job: its facts have no {JOB_FACT!r}"
        raise ConfigError(f"The verdict is {about}, and what is to be registered was made by job {job}.")
    compared = verdict.facts.get(MODEL_FACT, "")
    if compared and compared != model:
        raise ConfigError(f"The verdict compares with the champion of model {compared}, and this is model {model}.")


def expected_champion(verdict: Verdict) -> str:
    """Read with which champion a model was compared: a version, or an empty text for none.

    Raises:
        ConfigError: The verdict does not say.
    """
    told = verdict.facts.get(CHAMPION_FACT)
    if told is None:
        raise ConfigError(
            f"It is not known with which champion the model was compared: the verdict's facts have no"
            f" {CHAMPION_FACT!r}. Give expected=, with an empty text where there was none."
        )
    return "" if told.strip().lower() in NO_CHAMPION else told.strip()


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"{raw!r:.80} is no text")
    return raw
