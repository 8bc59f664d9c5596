"""How a model came about, as the properties of its version tell it, within Azure ML's limits."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.evaluation import Evaluation
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.jobs import INSTANCE_PROPERTY, OWNER_PROPERTY
from airflow_azureml.errors import ConfigError

#: The property that says of which registration a version is.
KEY_PROPERTY = "airflow.registration"
#: The properties that whoever asks for the champion reads.
JOB, DATA_VERSION, EVALUATION, MODEL_SHA256 = "job", "data_version", "evaluation", "model_sha256"
#: What was left out, since there was no room for it: how many properties, and their names.
LEFT_OUT = "airflow.left_out"


@frozen(kw_only=True)
class Limits:
    """How many tags or properties a version may have, and how long they may be. Characters.

    Source: "Service limits in Azure Machine Learning", which names them for runs; for models it names none.
    """

    entries: int = 50
    key: int = 100
    value: int = 1000

    def cut(self, value: str) -> str:
        """Cut a value that is too long, so that one sees it."""
        return value if len(value) <= self.value else f"{value[: self.value - 1]}…"

    def fit(self, pairs: Mapping[str, str]) -> dict[str, str]:
        """Keep what there is room for.

        Values are cut. What has too long a name, and what comes last when there are too many, is left out, and
        `LEFT_OUT` says how many and which.
        """
        wanted = {name: self.cut(value) for name, value in pairs.items() if value}
        named = [name for name in wanted if len(name) <= self.key]
        room = self.entries if len(named) == len(wanted) <= self.entries else self.entries - 1
        kept = {name: wanted[name] for name in named[:room]}
        left = [name for name in wanted if name not in kept]
        return kept | ({LEFT_OUT: self.cut(f"{len(left)}: {', '.join(left)}")} if left else {})

    def faults_of_tags(self, tags: Mapping[str, str]) -> Iterator[str]:
        """Say which tags of a person's own break the limits: they are theirs to shorten."""
        if len(tags) > self.entries:
            yield f"there are {len(tags)} tags; {self.entries} are the most"
        for name, value in tags.items():
            if not name or len(name) > self.key:
                yield f"the tag {name[:40]!r} has a name of {len(name)} characters; 1 to {self.key} are allowed"
            if len(value) > self.value:
                yield f"the tag {name[:40]!r} has {len(value)} characters; {self.value} are the most"


LIMITS = Limits()


@frozen(kw_only=True)
class DataVersion:
    """A version of data that a model was trained on.

    Attributes:
        path: Where it is.
        etag: Its version in the store; empty where nobody says.
        rows: How many rows it has; None where nobody says.
        digest: What identifies its content; empty where nobody says.
    """

    path: str
    etag: str = ""
    rows: int | None = None
    digest: str = ""

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Read a path, a mapping with ``path``, ``etag``, ``rows`` and ``digest``, or the result of a data test.

        Raises:
            ConfigError: It is none of them, or a data test that data has failed.
        """
        told = {"path": raw} if isinstance(raw, str) else raw
        names = ("path", "etag", "rows", "digest")
        if not isinstance(told, Mapping) or not told.get("path"):
            raise ConfigError(f"data has {raw!r:.200}; each of it is a path, or has path, etag, rows and digest.")
        unknown = sorted(set(told) - set(names))
        if unknown and "schema" not in told:
            raise ConfigError(f"data has {raw!r:.200}; {', '.join(unknown)} is none of {', '.join(names)}.")
        if told.get("accepted", True) is not True:
            raise ConfigError(f"data has {told['path']}, which failed its data test: no model of it is registered.")
        rows = told.get("rows")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
            raise ConfigError(f"data has {raw!r:.200}, whose rows are no number.")
        texts = {name: str(told.get(name) or "") for name in ("path", "etag", "digest")}
        return cls(**texts, rows=rows)

    def to_text(self) -> str:
        """Write it as JSON; what is not known is left out."""
        told = {"path": self.path, "etag": self.etag, "rows": self.rows, "digest": self.digest}
        return json.dumps({name: value for name, value in told.items() if value not in (None, "")}, ensure_ascii=False)


@frozen(kw_only=True)
class Lineage:
    """How a model came about.

    Attributes:
        git_sha: The commit of the code.
        pipeline: The pipeline component or endpoint and its version, for people.
        data: What it was trained on.
        evaluation: The URI of the folder with its ``evaluation.json``.
        evaluated: What that says.
        verdict: What the gate decided; None where no gate was asked.
        verdict_uri: The URI of the verdict with all its findings.
        metrics: Metrics of the job; those of the evaluation come before them.
        owner: The task instance and the try: ``dag/run/task/map index/try``.
        instance: Which Airflow that is of.
    """

    git_sha: str = ""
    pipeline: str = ""
    data: Sequence[DataVersion] = ()
    evaluation: str = ""
    evaluated: Evaluation = field(factory=Evaluation)
    verdict: Verdict | None = None
    verdict_uri: str = ""
    metrics: Mapping[str, float] = field(factory=dict)
    owner: str = ""
    instance: str = ""

    @property
    def measured(self) -> dict[str, float]:
        """The finite metrics: those of the evaluation, then those of the job that are not among them."""
        own = {**self.evaluated.metrics}
        both = {**own, **{name: value for name, value in self.metrics.items() if name not in own}}
        return {name: value for name, value in both.items() if math.isfinite(value)}

    @property
    def commit(self) -> str:
        """The commit of the code: as the task says it, or the evaluation."""
        return self.git_sha or self.evaluated.git_sha

    def to_properties(self, *, key: str, job: str, output: str) -> dict[str, str]:
        """Write the properties of the version, the most important first; metrics are what is left out first."""
        verdict = self.verdict
        told = {
            KEY_PROPERTY: key,
            OWNER_PROPERTY: self.owner,
            INSTANCE_PROPERTY: self.instance,
            JOB: job,
            "output": output,
            "git_sha": self.commit,
            "pipeline": self.pipeline,
            EVALUATION: self.evaluation,
            DATA_VERSION: self.evaluated.data_version,
            "data_path": self.evaluated.data_path,
            "data_etag": self.evaluated.data_etag,
            "data_rows": "" if self.evaluated.rows is None else str(self.evaluated.rows),
            MODEL_SHA256: self.evaluated.model_sha256,
            "verdict": "" if verdict is None else verdict.sentence,
            "verdict_policy": "" if verdict is None else verdict.policy,
            "verdict_uri": self.verdict_uri,
            **{f"training_data.{number}": one.to_text() for number, one in enumerate(self.data)},
            **{f"metric.{name}": repr(value) for name, value in self.measured.items()},
        }
        return LIMITS.fit(told)
