"""Who publishes a folder to a workspace at the moment: whoever began last. The one before sees it, and stops."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any, Self

from attrs import asdict, evolve, frozen

from airflow_azureml.errors import ProtocolError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: How many publishers are remembered as overtaken.
REMEMBERED = 50
_ODD = re.compile(r"[^A-Za-z0-9_-]")


@frozen(kw_only=True)
class Claim:
    """What is written down of a folder's publications to a workspace.

    Attributes:
        owner: Who began last: ``dag/run/task/…`` or a person's command; empty where nobody ever did.
        version: What is being published, or was.
        began: When: ISO 8601, UTC.
        overtaken: Those who had begun before, the last of them last. Who is among them begins no more, unless what is
            being published is what they publish, too.
        count: How often it was begun, so that no two claims are written alike.
    """

    owner: str = ""
    version: str = ""
    began: str = ""
    overtaken: tuple[str, ...] = ()
    count: int = 0

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ProtocolError: It is none; nobody may publish by it.
        """
        try:
            raw = json.loads(text)
            if raw.pop("schema") != SCHEMA:
                raise ProtocolError(f"What is written of publications is not of schema {SCHEMA}: {text:.200}")
            return cls(**{**raw, "overtaken": tuple(map(str, raw["overtaken"]))})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"What is written of publications cannot be read: {text:.200}") from error

    def to_text(self) -> str:
        """Write it as JSON."""
        fields: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(fields)

    def knows(self, owner: str, version: str) -> bool:
        """Tell whether this publisher has begun, whoever has since."""
        return (self.owner, self.version) == (owner, version) or _of(owner, version) in self.overtaken

    def begun(self, owner: str, version: str, *, now: datetime) -> Self:
        """Give what is written when a publisher begins."""
        before = (*self.overtaken, _of(self.owner, self.version)) if self.owner else self.overtaken
        before = tuple(each for each in before if each != _of(owner, version))
        began = now.astimezone(UTC).isoformat(timespec="seconds")
        return evolve(
            self, owner=owner, version=version, began=began, overtaken=before[-REMEMBERED:], count=self.count + 1
        )

    def __str__(self) -> str:
        return f"{self.version}, begun by {self.owner} at {self.began}"


def document_of(bundle: str) -> str:
    """Name the document of a folder: its name, where that may stand in an id, and a digest of it in any case."""
    digest = hashlib.sha256(bundle.encode()).hexdigest()[:12]
    return f"publications/{_ODD.sub('_', bundle)[:100]}-{digest}"


def _of(owner: str, version: str) -> str:
    return hashlib.sha256(f"{owner}\0{version}".encode()).hexdigest()[:16]
