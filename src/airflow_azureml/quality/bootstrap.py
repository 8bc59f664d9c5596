"""The paired bootstrap: how far the mean difference of two models' losses may be from what was measured.

A resample of n rows is n draws with replacement. Drawn one by one from all of them, nearly every draw of a large n
misses the processor's cache. So it is drawn first how many of a resample's draws fall into each block of rows, and then
which rows of the block they are; the distribution is exactly the same. Blocks are powers of two, so that a draw is some
bits of a random word and a halving is a count of them: nothing is rounded, and nothing but the words of a bit generator
is used, which numpy promises not to change (NEP 19). Differences are summed as whole numbers, which add up to the same
in whatever order: so one seed gives one interval on every machine.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from attrs import field, frozen, validators
from numpy.typing import NDArray

from airflow_azureml.errors import ProtocolError

#: Rows of a block; 8 bytes each, so that block, draws and their places fit into a cache of 1 MB.
BLOCK = 1 << 15
#: Draws, and words of coin tosses, that are held at once. A single resample's draws from one block are never parted.
_AT_ONCE = 1 << 16
#: Bits of a whole number, its sign and one to spare.
_BITS = 62
_WORD_BITS = 64
#: Fewer resamples have no tail to speak of; more than the most say nothing more.
FEWEST, MOST = 100, 100_000
METHODS = ("bca", "percentile")

_Whole = NDArray[np.int64]


@frozen(kw_only=True)
class Resampling:
    """How an interval is computed.

    Attributes:
        resamples: How many resamples are drawn; 100 to 100,000.
        level: How often the interval is to hold the truth; above 0.5, below 1.
        seed: The same seed gives the same interval; 0 or more.
        method: ``bca`` (bias-corrected and accelerated, for losses that are skewed) or ``percentile``.
    """

    resamples: int = field(default=1000, validator=[validators.ge(FEWEST), validators.le(MOST)])
    level: float = field(default=0.95, validator=[validators.gt(0.5), validators.lt(1)])
    seed: int = field(default=0, validator=validators.ge(0))
    method: str = field(default="bca", validator=validators.in_(METHODS))


@frozen(kw_only=True)
class MeanDifference:
    """The mean of the differences, and the ends of its interval.

    Attributes:
        rows: Of how many rows.
    """

    mean: float
    low: float
    high: float
    rows: int


def interval(differences: NDArray[np.float64], how: Resampling) -> MeanDifference:
    """Compute the interval of the mean of differences, one for each row, in an order that does not depend on chance.

    Args:
        differences: The challenger's loss less the champion's. They are rounded to whole multiples of a power of two,
            which is at most 2**-40 of the largest for a million rows.
        how: What is computed.

    Raises:
        ProtocolError: There are fewer than two rows, or one is no finite number.
    """
    rows = len(differences)
    if rows < 2:  # noqa: PLR2004  # one row says nothing of chance
        raise ProtocolError(f"An interval needs at least two rows, and there {'is one' if rows else 'are none'}.")
    wrong = rows - int(np.count_nonzero(np.isfinite(differences)))
    if wrong:
        raise ProtocolError(f"{wrong} of {rows} differences of losses are no finite numbers.")
    whole, exponent = _whole(differences)
    sums = np.sort(_resampled(whole, how))
    total = int(whole.sum())
    tails = ((1 - how.level) / 2, (1 + how.level) / 2)
    if how.method == "bca":
        tails = _corrected(tails, sums, total=total, acceleration=_acceleration(differences))
    low, high = (math.ldexp(float(end) / rows, -exponent) for end in np.quantile(sums.astype(np.float64), tails))
    return MeanDifference(mean=math.ldexp(total / rows, -exponent), low=low, high=high, rows=rows)


def _whole(values: NDArray[np.float64]) -> tuple[_Whole, int]:
    """Write numbers as whole multiples of a power of two, so small that the sum of as many fits into 64 bits."""
    largest = float(np.abs(values).max())
    exponent = _BITS - len(values).bit_length() - math.frexp(largest)[1]
    return np.rint(np.ldexp(values, exponent)).astype(np.int64), exponent


def _resampled(values: _Whole, how: Resampling) -> _Whole:
    """Draw resamples, and return the sum of each."""
    stream = _Stream(how.seed)
    sums = np.zeros(how.resamples, np.int64)
    for (first, size), draws in sorted(_draws_by_block(len(values), how.resamples, stream).items()):
        _add_draws(sums, values[first : first + size], draws, stream)
    return sums


class _Stream:
    """Random words of 64 bits."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64DXSM(seed)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Give words; on every machine with the lowest byte first."""
        return np.asarray(self._bits.random_raw(count)).astype("<u8", copy=False)


def _draws_by_block(rows: int, resamples: int, stream: _Stream) -> dict[tuple[int, int], _Whole]:
    """Draw, for each resample, how many of its draws fall into each block.

    The rows are thought to go on up to the next power of two. All draws are dealt into halves, quarters and so on, by
    coin tosses; those that fell beyond the last row are dealt once more.

    Returns:
        For each block, by its first row and its size, the number of draws of each resample.
    """
    dealt: dict[tuple[int, int], _Whole] = {}
    beyond = np.full(resamples, rows, np.int64)
    while beyond.any():
        waiting, beyond = [(0, 1 << (rows - 1).bit_length(), beyond)], np.zeros(resamples, np.int64)
        while waiting:
            first, size, draws = waiting.pop()
            if first >= rows:
                beyond = beyond + draws
            elif size <= BLOCK and first + size <= rows:
                dealt[first, size] = dealt.get((first, size), 0) + draws
            else:
                left = _heads(draws, stream)
                waiting += [(first, size // 2, left), (first + size // 2, size // 2, draws - left)]
    return dealt


def _heads(tosses: _Whole, stream: _Stream) -> _Whole:
    """Toss a coin so many times for each resample, and count its heads."""
    heads = np.zeros(len(tosses), np.int64)
    words = -(-tosses // _WORD_BITS)
    for part in _parts(words):
        some, ends = words[part], np.cumsum(words[part])
        bits = stream.words(int(ends[-1]))
        beside, is_cut = tosses[part] % _WORD_BITS, tosses[part] % _WORD_BITS > 0
        bits[ends[is_cut] - 1] &= (np.uint64(1) << beside[is_cut].astype(np.uint64)) - np.uint64(1)
        _add_runs(heads[part], np.bitwise_count(bits), some)
    return heads


def _add_draws(sums: _Whole, block: _Whole, draws: _Whole, stream: _Stream) -> None:
    """Draw so many rows of a block for each resample, and add them to its sum."""
    mask, per_word = np.uint16(len(block) - 1), 4
    for part in _parts(draws):
        count = int(draws[part].sum())
        places = stream.words(-(-count // per_word)).view("<u2")[:count]
        _add_runs(sums[part], block.take(places & mask), draws[part])


def _add_runs(sums: _Whole, values: NDArray[np.int64 | np.uint8], lengths: _Whole) -> None:
    """Add the sum of each run of values, one after the other, to its place; a run may be empty."""
    is_there = lengths > 0
    if is_there.any():
        firsts = np.cumsum(lengths) - lengths
        sums[is_there] += np.add.reduceat(values, firsts[is_there], dtype=np.int64)


def _parts(lengths: _Whole) -> Iterator[slice]:
    """Part resamples so that what is held at once stays small."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield slice(first, last)
        first = last


def _acceleration(values: NDArray[np.float64]) -> float:
    """Tell how skewed the mean is, by the jackknife; for a mean that is a formula.

    Source: B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987), section 6.
    """
    apart = values - values.mean()
    largest = float(np.abs(apart).max())
    if not largest > 0:
        return 0.0
    apart /= largest
    return float((apart**3).sum() / (6 * (apart**2).sum() ** 1.5))


def _corrected(tails: tuple[float, float], sums: _Whole, *, total: int, acceleration: float) -> tuple[float, float]:
    """Move the tails as much as the resamples are off the middle, and skewed."""
    normal, count = NormalDist(), len(sums)
    below = (np.searchsorted(sums, total, side="left") + np.searchsorted(sums, total, side="right")) / 2
    bias = normal.inv_cdf(min(max(float(below), 0.5), count - 0.5) / count)

    def _moved(tail: float) -> float:
        shifted = bias + normal.inv_cdf(tail)
        return normal.cdf(bias + shifted / max(1 - acceleration * shifted, 1e-9))

    return _moved(tails[0]), _moved(tails[1])
