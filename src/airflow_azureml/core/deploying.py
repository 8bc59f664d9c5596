"""What is still to do until a deployment of an online endpoint is as wanted, and what it means that it failed."""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from airflow_azureml.core.online import OnlineDeployment, OnlineEndpoint, same_model
from airflow_azureml.errors import (
    ConfigError,
    DeploymentFailedError,
    EndpointFailedError,
    NoCapacityError,
    NotReadyError,
    ServingError,
)

#: The tag by which a deployment says what it was made of.
DIGEST_TAG = "airflow.deployment_digest"
DIGEST_DIGITS = 16
#: Azure's codes for machines that are not to be had. Source: "Troubleshoot online endpoints", common deployment errors.
OUT_OF_QUOTA = "OutOfQuota"
NO_CAPACITY = frozenset({OUT_OF_QUOTA.lower(), "outofcapacity", "quotaexceeded", "notenoughquota", "insufficientquota"})
#: What to do about Azure's other codes. Source: as above.
ADVICE: Mapping[str, str] = {
    "imagebuildfailure": "Look at the image build's log in the studio, and mend the environment.",
    "badargument": "Mend what the message names: the model, the environment, the permissions of the identity.",
    "resourcenotready": "The container started and broke down: mend score.py's init(), or the probes, by its log.",
    "resourcenotfound": "What the deployment refers to is not there: publish it, or mend the name.",
    "operationcanceled": "A change of higher priority came between, or somebody cancelled it: deploy again.",
    "internalservererror": "Deploy again; where it stays so, ask Azure's support.",
}


class Step(Enum):
    """What is to be done next about a deployment."""

    #: It is as wanted.
    NOTHING = "was there as wanted"
    #: Azure is at it already: look again when it is done.
    WAIT = "being changed already"
    CREATE = "created"
    #: Its first start failed, and Azure can do no more about it: delete it, then create it.
    REMOVE = "deleted, since it had failed"
    REPLACE = "changed"
    SCALE = "scaled"


@frozen(kw_only=True)
class Wanted:
    """What a deployment is to be.

    Attributes:
        model: The id of a model's version; empty where the specification has it.
        digest: What it is made of; see `digest_of`.
        instances: How many; None to leave to Azure's autoscaling, or to whoever scaled it.
        replace_live: Whether one that takes traffic may be changed in its place.
    """

    endpoint: str
    name: str
    digest: str
    model: str = ""
    instance_type: str = ""
    instances: int | None = None
    replace_live: bool = False


def plan(endpoint: OnlineEndpoint, found: OnlineDeployment | None, wanted: Wanted) -> Step:
    """Say what to do next; after each step somebody looks again, and asks again.

    Raises:
        ConfigError: It takes traffic, and is to be something else.
        NotReadyError: Azure is at something else with it.
    """
    if found is None:
        return Step.CREATE
    live = endpoint.traffic.get(found.name, 0) or endpoint.mirror.get(found.name, 0)
    same = _is_same(found, wanted)
    if not found.is_ready and not found.is_broken:
        if same and found.state != "Deleting":
            return Step.WAIT
        raise NotReadyError(
            f"Deployment {found.name} of online endpoint {endpoint.name} is {found.state or 'in no state'}, and not by "
            "this task: nothing was changed. A retry looks again."
        )
    if found.is_broken and not live:
        return Step.REMOVE
    if same and found.is_ready:
        return Step.NOTHING if wanted.instances in (None, found.instances) else Step.SCALE
    if live and not wanted.replace_live:
        raise ConfigError(
            f"Deployment {found.name} of online endpoint {endpoint.name} takes {live} % of the traffic and is "
            f"{_otherwise(found, wanted)}: nothing was changed. Deploy under another name and move the traffic, or say "
            "replace_live=True."
        )
    return Step.REPLACE


def _is_same(found: OnlineDeployment, wanted: Wanted) -> bool:
    """Tell whether a deployment is made of the same; one that does not say is known by model and machine."""
    told = found.tags.get(DIGEST_TAG)
    if told is not None:
        return told == wanted.digest
    return (
        bool(wanted.model)
        and same_model(found.model, wanted.model)
        and found.instance_type.lower() == wanted.instance_type.lower()
    )


def _otherwise(found: OnlineDeployment, wanted: Wanted) -> str:
    if found.is_broken:
        return f"{found.state} since its last change"
    if wanted.model and not same_model(found.model, wanted.model):
        return f"of model {found.model or 'none'}, not of {wanted.model}"
    return "made of something else than is wanted"


def digest_of(made_of: Mapping[str, Any]) -> str:
    """Name what a deployment is made of: sixteen hexadecimal digits, the same for the same."""
    text = json.dumps(made_of, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def failure(what: str, told: str, *, codes: str, truth: str) -> ServingError:
    """Name a failure, with what is true now and what to do.

    Args:
        what: What failed: ``Deployment green of online endpoint scoring``.
        told: What Azure says of it, as the end of a sentence.
        codes: Azure's codes, outermost first, with slashes between; empty where it gave none.
        truth: What is true now, one sentence.
    """
    said = [code.strip().lower() for code in codes.split("/")]
    advice = next((ADVICE[code] for code in reversed(said) if code in ADVICE), "Read the log, and deploy again.")
    message = f"{what} {told.rstrip('. ')}. {truth}".strip()
    if lacks_capacity(codes):
        return NoCapacityError(
            f"{message} Ask for more quota, take another machine size or region, or delete deployments without traffic."
        )
    if what.startswith("Deployment"):
        return DeploymentFailedError(f"{message} {advice}")
    return EndpointFailedError(f"{message} {advice if said != [''] else 'Look at it in the studio.'}")


def lacks_capacity(codes: str) -> bool:
    """Tell whether Azure's codes, with slashes between, say that there are no machines to be had."""
    return not NO_CAPACITY.isdisjoint(code.strip().lower() for code in codes.split("/"))
