"""What was rolled back on an endpoint, so that it is not rolled out there again by itself."""

from collections.abc import Iterable
from typing import Self

from attrs import frozen

from airflow_azureml.core.online import same_model
from airflow_azureml.errors import ConfigError

#: As many are remembered for each endpoint, the latest.
MOST_REMEMBERED = 50
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", "none", ""})


@frozen(kw_only=True)
class RolledBack:
    """A deployment that was not good enough, or that a person has sent back.

    Attributes:
        deployment: Its name.
        model: The id of the version that it served; empty where its code brought the model.
        at: When it was sent back: ISO 8601, UTC.
        owner: The run that rolled it out, ``dag/run/group``.
        why: The reasons.
    """

    deployment: str
    model: str
    at: str
    owner: str
    why: str

    def is_of(self, deployment: str, model: str) -> bool:
        """Tell whether it is about this deployment of this version; a version that is not known says nothing."""
        is_named = self.deployment == deployment
        return is_named and (not self.model or not model or same_model(self.model, model))

    def told(self, endpoint: str) -> str:
        """Say so, as sentences."""
        return f"It was rolled back on endpoint {endpoint} at {self.at}, by {self.owner}: {self.why}"

    def others(self, known: Iterable[Self]) -> tuple[Self, ...]:
        """Give those of them that are not about the same."""
        return tuple(each for each in known if not each.is_of(self.deployment, self.model))


def is_again(told: object) -> bool:
    """Read whether what was rolled back may be rolled out once more: a boolean, or what a template makes of one.

    Raises:
        ConfigError: It is none.
    """
    text = str(told).strip().lower()
    if text not in _YES | _NO:
        raise ConfigError(f"again is {told!r:.100}; it must be true or false.")
    return text in _YES
