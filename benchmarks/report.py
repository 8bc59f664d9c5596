"""What a benchmark ends with."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class Report:
    """One claim, measured.

    Attributes:
        ours: Our figure, in ``unit``.
        peer: The peer's, from the same run.
        ratio: What the goal is about; ``ours / peer`` or ``peer / ours``, as the goal says.
        ok: Whether the goal is met.
        beside: Other figures of the same run.
    """

    benchmark: str
    ours: float
    peer: float
    ratio: float
    unit: str
    goal: str
    ok: bool
    beside: Mapping[str, Any] = field(factory=dict)

    def line(self) -> str:
        """Write it as one line of JSON."""
        figures = {"ours": round(self.ours, 5), "peer": round(self.peer, 5), "ratio": round(self.ratio, 3)}
        named = {"benchmark": self.benchmark, **figures, "unit": self.unit, "goal": self.goal, "ok": self.ok}
        return json.dumps({**named, **self.beside})
