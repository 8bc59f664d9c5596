"""What became of a subset that was asked for."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from attrs import asdict, field, frozen

from airflow_azureml.errors import ProtocolError

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: Files that the result names one by one; all of them are in the manifest.
NAMED = 5
_TEXTS = ("key", "uri", "source", "policy", "report_uri", "verdict_uri", "manifest_uri")


@frozen(kw_only=True)
class FileCut:
    """What became of one file.

    Attributes:
        path: In its folder, and in that of the subset.
        etag: The version of the whole.
        rows: How many rows were chosen; without any, it is not in the subset.
        of: How many there are.
        digest: SHA-256 of what was written, in hexadecimal digits.
    """

    path: str
    etag: str
    rows: int
    of: int
    digest: str


@frozen(kw_only=True)
class SubsetResult:
    """A subset that is there.

    Attributes:
        key: What names it: the same for the same data and the same `airflow_azureml.core.subsets.Subset`.
        uri: Its data: the folder, or the file where the whole is one.
        rows: How many rows it has.
        of: How many the whole has.
        accepted: Whether it is like the whole.
        source: The whole.
        policy: Which rows, in a line.
        report_uri: A page for people.
        verdict_uri: What was found, as `airflow_azureml.core.findings.Verdict` writes it.
        manifest_uri: All of this, with all files.
        files: What became of each file.
    """

    key: str
    uri: str
    rows: int
    of: int
    accepted: bool
    source: str
    policy: str
    report_uri: str
    verdict_uri: str
    manifest_uri: str
    files: Sequence[FileCut] = field(converter=tuple[FileCut, ...])

    @property
    def digest(self) -> str:
        """What identifies the content of the whole subset."""
        told = json.dumps(sorted([each.path, each.digest] for each in self.files if each.rows))
        return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"

    @property
    def sentence(self) -> str:
        """Say what it is."""
        how = "resembles" if self.accepted else "does not resemble"
        share = 100 * self.rows / self.of if self.of else 0.0
        return f"{self.rows} of {self.of} rows ({share:.2g} %; {self.policy}) of {self.source}: the subset {how} it."

    def manifest(self) -> dict[str, Any]:
        """Write all of it as JSON can hold it."""
        return {**self._head(), "files": [asdict(each) for each in self.files]}

    def to_wire(self) -> dict[str, Any]:
        """Write what a task returns, in less than 4 kB: ``data`` is what evidence and a model's lineage tell of it."""
        data = {"path": self.uri, "etag": self.key, "rows": self.rows, "digest": self.digest}
        return {**self._head(), "files": len(self.files), "data": data}

    def _head(self) -> dict[str, Any]:
        figures = {"rows": self.rows, "of": self.of, "accepted": self.accepted}
        return {"schema": SCHEMA, **{name: getattr(self, name) for name in _TEXTS}, **figures, "digest": self.digest}

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Read a manifest.

        Raises:
            ProtocolError: It is none.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            raise ProtocolError(f"This is no manifest of a subset of schema {SCHEMA}.")
        try:
            files = [FileCut(**each) for each in raw["files"]]
            texts = {name: str(raw[name]) for name in _TEXTS}
            return cls(**texts, rows=int(raw["rows"]), of=int(raw["of"]), accepted=raw["accepted"] is True, files=files)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"The manifest of the subset cannot be read: {error!r:.200}.") from error
