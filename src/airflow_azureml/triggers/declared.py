"""Triggers whose fields are declared once."""

import asyncio
import time
from typing import Any

import attrs
from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger

#: How long the scheduler may take to hear of a worker's exit, once its supervisor has noticed. Seconds.
HEARING_S = 2.0


async def settled(deferred_at: float) -> None:
    """Wait until Airflow has surely seen the end of the worker that deferred.

    The supervisor of a task's process notices its exit up to ``[workers] min_heartbeat_interval`` seconds late. A task
    that is resumed before that runs when its first half's end arrives, and Airflow 3.3.2 takes that for an end without
    a result: it fails the task, whose job is fine.

    Args:
        deferred_at: When the worker deferred: seconds since 1970, UTC.
    """
    notices_s = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)
    await asyncio.sleep(max(0.0, deferred_at + notices_s + HEARING_S - time.time()))


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class DeclaredTrigger(BaseTrigger):
    """Base of triggers that are attrs classes: what is serialised is what is declared, so no field can be forgotten.

    Fields hold what JSON can hold, and never a secret: Airflow keeps them in plain text in its database.
    """

    def __attrs_pre_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write the trigger's class and its fields."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            declared.name: getattr(self, declared.name) for declared in attrs.fields(kind)
        }
