"""Asking an endpoint all the time, and seeing where its traffic goes, beside whatever else is done."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Self

import attrs
import httpx

from airflow_azureml.client.load import Asker, Load, Target, press
from airflow_azureml.core.answers import Tally
from demo.azure import WORKSPACE_ID

#: Seconds between two looks at the traffic.
LOOK_EVERY_S = 0.2
API_VERSION = "2024-04-01"
#: What is asked: numbers from 0 to 99, in an order that has nothing to do with whom the traffic chooses.
BODIES = [json.dumps({"x": x}).encode() for x in random.Random(1).sample(range(100), 100)]  # noqa: S311  # no secret


class Pressure:
    """Asks an endpoint so many times a second, from a thread of its own; use it with ``with``.

    Args:
        target: How it is asked.
        rate_per_s: How often.
    """

    def __init__(self, target: Target, *, rate_per_s: float) -> None:
        self._target = target
        self._rate_per_s = rate_per_s
        self._stop: Callable[[], object] = bool
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._press()), name="pressure")
        #: What was answered so far.
        self.tally = Tally()

    async def _press(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self._ready.set()
        load = Load(rate_per_s=self._rate_per_s, seconds=float("inf"), most_open=100, timeout_s=60)
        async with Asker(self._target, most_open=100, timeout_s=60) as asker:
            await press(asker, BODIES, load, tally=self.tally, stop=stop)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for what is under way."""
        self._stop()
        self._thread.join()


@attrs.frozen
class Seen:
    """Where traffic goes: percent by deployment, and percent that is copied."""

    traffic: tuple[tuple[str, int], ...]
    mirror: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """Percent that is served."""
        return sum(share for _, share in self.traffic)


class TrafficWatch:
    """Looks at an endpoint's traffic again and again, from a thread of its own; use it with ``with``.

    Args:
        http: Where Azure Resource Manager's interface is.
        endpoint: The endpoint.
        headers: What proves who asks.
    """

    def __init__(self, http: str, endpoint: str, *, headers: Mapping[str, str]) -> None:
        self._url = f"{http}{WORKSPACE_ID}/onlineEndpoints/{endpoint}?api-version={API_VERSION}"
        self._headers = headers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="traffic")
        #: Each state that was seen, in its order, without repetitions.
        self.states: list[Seen] = []
        #: How many looks each state took.
        self.looks: Counter[Seen] = Counter()

    @property
    def torn(self) -> list[Seen]:
        """The states in which traffic did not add up to 100."""
        return [each for each in self.looks if each.total != 100]  # noqa: PLR2004  # percent

    def _watch(self) -> None:
        with httpx.Client(headers=dict(self._headers), trust_env=False, timeout=10) as client:
            while not self._over.wait(LOOK_EVERY_S):
                seen = self._look(client)
                if seen is None:
                    continue
                self.looks[seen] += 1
                if not self.states or self.states[-1] != seen:
                    self.states.append(seen)

    def _look(self, client: httpx.Client) -> Seen | None:
        try:
            answer = client.get(self._url)
        except httpx.TransportError:
            return None
        if not answer.is_success:
            return None
        told = answer.json()["properties"]
        traffic, mirror = (
            tuple(sorted((name, share) for name, share in (told.get(part) or {}).items() if share))
            for part in ("traffic", "mirrorTraffic")
        )
        return Seen(traffic, mirror)

    def wait_for(self, holds: Callable[[Seen], bool], *, deadline_s: float) -> bool:
        """Wait until the last state seen is so; whether it became so in time."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if self.states and holds(self.states[-1]):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
