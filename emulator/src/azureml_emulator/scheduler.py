"""What begins the jobs of schedules when the emulator's clock has come to their times.

What goes by while the emulator is down begins no job, and several times that its clock is moved over at once begin one:
what was missed is not made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs

from azureml_emulator.clock import CLOCK, utc_now
from azureml_emulator.names import PROVIDER
from azureml_emulator.schedule_times import Trigger, TriggerError
from azureml_emulator.store import Store, instant

_log = logging.getLogger(__name__)
#: How often the clock is looked at, in real seconds.
TICK_S = 0.2
TYPE = f"{PROVIDER}/workspaces/schedules"


@attrs.define
class Scheduler:
    """The schedules that are enabled, and when each is due next.

    Attributes:
        store: Where they are kept.
        begin: Begins the job of a schedule, given its ARM id and the time that it was due at.
        due: By ARM id, the Unix time in seconds.
    """

    store: Store
    begin: Callable[[str, datetime], object]
    due: dict[str, float] = attrs.field(factory=dict)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep time from now on."""
        for body in self.store.of_type(TYPE):
            self.look_at(body["id"])
        self._task = asyncio.create_task(self._keep_time())

    async def close(self) -> None:
        """Keep time no longer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def look_at(self, arm_id: str) -> None:
        """Learn when a schedule that is new, changed or gone is due next, from now on."""
        key, body = arm_id.lower(), self.store.get(arm_id)
        self.due.pop(key, None)
        if body is not None and (at := _next(body, utc_now())) is not None:
            self.due[key] = at.timestamp()

    async def _keep_time(self) -> None:
        while True:
            now_s = CLOCK.now_s()
            for arm_id in [key for key, at_s in self.due.items() if at_s <= now_s]:
                at = datetime.fromtimestamp(self.due[arm_id], UTC)
                self.look_at(arm_id)
                if self.store.get(arm_id) is None:  # gone with its workspace
                    continue
                # One whose job cannot be begun is told in the log, and keeps no other from its time.
                asyncio.get_running_loop().call_soon(self.begin, arm_id, at)
            await asyncio.sleep(TICK_S)


def _next(body: dict[str, Any], now: datetime) -> datetime | None:
    properties = body["properties"]
    if not properties.get("isEnabled"):
        return None
    try:
        return Trigger.parse(properties["trigger"], now=instant(body["systemData"]["createdAt"])).after(now)
    except TriggerError as error:
        _log.warning("The trigger of %s cannot be read: %s", body["id"], error)
        return None
