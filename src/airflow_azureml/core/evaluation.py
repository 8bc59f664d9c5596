"""What the evaluation of a model found, as the pipeline's ``evaluation.json`` tells it."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Self

from attrs import field, frozen

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: Bytes of the largest document that is read: thousands of slices.
MOST_BYTES = 4 * 1024 * 1024
#: How much of a value that cannot be read is told.
_TOLD = 40
#: How many names a sentence lists.
_LISTED = 8


@frozen(kw_only=True)
class Measured:
    """What was measured on some rows.

    Attributes:
        metrics: Values by name; a value may be NaN or infinite.
        unreadable: What stands in the place of a value, as a clause, for each metric that is no number.
        rows: How many rows; None where that is not told.
    """

    metrics: Mapping[str, float] = field(factory=dict)
    unreadable: Mapping[str, str] = field(factory=dict)
    rows: int | None = None

    def figure(self, name: str) -> float | str:
        """Look a metric up: a finite number, or why there is none, as a clause that follows the subject."""
        if name in self.unreadable:
            return f"says of {name} {self.unreadable[name]}, which is no number"
        if name not in self.metrics:
            return f"has no {name} ({listed(self.metrics) or 'it has no metrics'})"
        value = float(self.metrics[name])
        return value if math.isfinite(value) else f"says of {name} {value}, which is no finite number"


@frozen(kw_only=True)
class Losses:
    """Where the losses of single rows are.

    Attributes:
        path: The file, CSV or Parquet, in the folder of the evaluation or below.
        column: The column with the losses, which names them.
        key: The column that identifies a row, alike for every model.
    """

    path: str
    column: str
    key: str


@frozen(kw_only=True)
class Evaluation(Measured):
    """What the evaluation of one model found.

    A document that cannot be read makes an evaluation, too: its faults close the gate.

    Attributes:
        data_version: What identifies the test data, such as a digest; empty where it is not told.
        data_path: Where the test data was; empty where it is not told.
        data_etag: Its version in the store; empty where it is not told.
        slices: What was measured on parts of the test data, by the slice's name: ``sex=male``.
        losses: Where the losses of single rows are; None where none were written.
        model_sha256: What identifies the model; empty where it is not told.
        made_at: When it was made; None where it is not told.
        git_sha: The commit of the code; empty where it is not told.
        faults: What is wrong with the document, as sentences.
    """

    data_version: str = ""
    data_path: str = ""
    data_etag: str = ""
    slices: Mapping[str, Measured] = field(factory=dict)
    losses: Losses | None = None
    model_sha256: str = ""
    made_at: datetime | None = None
    git_sha: str = ""
    faults: tuple[str, ...] = ()

    @classmethod
    def missing(cls, why: str) -> Self:
        """Stand for an evaluation that there is not, or that cannot be read; it closes the gate.

        Args:
            why: What is wrong and what to do, in one sentence.
        """
        return cls(faults=(why,))

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the file. Whatever is wrong with it stands in `faults`."""
        if len(content) > MOST_BYTES:
            return cls.missing(f"It has {len(content)} bytes; {MOST_BYTES} are the most that is read.")
        twice: list[str] = []

        def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            twice.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
            return dict(pairs)

        try:
            raw = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
            # Half a character, which JSON's escapes can write, fails wherever it is written later.
            json.dumps(raw, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            return cls.missing(f"It is no JSON in UTF-8: {error}.")
        found = cls.from_wire(raw)
        faults = [f"{shown(name)} stands in it twice, so that nobody knows which counts." for name in twice]
        return found if not faults else cls.missing(" ".join([*found.faults, *faults]))

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Read the document's content. Whatever is wrong with it stands in `faults`, and nothing raises."""
        if not isinstance(raw, Mapping):
            return cls.missing(f"It is {shown(raw)}, not an object with schema, metrics and data.")
        if raw.get("schema") != SCHEMA or isinstance(raw.get("schema"), bool):
            return cls.missing(f"It is of schema {shown(raw.get('schema'))}; this version reads {SCHEMA}.")
        reading = _Reading()
        data, model = reading.mapping(raw, "data"), reading.mapping(raw, "model")
        whole = reading.measured({"metrics": raw.get("metrics"), "rows": data.get("rows")}, "")
        return cls(
            metrics=whole.metrics,
            unreadable=whole.unreadable,
            rows=whole.rows,
            data_version=reading.text(data, "version", "data."),
            data_path=reading.text(data, "path", "data."),
            data_etag=reading.text(data, "etag", "data."),
            slices=dict(reading.slices(reading.mapping(raw, "slices"))),
            losses=reading.losses(raw.get("losses")),
            model_sha256=reading.text(model, "sha256", "model."),
            made_at=reading.time(raw),
            git_sha=reading.text(raw, "git_sha"),
            faults=tuple(reading.faults),
        )


class _Reading:
    """One reading of one document, which goes on after a fault."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def mapping(self, raw: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
        """Read a member that is an object, where it is there."""
        found = raw.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            self.faults.append(f"Its {name} is {shown(found)}, not an object.")
            return {}
        return found

    def text(self, raw: Mapping[Any, Any], name: str, within: str = "") -> str:
        """Read a member that is a text, where it is there."""
        found = raw.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            self.faults.append(f"Its {within}{name} is {shown(found)}, not a text.")
            return ""
        return found

    def measured(self, raw: Mapping[Any, Any], slice_name: str) -> Measured:
        """Read metrics and rows, of the whole (no name) or of a slice."""
        of = f" of slice {shown(slice_name)}" if slice_name else ""
        said, rows = raw.get("metrics"), raw.get("rows")
        if not isinstance(said, Mapping):
            self.faults.append(f"Its metrics{of} are {shown(said)}, not an object.")
            said = {}
        elif not said:
            self.faults.append(f"Its metrics{of} are empty.")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
            self.faults.append(f"Its rows{of} are {shown(rows)}, not a number of rows.")
            rows = None
        numbers = {str(name): _number(value) for name, value in said.items()}
        return Measured(
            metrics={name: value for name, value in numbers.items() if value is not None},
            unreadable={str(name): shown(value) for name, value in said.items() if numbers[str(name)] is None},
            rows=rows,
        )

    def slices(self, raw: Mapping[Any, Any]) -> Iterator[tuple[str, Measured]]:
        """Read the slices."""
        for name, said in raw.items():
            if isinstance(said, Mapping):
                yield str(name), self.measured(said, str(name))
            else:
                self.faults.append(f"Its slice {shown(name)} is {shown(said)}, not an object.")

    def losses(self, raw: Any) -> Losses | None:
        """Read where the losses are, where any are."""
        if raw is None:
            return None
        names = ("path", "column", "key")
        found = {name: raw.get(name) for name in names} if isinstance(raw, Mapping) else {}
        if not found or not all(isinstance(each, str) and each for each in found.values()):
            self.faults.append(f"Its losses are {shown(raw)}, not an object with path, column and key.")
            return None
        path = str(found["path"])
        if path.startswith("/") or "\\" in path or ":" in path or {"", ".", ".."} & set(path.split("/")):
            self.faults.append(f"Its losses are at {shown(path)}, which is no file in the evaluation's folder.")
            return None
        return Losses(**{name: str(each) for name, each in found.items()})

    def time(self, raw: Mapping[Any, Any]) -> datetime | None:
        """Read when it was made, where it says so."""
        said = self.text(raw, "made_at")
        if not said:
            return None
        try:
            found = datetime.fromisoformat(said)
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            self.faults.append(f"Its made_at is {shown(said)}, not a time with its zone, as 2026-11-21T19:00:00Z.")
            return None
        return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: Any) -> str:
    """Show a value that was read, as JSON has it and not at length."""
    match value:
        case Mapping():
            return "an object" if value else "an empty object"
        case list():
            return "a list" if value else "an empty list"
        case int() if not isinstance(value, bool) and abs(value) >= 10**_TOLD:
            return "a number of many digits"
        case str() | int() | float() | bool() | None:
            written = json.dumps(value, ensure_ascii=False)
            # JSON leaves some characters as they are that end a line, or turn the direction of text.
            text = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in written)
            return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"
        case _:
            return f"a {type(value).__name__}"


def listed(names: Mapping[str, Any]) -> str:
    """List what there is: ``it has mae, r2``; empty where there is nothing."""
    some = ", ".join(shown(name)[1:-1] for name in sorted(names)[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"it has {some}{more}" if names else ""
