"""What a job of azure-ai-ml needs to be there, read off its attributes before it is submitted."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_azureml.core.needs import Needs, Part, Passed, completed, part_of

#: An asset's short name, as azure-ai-ml 1.35 keeps it: without the ``azureml:`` that it was written with.
_SHORT_NAME = re.compile(r"[A-Za-z0-9][\w.-]*[:@][\w.-]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|azureml:|/subscriptions/", re.IGNORECASE)


def needs_of_job(job: Any) -> Needs:
    """Read what a job needs; what is made when it is submitted (local files, inline environments) it brings along.

    Args:
        job: What `airflow_azureml.client.sdk.load` returned.
    """
    settings = _said(job, "settings")
    stores = [_said(settings, "default_datastore")]
    return Needs(
        parts=list(_parts(job)),
        inputs=dict(_passed(_said(job, "inputs"))),
        outputs=dict(_passed(_said(job, "outputs"))),
        datastores=[store for store in stores if isinstance(store, str) and store],
    )


def _parts(job: Any) -> Iterator[Part]:
    nodes = _said(job, "jobs")
    if not isinstance(nodes, Mapping) or not nodes:  # a command job has every attribute, some of them empty
        yield _part("the job", job)
        return
    default = _said(_said(job, "settings"), "default_compute") or _said(job, "compute")
    yield from _steps(nodes, default_compute=default if isinstance(default, str) else "", within="")


def _steps(nodes: Mapping[str, Any], *, default_compute: str, within: str) -> Iterator[Part]:
    for name, node in nodes.items():
        inner = _said(_said(node, "component"), "jobs")
        if isinstance(inner, Mapping) and inner:
            compute = _said(node, "compute")
            default = compute if isinstance(compute, str) and compute else default_compute
            yield from _steps(inner, default_compute=default, within=f"{within}{name}/")
        else:
            yield _part(f"step {within}{name}", node, default_compute=default_compute)


def _part(name: str, node: Any, *, default_compute: str = "") -> Part:
    """Read a job or a step; what it does not say itself, its component or trial says."""
    component = _said(node, "component") or _said(node, "trial")
    named = component if isinstance(component, str) else ""
    own = part_of(name, _spec(node), default_compute=default_compute, component=_asset(named))
    return own if named or component is None else completed(own, _spec(component))


def _spec(node: Any) -> dict[str, Any]:
    """Write as a component specification what matters here."""
    environment, resources = _said(node, "environment"), _said(node, "resources")
    compute = _said(node, "compute")
    return {
        "compute": compute if isinstance(compute, str) else "",
        "environment": environment if isinstance(environment, str) else "",
        "resources": {"instance_count": _said(resources, "instance_count")},
    }


def _passed(bindings: Any) -> Iterator[tuple[str, Passed]]:
    for name, binding in bindings.items() if isinstance(bindings, Mapping) else ():
        kept = _said(binding, "_data") or binding
        path, kind = _said(kept, "path"), _said(kept, "type")
        uri = _asset(path) if isinstance(path, str) else ""
        if uri and "${{" not in uri:
            yield name, Passed(uri=uri, type=kind if isinstance(kind, str) else "")


def _asset(path: str) -> str:
    """Give back what is a URI, an id or the short name of an asset; empty for a local file."""
    if _URI.match(path):
        return path
    return f"azureml:{path}" if _SHORT_NAME.fullmatch(path) and not Path(path).exists() else ""


def _said(thing: Any, name: str) -> Any:
    """Read an attribute; None where it has none, or the SDK does not give it."""
    if isinstance(thing, Mapping) and name in thing:
        return thing[name]
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # properties of the SDK raise errors of every kind
        return None
