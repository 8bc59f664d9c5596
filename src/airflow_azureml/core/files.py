"""Whether a file looks like what a pipeline expects, judged by its first bytes."""

import codecs
import csv
import io
from collections.abc import Callable, Mapping

#: How much of a file is read to judge it. Bytes.
HEAD_BYTES = 64 * 1024
#: A file with one of these in its head is binary.
BINARY_BYTES = frozenset(range(9)) | frozenset(range(14, 32)) - {27}


def csv_fault(  # noqa: PLR0911  # one return for each thing that can be wrong
    head: bytes, *, whole: bool
) -> str:
    """Say why a file is no CSV with a header and at least one row; empty when it looks like one.

    Args:
        head: The file's first bytes, at most `HEAD_BYTES`.
        whole: Whether that is all of the file.
    """
    if not head.strip():
        return "it is empty"
    if BINARY_BYTES & set(head):
        return "it is binary, not text"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=whole)
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 text (byte {error.start})"
    lines = text if whole else text[: text.rfind("\n") + 1]
    try:
        rows = [row for row in csv.reader(io.StringIO(lines), strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        return f"it is no CSV ({error})"
    if rows and len(rows[0]) < 2:  # noqa: PLR2004  # a table has columns
        return f"its first line, {', '.join(rows[0])[:80]!r}, is no CSV header: it has no separated columns"
    if len(rows) < 2:  # noqa: PLR2004  # a header and a row
        return "it has a header and no rows" if whole else "no line of it ends within the first 64 KiB"
    return ""


#: The formats an input may be declared to have.
FAULT_OF_FORMAT: Mapping[str, Callable[..., str]] = {"csv": csv_fault}
