"""Kill processes at random moments, and count what became of it: of blobs, of jobs, of promotions, of the emulator.

    python -m demo.chaos [--case arrivals | --case jobs | --case promotion | --case emulator] [SEED]

The cases are described in `demo.chaos_arrivals`, `demo.chaos_jobs`, `demo.chaos_promotion` and `demo.chaos_emulator`.
The last line is one JSON object; the exit code is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys

from rich.console import Console

from demo import chaos_arrivals, chaos_emulator, chaos_jobs, chaos_promotion, chaos_promotion_plan
from demo.chaos_arrivals_plan import BLOBS, KILLS, SPAN_S, draw


def main() -> int:
    """Run one of the cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.chaos", description="Kill processes at random moments.")
    parser.add_argument("seed", nargs="?", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--case", choices=("arrivals", "jobs", "promotion", "emulator"), default="arrivals")
    parser.add_argument("--blobs", type=int, default=BLOBS, help="arrivals: how many blobs")
    parser.add_argument("--kills", type=int, default=KILLS, help="arrivals: how many SIGKILLs")
    parser.add_argument("--span", type=float, default=SPAN_S, help="arrivals: seconds in which they fall")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    if asked.case == "jobs":
        return chaos_jobs.run(asked.seed, console)
    if asked.case == "emulator":
        return chaos_emulator.run(asked.seed, console)
    if asked.case == "promotion":
        return chaos_promotion.run(asked.seed, chaos_promotion_plan.draw(asked.seed), console)
    plan = draw(asked.seed, blobs=asked.blobs, kills=asked.kills, span_s=asked.span)
    return chaos_arrivals.run(asked.seed, plan, console)


if __name__ == "__main__":
    sys.exit(main())
