"""Promotion: what is still to be done until the last environment is what it should be, by the evidence there is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import field, frozen

from airflow_azureml.core.evidence import Demand, Evidence, is_environment_name, is_sha
from airflow_azureml.errors import ConfigError, EvidenceError


class Verb(StrEnum):
    """What is done in an environment."""

    #: Publish there, train, judge, and record the evidence.
    RUN = "run"
    #: Let a person decide about what ran, and record that.
    APPROVE = "approve"


@frozen
class Step:
    """One thing to do."""

    environment: str
    verb: Verb


@frozen(kw_only=True)
class Wanted:
    """What should be true in the end: that commit has passed in every environment, and runs in the last.

    Attributes:
        sha: The commit.
        environments: Their names in their order; at least one.
        approved: Whether a person must have agreed to what ran in the environment before the last.
        most_age: How old the evidence of an environment may be when the next one begins; None for any age.
        model_sha256: What identifies the model's files, where a model is promoted and not code.

    Raises:
        ConfigError: The commit or a name is none, or two names are the same.
    """

    sha: str
    environments: tuple[str, ...] = field(converter=tuple[str, ...])
    approved: bool = True
    most_age: timedelta | None = None
    model_sha256: str = ""

    def __attrs_post_init__(self) -> None:
        names = [name.lower() for name in self.environments]
        if not is_sha(self.sha):
            raise ConfigError(f"sha is {self.sha!r:.80}, not the 40 digits of a commit.")
        if not names or len(set(names)) < len(names) or not all(map(is_environment_name, names)):
            raise ConfigError(
                f"environments is {list(self.environments)!r:.200}; give their names in order, each once."
            )

    def is_approved(self, environment: str) -> bool:
        """Tell whether a person must have agreed to what ran in an environment."""
        return self.approved and environment in self.environments[:-1][-1:]

    def demand(self, environment: str, *, approved: bool) -> Demand:
        """Say what evidence of an environment must prove; that of the last is good for ever."""
        return Demand(
            environment=environment,
            sha=self.sha,
            most_age=None if environment == self.environments[-1] else self.most_age,
            approved=approved,
            model_sha256=self.model_sha256,
        )


@frozen(kw_only=True)
class Facts:
    """What is true.

    Attributes:
        evidence: The newest evidence of each environment that has any, verified.
        now: With its zone.
    """

    evidence: Mapping[str, Evidence]
    now: datetime

    def prove(self, demand: Demand) -> bool:
        """Tell whether the evidence proves what is asked."""
        found = self.evidence.get(demand.environment)
        if found is None:
            return False
        try:
            demand.check(found, now=self.now)
        except EvidenceError:
            return False
        return True


def plan(now: Facts, wanted: Wanted) -> tuple[Step, ...]:
    """Say what is still to be done, in order; nothing when all is as it should be.

    What is true is not done again: it goes on behind the last environment whose evidence holds. Whoever looks again
    after each step, and after any crash, ends where they should.
    """
    passed = [at for at, name in enumerate(wanted.environments) if now.prove(wanted.demand(name, approved=False))]
    behind = passed[-1] if passed else -1
    steps: list[Step] = []
    for at, name in enumerate(wanted.environments[max(behind, 0) :], max(behind, 0)):
        if at > behind:
            steps.append(Step(name, Verb.RUN))
        if wanted.is_approved(name) and not (at == behind and now.prove(wanted.demand(name, approved=True))):
            steps.append(Step(name, Verb.APPROVE))
    return tuple(steps)
