"""Multiply the numbers of a file."""

# ruff: noqa: T201  # a job speaks to its log
import pathlib
import sys

source, factor, target = sys.argv[1:]
path = pathlib.Path(source)
lines = (path if path.is_file() else next(path.iterdir())).read_text().split()
print(f"preparing {len(lines)} numbers")
pathlib.Path(target).mkdir(parents=True, exist_ok=True)
pathlib.Path(target, "numbers.txt").write_text("\n".join(str(float(line) * float(factor)) for line in lines))
