"""A job's log as text that grows: which file it is, what to read of it next, and the lines of what was read."""

import codecs
import re
from collections.abc import Collection, Iterator

from attrs import define, frozen


@frozen(kw_only=True)
class Bounds:
    """How much is read and told at most.

    Attributes:
        every_s: Seconds between two looks into run history, at least.
        look_bytes: Of one log, at one look. What a log is further ahead is left out.
        look_lines: Lines of one log that are told at one look; the last ones.
        line_bytes: A longer line is told as several.
        log_bytes: Of one log, in all.
        all_bytes: Of all logs of a job.
        logs_at_once: Steps whose logs are read at one look: those that began first.
        logs_at_end: Steps whose logs are read to their end when the job has ended.
        resumed_bytes: Of a log that was followed before the triggerer began anew.
        look_changes: Changes of steps that are told one by one at one look.
        all_changes: Changes of steps that are told one by one, in all.
    """

    every_s: float = 15.0
    look_bytes: int = 64 * 1024
    look_lines: int = 400
    line_bytes: int = 4096
    log_bytes: int = 1024 * 1024
    all_bytes: int = 4 * 1024 * 1024
    logs_at_once: int = 4
    logs_at_end: int = 20
    resumed_bytes: int = 4096
    look_changes: int = 40
    all_changes: int = 2000


BOUNDS = Bounds()
#: A log that was replaced so often is not followed any further.
MOST_REPLACED = 10
#: How much is told of the end of a failed step's log.
LAST_LINES, LAST_BYTES = 30, 4000
#: Which of a run's files is its log, best first. Source: azure-ai-ml 1.35, ``JobLogPattern``.
LOG_NAMES = (
    re.compile(r"user_logs/std_log\D*0*(?:_ps)?\.txt"),
    re.compile(r"user_logs/std_log.*\.txt"),
    re.compile(r"azureml-logs/70_driver_log.*\.txt"),
    re.compile(r"azureml-logs/20_image_build_log\.txt"),
    re.compile(r"azureml-logs/hyperdrive\.txt"),
    re.compile(r"logs/azureml/executionlogs\.txt"),
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
#: C0 but the tab, DEL, C1, and what ends a line or turns the direction of text for whoever shows it.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTINUES, _CONTINUATION = 0xC0, 0x80


def log_name(names: Collection[str]) -> str:
    """Choose, of a run's files, the log; empty when there is none."""
    for pattern in LOG_NAMES:
        found = sorted(name for name in names if pattern.fullmatch(name))
        if found:
            return found[0]
    return ""


def clean(raw: bytes) -> str:
    """Make a line fit for a log: of what a terminal would have written over, the last; nothing that steers one."""
    text = raw.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def last_lines(raw: bytes, *, is_whole: bool) -> str:
    """Cut out the last lines of a log, at most `LAST_LINES` and `LAST_BYTES`.

    Args:
        raw: The log's end.
        is_whole: Whether that is all of it; otherwise its first line may be torn, and is left out.
    """
    lines = [clean(line) for line in raw.rstrip().split(b"\n")]
    if not is_whole and len(lines) > 1:
        del lines[0]
    text = "\n".join(lines[-LAST_LINES:]).encode()
    if len(text) <= LAST_BYTES:
        return text.decode()
    return text[-LAST_BYTES:].decode("utf-8", "ignore")


@define
class LogReader:
    """How far a log that grows was read; every byte is handed out at most once, as part of a line.

    Attributes:
        is_resumed: Whether to begin near its end, since it was followed before.
        offset: The next byte to read.
        total: How many it had, when last heard of.
        taken: How many were read, in all.
        left_out: How many of those before ``offset`` are not handed out, as `take_left_out` has not said yet.
        replaced: How often it was.
    """

    bounds: Bounds = BOUNDS
    is_resumed: bool = False
    offset: int = 0
    total: int = 0
    taken: int = 0
    left_out: int = 0
    replaced: int = 0
    _pending: bytes = b""
    _is_torn: bool = False

    @property
    def is_full(self) -> bool:
        """Whether as much was read of it as may be."""
        return self.taken >= self.bounds.log_bytes or self.replaced >= MOST_REPLACED

    def next_range(self, room: int) -> tuple[int, int] | None:
        """Say which bytes to read, first and last; None when it has had its share.

        Args:
            room: How many more may be read, whatever log they are of.
        """
        most = min(self.bounds.look_bytes, self.bounds.log_bytes - self.taken, room)
        if most <= 0 or self.is_full:
            return None
        if self.is_resumed:
            return 0, 0
        if self.total - self.offset > self.bounds.look_bytes:
            self._jump(self.total - self.bounds.look_bytes)
        return self.offset, self.offset + most - 1

    def took(self, first: int, body: bytes, total: int | None) -> list[str]:
        """Take what came, and return the lines that are complete.

        Args:
            first: The place of its first byte, which may be before what was asked for.
            body: The bytes.
            total: How many the log has, None when that was not said; when fewer than before, it was replaced, and
                nothing of this is taken.
        """
        if self.is_resumed:
            self.is_resumed = False
            self.total = total or 0
            self.offset = max(0, self.total - self.bounds.resumed_bytes)
            self._is_torn = self.offset > 0
            return []
        if total is not None and total < self.total:
            self._begin_anew()
            return []
        if body and first > self.offset:
            self._jump(first)
        fresh = body[max(0, self.offset - first) :]
        self.offset += len(fresh)
        self.taken += len(fresh)
        self.total = max(total or self.total, self.offset)
        return self._lines(fresh)

    @property
    def has_more(self) -> bool:
        """Whether it is known to have more than was read."""
        return self.offset < self.total

    def end(self) -> list[str]:
        """Return the last line, which nothing ended; a character of which only a part was read is left out."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(self._pending)
        torn = len(decoder.getstate()[0])
        self.left_out += torn
        pending, self._pending = self._pending[: len(self._pending) - torn], b""
        return [clean(pending)] if pending else []

    def take_left_out(self) -> int:
        """Return how many bytes were left out since the last time."""
        left_out, self.left_out = self.left_out, 0
        return left_out

    def _begin_anew(self) -> None:
        self.replaced += 1
        self.left_out += len(self._pending)
        self.offset = self.total = 0
        self._pending, self._is_torn = b"", False

    def _jump(self, to: int) -> None:
        self.left_out += to - self.offset + len(self._pending)
        self.offset, self._pending, self._is_torn = to, b"", True

    def _lines(self, fresh: bytes) -> list[str]:
        whole = _at_newlines(self._pending + fresh)
        lines = [piece for line in whole for piece in _broken(line, self.bounds.line_bytes)]
        self._pending = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        if self._is_torn and lines:
            self._is_torn = False
            self.left_out += len(lines.pop(0))
        elif self._is_torn:
            self.left_out += len(self._pending)
            self._pending = b""
        skipped = lines[: max(0, len(lines) - self.bounds.look_lines)]
        self.left_out += sum(map(len, skipped))
        return [clean(line) for line in lines[len(skipped) :]]


def _at_newlines(raw: bytes) -> list[bytes]:
    """Break at newlines alone, which stay; a carriage return is a line's own."""
    lines = [line + b"\n" for line in raw.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def _broken(line: bytes, most: int) -> Iterator[bytes]:
    """Break a line that is too long, between two characters."""
    while len(line) > most + line.endswith(b"\n"):
        cut = most
        while cut > most - 4 and line[cut] & _CONTINUES == _CONTINUATION:
            cut -= 1
        yield line[:cut]
        line = line[cut:]
    yield line
