"""What a column's values are like, in bounded size: merged in any order, the result is that of all values at once.

Both sketches begin exact and grow coarser only as they must: a sketch's grain is the finest with which everything seen
so far fits into its size, which does not depend on the order. So sketches of parts merge to the very sketch of the
whole.
"""

import zlib
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Self, TypeVar

import numpy as np
from attrs import evolve, field, frozen

from airflow_azureml.errors import ProtocolError

#: How many buckets a sketch of numbers has at most, and how many values a tally of texts.
BUCKETS, VALUES = 2048, 2000
#: How many groups all texts fall into by their hash; drift of columns with many values is looked for in these.
GROUPS = 64
#: The longest text that is kept as it is; of a longer one the beginning is, and its hash. Characters.
LONGEST = 80
#: Turns the bits of a negative number so that greater numbers have greater bits.
_FLIP = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_HASH_BITS, _NUMBER_BITS = 32, 64
_GREATEST = np.finfo(np.float64).max


_S = TypeVar("_S", bound="Sketch")
_T = TypeVar("_T", bound="Tally")


@frozen(kw_only=True)
class Sketch:
    """Finite numbers, counted in buckets.

    A bucket holds the numbers whose 64 bits, made to grow with the number, agree but for the last ``grain``: with
    grain 0 each bucket is one number, and all is exact. Buckets are narrow where numbers lie close together.

    Attributes:
        grain: How many bits are dropped.
        keys: The buckets that hold something, ascending.
        counts: How many numbers each holds.
        most: How many buckets there may be; 0 for any number.
    """

    grain: int = 0
    keys: np.ndarray = field(factory=lambda: np.empty(0, np.int64), eq=lambda keys: keys.tolist())
    counts: np.ndarray = field(factory=lambda: np.empty(0, np.int64), eq=lambda counts: counts.tolist())
    most: int = BUCKETS

    @classmethod
    def of(cls, numbers: np.ndarray, *, most: int = BUCKETS) -> Self:
        """Count finite numbers; of none there is one sketch, whatever the limit."""
        if not len(numbers):
            return cls()
        # Adding 0 makes one zero of both.
        bits = (numbers.astype(np.float64) + 0.0).view(np.int64)
        keys, counts = np.unique(np.where(bits < 0, bits ^ _FLIP, bits), return_counts=True)
        return _fitted(cls(keys=keys, counts=counts.astype(np.int64), most=most))

    def merged(self, other: "Sketch") -> "Sketch":
        """Count both."""
        if not (self.total and other.total):
            return self if self.total else other
        grain = max(self.grain, other.grain)
        keys = np.concatenate([self.coarser(grain).keys, other.coarser(grain).keys])
        counts = np.concatenate([self.coarser(grain).counts, other.coarser(grain).counts])
        most = min(filter(None, (self.most, other.most)), default=0)
        return _fitted(Sketch(grain=grain, most=most, **_summed(keys, counts)))

    def coarser(self, grain: int) -> Self:
        """Drop bits until the grain is reached."""
        if grain <= self.grain:
            return self
        return type(self)(grain=grain, most=self.most, **_summed(self.keys >> (grain - self.grain), self.counts))

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def lows(self) -> np.ndarray:
        """The end of each bucket that is nearest to minus infinity."""
        ends: np.ndarray = np.fmax(_number(self.keys << self.grain), -_GREATEST)
        return ends

    @property
    def highs(self) -> np.ndarray:
        """The other end of each bucket; it belongs to it."""
        ends: np.ndarray = np.fmin(_number((self.keys << self.grain) | np.int64((1 << self.grain) - 1)), _GREATEST)
        return ends

    @property
    def middles(self) -> np.ndarray:
        """A number for each bucket."""
        return self.lows if self.grain == 0 else self.lows / 2 + self.highs / 2

    def quantile(self, share: float) -> float | None:
        """Give the number below which, or at which, this share of all is; None where there are none."""
        if not self.total:
            return None
        at = int(np.searchsorted(np.cumsum(self.counts), share * self.total))
        return float(self.middles[min(at, len(self.keys) - 1)])

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no sketch.
        """
        try:
            keys = np.array(list(accumulate(raw["keys"])), dtype=np.int64)
            counts = np.array(raw["counts"], dtype=np.int64)
            grain, most = int(raw["grain"]), int(raw["most"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"This is no sketch of numbers: {error!r:.200}.") from error
        sound = len(keys) == len(counts) and (keys[1:] > keys[:-1]).all() and (counts > 0).all()
        if not sound or not 0 <= grain < _NUMBER_BITS or most < 0:
            raise ProtocolError("The sketch of numbers contradicts itself.")
        return cls(grain=grain, keys=keys, counts=counts, most=most)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it: of the keys the first, and then by how much each is greater."""
        keys = self.keys.tolist()
        steps = keys[:1] + [after - before for before, after in pairwise(keys)]
        return {"grain": self.grain, "most": self.most, "keys": steps, "counts": self.counts.tolist()}


@frozen(kw_only=True)
class Tally:
    """Texts, counted.

    Each value is counted exactly while there are few enough. With more, those are kept, and still counted exactly,
    whose hash begins with ``level`` zeros, a sample of the values; all together are counted in groups by hash.

    Attributes:
        level: How many zeros; 0 where every value is counted.
        values: How often each value comes.
        groups: How often values of each group come.
        most: How many values there may be; 0 for any number.
    """

    level: int = 0
    values: Mapping[str, int] = field(factory=dict)
    groups: tuple[int, ...] = (0,) * GROUPS
    most: int = VALUES

    @classmethod
    def of(cls, counted: Iterable[tuple[str, int]], *, most: int = VALUES) -> Self:
        """Count texts that are counted already, each once or more."""
        values: dict[str, int] = {}
        groups = [0] * GROUPS
        for text, count in counted:
            value = _kept(text)
            values[value] = values.get(value, 0) + count
            groups[_hash(value) % GROUPS] += count
        return _thinned(cls(values=values, groups=tuple(groups), most=most))

    def merged(self, other: "Tally") -> "Tally":
        """Count both."""
        if not (self.total and other.total):
            return self if self.total else other
        level = max(self.level, other.level)
        values = dict(self.sampled(level))
        for value, count in other.sampled(level).items():
            values[value] = values.get(value, 0) + count
        groups = tuple(one + another for one, another in zip(self.groups, other.groups, strict=True))
        most = min(filter(None, (self.most, other.most)), default=0)
        return _thinned(Tally(level=level, values=values, groups=groups, most=most))

    @property
    def total(self) -> int:
        """How many texts there are."""
        return sum(self.groups)

    def top(self, most: int) -> list[tuple[str, int]]:
        """List the most frequent values that are kept, and how often each comes; of equals the lesser first."""
        return sorted(self.values.items(), key=lambda one: (-one[1], one[0]))[:most]

    def sampled(self, level: int) -> Mapping[str, int]:
        """Give the values whose hash begins with at least so many zeros."""
        if level <= self.level:
            return self.values
        return {value: count for value, count in self.values.items() if _hash(value) >> (_HASH_BITS - level) == 0}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no tally.
        """
        try:
            values = {str(value): int(count) for value, count in raw["values"].items()}
            groups = tuple(int(count) for count in raw["groups"])
            level, most = int(raw["level"]), int(raw["most"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"This is no tally of texts: {error!r:.200}.") from error
        sound = len(groups) == GROUPS and min(groups) >= 0 and min(values.values(), default=1) > 0
        told = sum(values.values())
        if not sound or told > sum(groups) or (level == 0 and told != sum(groups)) or not 0 <= level <= _HASH_BITS:
            raise ProtocolError("The tally of texts contradicts itself.")
        return cls(level=level, values=values, groups=groups, most=most)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it, the most frequent values first."""
        values = dict(self.top(len(self.values)))
        return {"level": self.level, "most": self.most, "values": values, "groups": list(self.groups)}


def group_of(value: str) -> int:
    """Say in which group of a `Tally` a value is counted."""
    return _hash(value) % GROUPS


def _hash(value: str) -> int:
    """Hash a text alike on every machine and in every version.

    CRC-32 alone spreads texts that are alike too evenly; its bits are mixed as MurmurHash3 does at its end.
    """
    bits = zlib.crc32(value.encode("utf-8", "surrogatepass"))
    bits = (bits ^ bits >> 16) * 0x85EBCA6B & 0xFFFF_FFFF
    bits = (bits ^ bits >> 13) * 0xC2B2AE35 & 0xFFFF_FFFF
    return bits ^ bits >> 16


def _kept(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… ({zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x})"


def _number(keys: np.ndarray) -> np.ndarray:
    return np.where(keys < 0, keys ^ _FLIP, keys).view(np.float64)


def _summed(keys: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    found, at = np.unique(keys, return_inverse=True)
    summed = np.zeros(len(found), np.int64)
    np.add.at(summed, at, counts)
    return {"keys": found, "counts": summed}


def _fitted(sketch: _S) -> _S:
    """Drop as few bits as are needed to have few enough buckets."""
    if not sketch.most or len(sketch.keys) <= sketch.most:
        return sketch
    # Two neighbours share a bucket from that grain on at which the highest bit they differ in is dropped.
    differ = np.frexp((sketch.keys[1:] ^ sketch.keys[:-1]).view(np.uint64).astype(np.float64))[1]
    # Rounding to a double may carry into the next bit, so that one less may do.
    drop = max(1, int(np.sort(differ)[-sketch.most]) - 1)
    found = sketch.coarser(sketch.grain + drop)
    return found if len(found.keys) <= sketch.most else sketch.coarser(sketch.grain + drop + 1)


def _thinned(tally: _T) -> _T:
    """Keep as many values as may be."""
    level, values = tally.level, tally.values
    while tally.most and len(values) > tally.most and level < _HASH_BITS:
        level += 1
        values = {value: count for value, count in values.items() if _hash(value) >> (_HASH_BITS - level) == 0}
    return evolve(tally, level=level, values=values)
