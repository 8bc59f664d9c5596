"""Kill processes at random moments, and count what became of it: of blobs that arrive, or of jobs.

    python -m demo.chaos [--case arrivals | --case jobs] [SEED]

The cases are described in `demo.chaos_arrivals` and `demo.chaos_jobs`. The last line is one JSON object; the exit code
is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys

from rich.console import Console

from demo import chaos_arrivals, chaos_jobs
from demo.chaos_arrivals_plan import BLOBS, KILLS, SPAN_S, draw


def main() -> int:
    """Run one of the cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.chaos", description="Kill processes at random moments.")
    parser.add_argument("seed", nargs="?", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--case", choices=("arrivals", "jobs"), default="arrivals")
    parser.add_argument("--blobs", type=int, default=BLOBS, help="arrivals: how many blobs")
    parser.add_argument("--kills", type=int, default=KILLS, help="arrivals: how many SIGKILLs")
    parser.add_argument("--span", type=float, default=SPAN_S, help="arrivals: seconds in which they fall")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    if asked.case == "jobs":
        return chaos_jobs.run(asked.seed, console)
    plan = draw(asked.seed, blobs=asked.blobs, kills=asked.kills, span_s=asked.span)
    return chaos_arrivals.run(asked.seed, plan, console)


if __name__ == "__main__":
    sys.exit(main())
