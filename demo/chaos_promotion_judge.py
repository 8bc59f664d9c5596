"""What is wrong with promotions after chaos: pure, so that a test can show that it says no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from demo.chaos_promotion_plan import Round
from demo.pressing import Seen

WHOLE = 100


@attrs.frozen(kw_only=True)
class Run:
    """What became of one round.

    Attributes:
        state: The run's, in Airflow's word.
        version: The version that it registered; empty for none.
        deployment: The deployment that it made; empty for none.
        tasks: The state of each task.
    """

    round: Round
    state: str
    version: str
    deployment: str
    tasks: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Look:
    """Everything as the last look, and those before it, showed it.

    Attributes:
        runs: The rounds, in their order.
        reigns: The versions that were ever the champion, as the register has them, the latest last.
        champions: Versions that are tagged as the champion in the end.
        seen: Every state of the traffic, in its order.
        deployments: Azure's state of each deployment that is there in the end.
        rollout: The phase in which the endpoint's last rollout is written down.
        first: The deployment that served before the first round.
        requests: How many requests were asked.
        failed: How many of them had no good answer.
        failures: The first of those, in words.
    """

    runs: Sequence[Run]
    reigns: Sequence[str]
    champions: Sequence[str]
    seen: Sequence[Seen]
    deployments: Mapping[str, str]
    rollout: str
    first: str
    requests: int
    failed: int
    failures: Sequence[str] = ()

    @property
    def serving(self) -> str:
        """The deployment that has to serve in the end: that of the last sound round."""
        sound = [run.deployment for run in self.runs if run.round.is_sound]
        return sound[-1] if sound else self.first


def faults(look: Look) -> list[str]:
    """Say what is not as it has to be; empty when all is.

    Never two champions, never traffic lost: each round crowned one version, and its own; traffic added up to 100 in
    every state that was seen; no request failed; in the end the last sound model serves everything, alone, and each
    rollout is over.
    """
    return [*_of_runs(look), *_of_champions(look), *_of_traffic(look), *_of_the_end(look)]


def _of_runs(look: Look) -> list[str]:
    wrong = []
    for run in look.runs:
        wanted = "success" if run.round.is_sound else "failed"
        if run.state != wanted:
            shown = ", ".join(f"{task} {state}" for task, state in run.tasks.items() if state not in {"success", None})
            wrong.append(f"{run.round.run_id} is {run.state}, not {wanted}: {shown}")
    return wrong


def _of_champions(look: Look) -> list[str]:
    wrong = []
    versions = [run.version for run in look.runs]
    if list(look.reigns) != versions:
        wrong.append(
            f"the champions were {', '.join(look.reigns) or 'none'}, and the rounds' are {', '.join(versions)}"
        )
    if len(set(versions)) != len(versions):
        wrong.append(f"two rounds have registered one version: {', '.join(versions)}")
    if list(look.champions) != versions[-1:]:
        wrong.append(f"tagged as the champion are {', '.join(look.champions) or 'none'}")
    return wrong


def _of_traffic(look: Look) -> list[str]:
    wrong = [f"traffic was {dict(each.traffic)}" for each in dict.fromkeys(look.seen) if each.total != WHOLE]
    known = {look.first, *(run.deployment for run in look.runs)}
    strangers = {name for each in look.seen for name, _ in each.traffic} - known
    wrong += [f"deployment {name}, which is nobody's, had traffic" for name in sorted(strangers)]
    bad = {run.deployment for run in look.runs if not run.round.is_sound}
    most = max((share for each in look.seen for name, share in each.traffic if name in bad), default=0)
    if most > 10:  # noqa: PLR2004  # the policy's first step with requests
        wrong.append(f"a bad model had {most} % of the traffic")
    if look.failed:
        wrong.append(f"{look.failed} of {look.requests} requests failed: {'; '.join(look.failures)}")
    if not look.requests:
        wrong.append("nothing was asked")
    return wrong


def _of_the_end(look: Look) -> list[str]:
    wrong = []
    last = look.seen[-1] if look.seen else None
    if last is None or last.traffic != ((look.serving, WHOLE),) or last.mirror:
        wrong.append(f"in the end traffic is {last}, and all of it should be {look.serving}'s")
    replaced = {look.first, *(run.deployment for run in look.runs if run.round.is_sound)} - {look.serving}
    left = sorted(replaced & set(look.deployments))
    if left:
        wrong.append(f"{', '.join(left)} is still there, and was replaced")
    if look.deployments.get(look.serving) != "Succeeded":
        wrong.append(f"{look.serving} is {look.deployments.get(look.serving, 'not there')}")
    if look.rollout not in {"released", "reverted"}:
        wrong.append(f"the last rollout is still {look.rollout}")
    return wrong


def figures(look: Look, wrong: Sequence[str]) -> dict[str, Any]:
    """Count."""
    return {
        "rounds": len(look.runs),
        "released": sum(run.state == "success" for run in look.runs),
        "rolled_back": sum(run.state == "failed" and not run.round.is_sound for run in look.runs),
        "champions": len(look.reigns),
        "requests": look.requests,
        "failed": look.failed,
        "states_of_traffic": len(look.seen),
        "torn": sum(each.total != WHOLE for each in look.seen),
        "faults": len(wrong),
        "ok": not wrong,
    }
