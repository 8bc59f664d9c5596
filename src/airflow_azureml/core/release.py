"""What is released: a version of a model, the name of the deployment that serves it, and whether it serves already."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.online import WHOLE, OnlineDeployment, OnlineEndpoint, same_model
from airflow_azureml.errors import ConfigError

#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, "Azure Machine Learning online
#: endpoints and batch endpoints": a deployment's name has 3 to 32 letters, digits and hyphens; the first is a letter.
LONGEST_NAME, SHORTEST_NAME = 32, 3
_DIGEST_DIGITS = 6
_ODD = re.compile(r"[^a-z0-9]+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
#: An id of Azure Resource Manager's, or of a registry: ``azureml://registries/R/models/NAME/versions/VERSION``.
_ID = re.compile(
    r"(azureml:)?(?P<id>(/subscriptions/|azureml://registries/).*/models/(?P<model>[^/]+)/versions/(?P<version>[^/]+))"
)


def is_deployment_name(name: str) -> bool:
    """Whether Azure takes this as a deployment's name."""
    return _NAME.fullmatch(name) is not None


def deployment_name(model: str, version: str) -> str:
    """Name the deployment of a model's version: the same name for the same version, and for no other.

    A name that has to be cut or mended ends with a digest, so that two versions never share a deployment.
    """
    whole = f"{model}-{version}"
    plain = _ODD.sub("-", whole.lower()).strip("-")
    named = plain if plain[:1].isalpha() else f"m-{plain}".rstrip("-")
    if named == whole and "-" not in version and is_deployment_name(named):
        return named
    digest = hashlib.sha256(f"{model}:{version}".encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{named[: LONGEST_NAME - _DIGEST_DIGITS - 1].rstrip('-')}-{digest}"


@frozen(kw_only=True)
class Release:
    """A version of a model that is to serve.

    Attributes:
        model: The model's name.
        version: Its version.
        reference: How Azure ML finds it: ``NAME:VERSION``, or an id.
        deployment: The deployment that serves it, or will.
        endpoint: The endpoint of production.
        share: Percent of the endpoint's traffic that it serves now.
    """

    model: str
    version: str
    reference: str
    deployment: str
    endpoint: str
    share: int = 0

    @classmethod
    def of(cls, told: Any, *, deployment: str, endpoint: str) -> Self | None:
        """Read what is to be released; None where there is nothing.

        Args:
            told: ``NAME:VERSION``, an id, or a mapping with ``model`` and ``version``, as the task that looked for the
                champion or registered a version returned; an empty mapping for nothing.
            deployment: The name of its deployment; empty for one that is made of the model's name and version.
            endpoint: The endpoint of production.

        Raises:
            ConfigError: It is neither, or Azure would not take the name.
        """
        if told in ({}, ""):
            return None
        model, version, reference = _version(told)
        name = deployment or deployment_name(model, version)
        if not is_deployment_name(name):
            raise ConfigError(
                f"deployment is {name!r}; Azure takes {SHORTEST_NAME} to {LONGEST_NAME} letters, digits and hyphens"
                " that begin with a letter."
            )
        return cls(model=model, version=version, reference=reference, deployment=name, endpoint=endpoint)

    def serves(self, endpoint: OnlineEndpoint | None, deployment: OnlineDeployment | None, *, model_id: str) -> bool:
        """Whether all traffic is its already, so that nothing is to be done.

        Args:
            endpoint: The endpoint as it is; None where it is not there.
            deployment: Its deployment of this name; None likewise.
            model_id: The id of the version.
        """
        if endpoint is None or deployment is None or not (endpoint.is_ready and deployment.is_ready):
            return False
        return endpoint.traffic.get(self.deployment) == WHOLE and same_model(deployment.model, model_id)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "model": self.reference,
            "name": self.model,
            "version": self.version,
            "deployment": self.deployment,
            "endpoint": self.endpoint,
            "share": self.share,
        }


def _version(told: Any) -> tuple[str, str, str]:
    """Read name, version, and how Azure ML finds it.

    Raises:
        ConfigError: It names no version.
    """
    if isinstance(told, str):
        by_id = _ID.fullmatch(told)
        if by_id:
            return by_id["model"], by_id["version"], by_id["id"]
        model, _, version = told.removeprefix("azureml:").partition(":")
    else:
        parts = told if isinstance(told, Mapping) else {}
        model, version = (str(parts.get(name) or "") for name in ("model", "version"))
    if not model or not version or "/" in model:
        raise ConfigError(
            f"model is {told!r:.200}; it must be NAME:VERSION, an id, or what the task that registered it or looked for"
            " the champion returned."
        )
    return model, version, f"{model}:{version}"
