"""Which deployment of an online endpoint a request goes to, and which one is sent a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs


@attrs.frozen
class Split:
    """The traffic of an endpoint, by the names of its deployments.

    Attributes:
        live: The share of the requests that each answers; in percent, 100 together or none.
        mirror: The share of the requests that each is sent a copy of, in percent.
    """

    live: Mapping[str, int]
    mirror: Mapping[str, int]

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self:
        """Read the ``properties`` of an endpoint's resource."""
        return cls(_weights(properties.get("traffic")), _weights(properties.get("mirrorTraffic")))

    def choose(self, draw: float) -> str | None:
        """Name the deployment that answers.

        Args:
            draw: A number that is equally likely anywhere from 0 to below 1.

        Returns:
            Its name; None where no deployment takes traffic.
        """
        at, chosen = draw * sum(self.live.values()), None
        for name, weight in self.live.items():
            chosen = name
            if at < weight:
                break
            at -= weight
        return chosen

    def mirrored(self, draw: float) -> str | None:
        """Name the deployment that is sent a copy; None where none is. ``draw`` is as for `choose`."""
        at = draw * 100
        for name, share in self.mirror.items():
            if at < share:
                return name
            at -= share
        return None


def _weights(said: Any) -> dict[str, int]:
    return {str(name): int(weight) for name, weight in (said or {}).items() if int(weight) > 0}
