"""What an operator that waits for a job may be told."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from airflow_azureml.core.following import Follow
from airflow_azureml.core.reports import ON_REUSE
from airflow_azureml.core.waiting import STAGES, Limit, OnLimit
from airflow_azureml.errors import ConfigError

ON_KILL_ACTIONS = ("cancel", "leave")


class Waiting(Protocol):
    """The options of `airflow_azureml.operators.base.AzureMLWaitingOperator`."""

    on_kill_action: str
    phase_timeouts: Mapping[str, timedelta] | None
    on_timeout: Mapping[str, str] | None
    on_reuse: str
    follow: str


def check_options(told: Waiting) -> None:
    """Check the options that are words.

    Raises:
        ConfigError: One is none of those that there are.
    """
    if told.on_kill_action not in ON_KILL_ACTIONS:
        raise ConfigError(f"on_kill_action is {told.on_kill_action!r}; it must be one of {ON_KILL_ACTIONS}.")
    wrong = sorted(set(told.phase_timeouts or {}) - set(STAGES))
    if wrong:
        raise ConfigError(f"phase_timeouts names {', '.join(wrong)}; the phases are {', '.join(STAGES)}.")
    for limit, action in (told.on_timeout or {}).items():
        if limit not in set(Limit) or action not in set(OnLimit):
            raise ConfigError(
                f"on_timeout says {limit!r}: {action!r}; limits are {', '.join(Limit)}, and what may become of the"
                f" job is {', '.join(OnLimit)}."
            )
    if told.on_reuse not in ON_REUSE:
        raise ConfigError(f"on_reuse is {told.on_reuse!r}; it must be one of {ON_REUSE}.")
    if told.follow not in set(Follow):
        raise ConfigError(f"follow is {told.follow!r}; it must be one of {', '.join(Follow)}.")
