"""Waiting in a worker, as triggers do in the triggerer."""

import time
from collections.abc import Callable

from airflow_azureml.core.conditions import Settled, Sight, State, decide
from airflow_azureml.core.waiting import LookAgain, WaitPolicy
from airflow_azureml.errors import AzureMLError


def watch(look: Callable[[], Sight], *, policy: WaitPolicy, age_s: float = 0.0) -> Settled:
    """Look until something is as wanted, has failed, or we give up.

    Args:
        look: Looks once; a look that raises an error of ours is an uncertain look.
        policy: How patiently.
        age_s: Seconds that were waited already.
    """
    began = certain_at = time.monotonic()
    looks = 0
    while True:
        looks += 1
        try:
            sight = look()
        except AzureMLError as error:
            sight = Sight(what="What is waited for", state=State.UNCERTAIN, told=str(error))
        now = time.monotonic()
        if sight.state is not State.UNCERTAIN:
            certain_at = now
        match decide(sight, looks=looks, age_s=age_s + now - began, uncertain_s=now - certain_at, policy=policy):
            case Settled() as settled:
                return settled
            case LookAgain(after_s=after_s):
                time.sleep(after_s)
