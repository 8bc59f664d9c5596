"""Never two retrainings of one model at once: who holds a model, and who may take it from whom."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Self

from attrs import asdict, evolve, frozen

from airflow_azureml.errors import ProtocolError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: For how long the hold of another Airflow, which cannot be asked whether its run still works, is respected.
FOREIGN_LEASE = timedelta(days=2)
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class Standing(Enum):
    """How a run stands to a model."""

    #: Nobody holds it.
    FREE = "free"
    #: The run itself does.
    MINE = "mine"
    #: Another run of this Airflow does, which may be asked after.
    ANOTHER = "another"
    #: A run of another Airflow does, which cannot.
    FOREIGN = "foreign"


@frozen(kw_only=True)
class Holding:
    """What is written down of a model's retrainings.

    Attributes:
        model: The model's name.
        owner: The run that took it last, ``dag/run/group``; empty where none ever did.
        instance: The Airflow whose run that is.
        began: When it took it: ISO 8601, UTC.
        ended: When it gave it back, likewise; empty where it did not.
        count: How often the model was taken, so that no two takings are written alike.
    """

    model: str
    owner: str = ""
    instance: str = ""
    began: str = ""
    ended: str = ""
    count: int = 0

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ProtocolError: It is none; nobody may take the model by it.
        """
        try:
            raw = json.loads(text)
            if raw.pop("schema") != SCHEMA:
                raise ProtocolError(f"What is written of a model's retrainings is not of schema {SCHEMA}: {text:.200}")
            found = cls(**raw)
            _ = [_time(each) for each in (found.began, found.ended) if each]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"What is written of a model's retrainings cannot be read: {text:.200}") from error
        return found

    def to_text(self) -> str:
        """Write it as JSON."""
        fields: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(fields)

    @property
    def is_held(self) -> bool:
        """Whether somebody has taken it and not given it back."""
        return bool(self.owner) and not self.ended

    @property
    def last(self) -> datetime | None:
        """When the last retraining ended, or else began, UTC; None where there never was one."""
        at = self.ended or self.began
        return _time(at) if at else None

    def standing(self, owner: str, instance: str, *, now: datetime) -> Standing:
        """Tell how a run stands to the model.

        Args:
            owner: The run, ``dag/run/group``.
            instance: Its Airflow.
            now: With its zone.
        """
        if not self.is_held:
            return Standing.FREE
        if self.instance == instance:
            return Standing.MINE if self.owner == owner else Standing.ANOTHER
        return Standing.FREE if now - _time(self.began) >= FOREIGN_LEASE else Standing.FOREIGN

    def taken(self, owner: str, instance: str, *, now: datetime) -> Self:
        """Give what is written when a run takes it."""
        return evolve(self, owner=owner, instance=instance, began=_text(now), ended="", count=self.count + 1)

    def given_back(self, *, now: datetime) -> Self:
        """Give what is written when the run that holds it is over."""
        return evolve(self, ended=_text(now))


def document_of(model: str) -> str:
    """Name the document of a model: its name, where that may stand in an id, and a digest of it in any case."""
    digest = hashlib.sha256(model.encode()).hexdigest()[:12]
    return f"retraining/{_ODD.sub('_', model)[:100]}-{digest}"


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
