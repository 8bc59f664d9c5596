"""Remembering, on a worker, what a published pipeline looks like.

Every task runs in a process of its own. Without this, each would ask five questions before it posts: where the data
plane is, the endpoint, its deployment, its component. What is remembered is no secret, and is believed only when it
says yes: before a pipeline is refused by it, or when the service refuses, it is asked for anew.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from airflow_azureml.core.pipelines import BatchEndpoint, Declared, Interface, Target
from airflow_azureml.core.workspace import ConnectionSettings

log = logging.getLogger(__name__)

#: How long a description is believed. Seconds.
LIFETIME_S = 600.0


def default_folder() -> Path:
    """Name this user's folder for it, on this machine."""
    return Path(tempfile.gettempdir()) / f"airflow-azureml-{os.getuid()}"


@frozen(kw_only=True)
class TargetMemory:
    """The descriptions that this user's workers on this machine have read lately.

    Attributes:
        folder: Made with mode 0700; one that others may write to is not used.
        lifetime_s: Seconds for which a description is believed.
    """

    folder: Path
    lifetime_s: float = LIFETIME_S

    def recall(self, settings: ConnectionSettings, pipeline: BatchEndpoint) -> Target | None:
        """Return what is remembered; None when nothing is, or it is old or unreadable."""
        path = self._path(settings, pipeline)
        try:
            if not self._is_ours() or time.time() - path.stat().st_mtime > self.lifetime_s:
                return None
            return _target(json.loads(path.read_text()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def keep(self, settings: ConnectionSettings, pipeline: BatchEndpoint, target: Target) -> None:
        """Remember a description; where that is not possible, the next task asks again."""
        path = self._path(settings, pipeline)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if self._is_ours():
                fresh = path.with_suffix(f".{os.getpid()}")
                fresh.write_text(json.dumps(asdict(target)))
                fresh.replace(path)
        except OSError as error:
            log.debug("Could not remember %s: %s", pipeline, error)

    def forget(self, settings: ConnectionSettings, pipeline: BatchEndpoint) -> None:
        """Forget a description that has turned out to be wrong."""
        self._path(settings, pipeline).unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        status = self.folder.lstat()
        return status.st_uid == os.getuid() and not status.st_mode & 0o077

    def _path(self, settings: ConnectionSettings, pipeline: BatchEndpoint) -> Path:
        workspace = settings.workspace
        whose = [settings.cloud.value, settings.authentication.value, settings.tenant_id, settings.client_id]
        text = "\x00".join([workspace.url.lower(), *whose, pipeline.name, pipeline.deployment])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _target(raw: dict[str, Any]) -> Target:
    declared = {
        side: {name: Declared(**one) for name, one in raw["interface"][side].items()} for side in ("inputs", "outputs")
    }
    return Target(**{**raw, "interface": Interface(**declared)})
