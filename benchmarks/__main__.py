"""Run the benchmarks, or those named: ``python -m benchmarks [NAME ...]``.

Each ends with one JSON line; the exit code is 0 only if every goal is met.
"""

import importlib
import sys

from benchmarks.report import Report

NAMES = (
    "parse",
    "submit",
    "inflight",
    "events",
    "latency",
    "burst",
    "ledger",
    "scan",
    "bootstrap",
    "data_tests",
    "emulator",
)


def main(names: list[str]) -> int:
    """Run these benchmarks, or all."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"No benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    met = True
    for name in names or NAMES:
        report: Report = importlib.import_module(f"benchmarks.{name}").measure()
        print(report.line(), flush=True)
        met = met and report.ok
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
