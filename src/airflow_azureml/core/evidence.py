"""Evidence: what ran where, on what data, what came of it and who agreed, in bytes that can be signed."""

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.approvals import Approval, text_of, time_of
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.lineage import DataVersion
from airflow_azureml.errors import (
    AzureMLError,
    EvidenceAlteredError,
    EvidenceExpiredError,
    EvidenceFailedError,
    EvidenceMismatchError,
    ProtocolError,
)

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: Bytes of the largest document that is written or read.
MOST_BYTES = 256 * 1024
#: What is signed says what it is, so that a signature of something else never fits.
PAYLOAD_TYPE = "application/vnd.airflow-azureml.evidence+json"
#: How far the clock of another machine may be ahead.
CLOCKS_APART = timedelta(minutes=5)
#: The tags of a job and of a model version that name their evidence.
URI_TAG, DIGEST_TAG = "airflow.evidence", "airflow.evidence_digest"
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: The members that are texts, as attributes and in JSON.
_TEXTS = ("environment", "workspace", "sha", "pipeline", "job", "model", "model_sha256", "previous")


@frozen(kw_only=True)
class Evidence:
    """What ran in one environment, and what came of it.

    Attributes:
        environment: The environment's name.
        workspace: The workspace's id in Azure Resource Manager.
        sha: The commit of the code, all 40 (or 64) digits.
        pipeline: The pipeline and its version, for people.
        job: The job; empty where none ran.
        data: What it was trained on.
        metrics: The figures that were found; finite.
        verdict: What the gate decided; None where no gate was asked.
        checks: What the integration checks found; None where there were none.
        approval: What a person decided; None where nobody was asked.
        model: The version that came of it, ``NAME:VERSION``; empty for none.
        model_sha256: What identifies its files; empty where nobody says.
        began: When the run began, with its zone.
        ended: When it had ended and was judged; from then on its age counts.
        previous: The digest of the evidence of the environment before; empty for the first.
    """

    environment: str
    workspace: str
    sha: str
    began: datetime
    ended: datetime
    pipeline: str = ""
    job: str = ""
    data: tuple[DataVersion, ...] = field(default=(), converter=tuple[DataVersion, ...])
    metrics: Mapping[str, float] = field(factory=dict)
    verdict: Verdict | None = None
    checks: Verdict | None = None
    approval: Approval | None = None
    model: str = ""
    model_sha256: str = ""
    previous: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was judged, all that was judged is accepted, and nobody who was asked said no."""
        judged = [each for each in (self.verdict, self.checks) if each is not None]
        refused = self.approval is not None and not self.approval.approved
        return bool(judged) and all(each.accepted for each in judged) and not refused

    @property
    def canonical(self) -> bytes:
        """The bytes that are signed: the same for the same evidence, whoever writes it.

        JSON in UTF-8 with its names in order and nothing between, as RFC 8785 has it, but for its way to write
        numbers: Python's shortest is taken.
        """
        return json.dumps(
            self.to_wire(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    @property
    def digest(self) -> str:
        """What identifies it: ``sha256:`` and 64 digits."""
        return f"sha256:{hashlib.sha256(self.canonical).hexdigest()}"

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """What the newest of several has most of: when it ended, then when somebody decided about it."""
        return self.ended, self.began if self.approval is None else self.approval.at, self.digest

    @property
    def failures(self) -> Iterator[str]:
        """Say why it did not pass, one sentence each; none where it did."""
        if self.verdict is None and self.checks is None:
            yield "Nothing was judged."
        for judged in (self.verdict, self.checks):
            if judged is not None and not judged.accepted:
                yield judged.sentence
        if self.approval is not None and not self.approval.approved:
            yield f"{self.approval.by} rejected it at {text_of(self.approval.at)}. {self.approval.note}".strip()

    def faults(self) -> Iterator[str]:
        """Say what is wrong with it, as clauses."""
        if not is_environment_name(self.environment):
            yield f"environment is {self.environment!r:.80}, no name of letters, digits, '-' and '_'"
        if not is_sha(self.sha):
            yield f"sha is {self.sha!r:.80}, not the 40 digits of a commit"
        if not self.workspace:
            yield "workspace is empty"
        if self.previous and not _DIGEST.fullmatch(self.previous):
            yield f"previous is {self.previous!r:.80}, no digest"
        if self.ended < self.began:
            yield f"it ended at {text_of(self.ended)}, before it began"
        yield from (f"metric {name} is {each}" for name, each in self.metrics.items() if not math.isfinite(each))
        try:
            json.dumps(self.to_wire(), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield "a text of it has half a character, which JSON's escapes can write and UTF-8 cannot"

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no evidence, or of another schema.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            found = raw.get("schema") if isinstance(raw, Mapping) else raw
            raise ProtocolError(f"The evidence is of schema {found!r:.80}; this version reads {SCHEMA}.")
        if unknown := sorted(set(raw) - _MEMBERS):
            raise ProtocolError(f"The evidence has {', '.join(map(str, unknown))}, which this version does not know.")
        texts = {name: raw.get(name, "") for name in _TEXTS}
        if wrong := [name for name, each in texts.items() if not isinstance(each, str)]:
            raise ProtocolError(f"The evidence's {', '.join(wrong)} is no text.")
        made = cls(
            **texts,
            began=time_of(str(raw.get("began"))),
            ended=time_of(str(raw.get("ended"))),
            data=[_data(each) for each in _listed(raw.get("data", []))],
            metrics=_metrics(raw.get("metrics", {})),
            verdict=Verdict.from_wire(_object(raw["verdict"])) if "verdict" in raw else None,
            checks=Verdict.from_wire(_object(raw["checks"])) if "checks" in raw else None,
            approval=Approval.from_wire(raw["approval"]) if "approval" in raw else None,
        )
        if faults := "; ".join(made.faults()):
            raise ProtocolError(f"The evidence is none: {faults}.")
        return made

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it; what is empty or None is left out."""
        told: dict[str, Any] = {
            **{name: getattr(self, name) for name in _TEXTS},
            "data": [json.loads(each.to_text()) for each in self.data],
            "metrics": {name: float(each) for name, each in self.metrics.items()},
            "verdict": None if self.verdict is None else self.verdict.to_wire(),
            "checks": None if self.checks is None else self.checks.to_wire(),
            "approval": None if self.approval is None else self.approval.to_wire(),
            "began": text_of(self.began),
            "ended": text_of(self.ended),
        }
        return {"schema": SCHEMA} | {name: each for name, each in told.items() if each not in ("", None, [], {})}


_MEMBERS = {*_TEXTS, "schema", "data", "metrics", "verdict", "checks", "approval", "began", "ended"}


@frozen(kw_only=True)
class Signed:
    """Evidence with a signature, which nobody has looked at yet.

    Attributes:
        evidence: What is said.
        key: The id of the key that it is signed with, as the document says.
        signature: 64 bytes.
    """

    evidence: Evidence
    key: str
    signature: bytes

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote; whether the signature is right, only its key tells.

        Raises:
            EvidenceAlteredError: It is no signed evidence, or has another digest than it says of itself.
        """
        try:
            raw = json.loads(text, object_pairs_hook=_once)
            envelope = _object(raw)
            signed = _object(envelope.get("signature"))
            found = cls(
                evidence=Evidence.from_wire(envelope.get("evidence")),
                key=str(signed.get("key")),
                signature=base64.b64decode(str(signed.get("value")), validate=True),
            )
            said = envelope.get("digest")
        except (ValueError, RecursionError, AzureMLError) as error:
            raise EvidenceAlteredError(f"It cannot be read as evidence: {error} {_ALTERED}") from error
        if said != found.evidence.digest:
            raise EvidenceAlteredError(f"It says that its digest is {said!r:.80}, which it is not. {_ALTERED}")
        return found

    def to_text(self) -> str:
        """Write it as JSON, for people who look and for whoever verifies it."""
        signature = {"algorithm": "Ed25519", "key": self.key, "value": base64.b64encode(self.signature).decode()}
        told = {"evidence": self.evidence.to_wire(), "digest": self.evidence.digest, "signature": signature}
        return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


_ALTERED = "Somebody has written to it since: run the environment anew, and see who may write there."


@frozen(kw_only=True)
class Demand:
    """What evidence must prove before something is done in the next environment.

    Attributes:
        environment: Where it ran.
        sha: The commit that is to go on.
        most_age: How old it may be; None for any age.
        approved: Whether a person must have agreed.
        model_sha256: What identifies the files of the model that is to go on; empty where it is about code.
        workspace: The id of the workspace where it ran; empty where that does not matter.
    """

    environment: str
    sha: str
    most_age: timedelta | None = None
    approved: bool = False
    model_sha256: str = ""
    workspace: str = ""

    def check(self, evidence: Evidence, *, now: datetime) -> None:
        """Refuse evidence that does not prove it; its signature was verified before.

        Args:
            evidence: The evidence.
            now: With its zone.

        Raises:
            EvidenceMismatchError: It is about another commit, environment, workspace or model.
            EvidenceFailedError: What it tells of did not pass, or nobody agreed.
            EvidenceExpiredError: It is too old, or of the future.
        """
        asked = {
            "environment": (evidence.environment, self.environment),
            "commit": (evidence.sha, self.sha),
            "workspace": (evidence.workspace.lower(), self.workspace.lower() or evidence.workspace.lower()),
            "model's digest": (evidence.model_sha256, self.model_sha256 or evidence.model_sha256),
        }
        for name, (found, wanted) in asked.items():
            if found != wanted:
                raise EvidenceMismatchError(
                    f"Evidence {evidence.digest} is of {name} {found or 'none'}, and {wanted} is asked for."
                )
        if not evidence.passed:
            raise EvidenceFailedError(f"{self.told} did not pass. {' '.join(evidence.failures)}")
        if self.approved and evidence.approval is None:
            raise EvidenceFailedError(f"{self.told} passed, and nobody has approved it: let somebody, or do not ask.")
        age = now - evidence.ended
        if age < -CLOCKS_APART:
            raise EvidenceExpiredError(f"{self.told} ended at {text_of(evidence.ended)}, which is still to come.")
        if self.most_age is not None and age > self.most_age:
            raise EvidenceExpiredError(
                f"{self.told} ended at {text_of(evidence.ended)}; evidence may be {self.most_age} old: run it anew."
            )

    @property
    def told(self) -> str:
        """Name what is asked for, as the subject of a sentence."""
        return f"Commit {self.sha} in environment {self.environment}"


def to_sign(evidence: Evidence) -> bytes:
    """Give the bytes over which a signature goes.

    Source: "DSSE: Dead Simple Signing Envelope", protocol 1.0.2, PAE; https://github.com/secure-systems-lab/dsse.
    """
    body, kind = evidence.canonical, PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def folder_of(environment: str, sha: str) -> str:
    """Name the folder of all evidence of a commit in an environment, with a slash at its end."""
    return f"{environment.lower()}/{sha}/"


def document_of(evidence: Evidence) -> str:
    """Name the document of an evidence: the same evidence is the same document."""
    name = f"{evidence.digest.removeprefix('sha256:')}.json"
    return f"{folder_of(evidence.environment, evidence.sha)}{name}"


def is_sha(text: str) -> bool:
    """Tell whether it is a whole commit id of git, in lower case."""
    return bool(_SHA.fullmatch(text))


def is_environment_name(text: str) -> bool:
    """Tell whether an environment may be called so, where its name stands in paths and tags."""
    return bool(_NAME.fullmatch(text))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise ProtocolError(f"{twice[0]!r:.80} stands in it twice.")
    return dict(pairs)


def _object(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ProtocolError(f"{raw!r:.80} is no object.")
    return raw


def _listed(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise ProtocolError(f"The evidence's data is {raw!r:.80}, no list.")
    return raw


def _data(raw: Any) -> DataVersion:
    try:
        return DataVersion.parse(raw)
    except AzureMLError as error:
        raise ProtocolError(f"The evidence's {error}") from error


def _metrics(raw: Any) -> dict[str, float]:
    found = _object(raw)
    if wrong := [name for name, each in found.items() if isinstance(each, bool) or not isinstance(each, int | float)]:
        raise ProtocolError(f"The evidence's metric {wrong[0]!r:.80} is no number.")
    try:
        return {str(name): float(each) for name, each in found.items()}
    except OverflowError as error:
        raise ProtocolError("A metric of the evidence has too many digits.") from error
