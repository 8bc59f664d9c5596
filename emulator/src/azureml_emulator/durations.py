"""Durations as Azure writes them."""

from __future__ import annotations

import re

from azureml_emulator.steps import SpecificationError

#: ISO 8601 durations as in ``limits.timeout``, e.g. PT30S or P1DT2H.
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")


def seconds(duration: str, what: str = "The time limit") -> float:
    """Read an ISO 8601 duration of days, hours, minutes and seconds.

    Raises:
        SpecificationError: It is none.
    """
    found = _DURATION.fullmatch(duration)
    if found is None or not any(found.groups()):
        raise SpecificationError(f"{what} {duration!r} is no ISO 8601 duration such as PT30S.")
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))
