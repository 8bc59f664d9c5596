"""A subset of a table: which rows, said so that anybody chooses the same ones."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict, field, frozen

#: The most strata, each of which is counted by itself.
MOST_STRATA = 1000


def _names(told: str | Iterable[str]) -> tuple[str, ...]:
    return (told,) if isinstance(told, str) and told else tuple(told)


@frozen(kw_only=True)
class Subset:
    """Some rows of a table, chosen by their hashes: the same for the same seed, whatever the order of rows and files.

    Attributes:
        fraction: The share of rows, above 0 and at most 1; None where ``rows`` says how many.
        rows: How many rows at most; None where ``fraction`` says which share.
        by: The columns that say what belongs together, such as the patient: rows that agree in them are all chosen or
            none. By default a row is chosen by all its columns, and rows that are quite alike belong together.
        stratify: Columns with few values: of the rows that agree in them each value has its share, and at least one
            row where the fraction would leave it none.
        seed: Another seed chooses others. A smaller fraction with the same seed chooses among those of a larger one,
            as long as nothing is stratified.
    """

    fraction: float | None = None
    rows: int | None = None
    by: tuple[str, ...] = field(default=(), converter=_names)
    stratify: tuple[str, ...] = field(default=(), converter=_names)
    seed: int = 0

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_rows = self.rows is None or (_is_whole(self.rows) and self.rows > 0)
        is_fraction = self.fraction is None or _is_share(self.fraction)
        is_seed = _is_whole(self.seed) and abs(self.seed) < 1 << 63
        both = sorted({*self.by} & {*self.stratify})
        return [
            *([] if (self.fraction is None) != (self.rows is None) else ["give one of fraction and rows"]),
            *([] if is_rows else [f"rows is {self.rows!r}, not a whole number above 0"]),
            *([] if is_fraction else [f"fraction is {self.fraction!r}; it must be above 0 and at most 1"]),
            *([f"{', '.join(both)} is in both by and stratify"] if both else []),
            *([] if is_seed else ["seed is no whole number of 64 bits"]),
        ]

    @property
    def counts_first(self) -> bool:
        """Whether all rows have to be counted before the first one can be chosen."""
        return self.rows is not None or bool(self.stratify)

    @property
    def policy(self) -> str:
        """Say it in a line."""
        size = f"{self.rows} rows" if self.rows is not None else f"{self.fraction:g} of the rows"
        by = f" by {', '.join(self.by)}" if self.by else ""
        strata = f", stratified by {', '.join(self.stratify)}" if self.stratify else ""
        return f"{size}{by}{strata}, seed {self.seed}"

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in told.items() if value is not None}

    def key(self, source: str, versions: Mapping[str, str]) -> str:
        """Name the subset of certain data: 32 hexadecimal digits.

        Args:
            source: Where the data is.
            versions: The eTag of each file, by its path.
        """
        text = json.dumps([1, self.to_wire(), source, dict(versions)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and 0 < value <= 1


def quotas(subset: Subset, sizes: Mapping[str, int]) -> dict[str, int]:
    """Say how many rows of each stratum there are to be, at most.

    Args:
        subset: Which rows.
        sizes: How many there are, by stratum.
    """
    whole = sum(sizes.values())
    if subset.rows is None:
        share = subset.fraction or 0.0
        return {name: max(1, math.floor(share * size + 0.5)) for name, size in sizes.items()}
    wanted = min(subset.rows, whole)
    exact = {name: wanted * size / whole for name, size in sizes.items()}
    given = {name: math.floor(value) for name, value in exact.items()}
    left = wanted - sum(given.values())
    # The largest remainders have what is left.
    for name in sorted(exact, key=lambda each: (given[each] - exact[each], each))[:left]:
        given[name] += 1
    return given
