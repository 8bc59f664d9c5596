"""How many requests came, by method and route, since somebody began to count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

_MINUTE_S = 60.0


class RequestCounts:
    """Counts requests by method, route and answer.

    Args:
        clock: Says seconds from any beginning; not the emulator's clock, for requests take real time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._since = clock()

    def add(self, method: str, route: str, status: int) -> None:
        """Count a request.

        Args:
            method: Its method.
            route: The template of its path.
            status: The answer's HTTP status; 0 for none.
        """
        self._counts[method, route, str(status) if status else "none"] += 1

    def clear(self) -> None:
        """Begin anew."""
        self._counts.clear()
        self._since = self._clock()

    def shown(self) -> dict[str, Any]:
        """Show them, the most frequent route first."""
        seconds = round(max(self._clock() - self._since, 1e-3), 3)
        routes: dict[tuple[str, str], Counter[str]] = {}
        for (method, route, status), count in sorted(self._counts.items()):
            routes.setdefault((method, route), Counter())[status] = count
        rows: list[dict[str, Any]] = [
            {
                "method": method,
                "route": route,
                "count": statuses.total(),
                "per_minute": round(statuses.total() * _MINUTE_S / seconds, 1),
                "statuses": statuses,
            }
            for (method, route), statuses in routes.items()
        ]
        total = self._counts.total()
        return {
            "seconds": seconds,
            "count": total,
            "per_minute": round(total * _MINUTE_S / seconds, 1),
            "requests": sorted(rows, key=lambda row: -row["count"]),
        }
