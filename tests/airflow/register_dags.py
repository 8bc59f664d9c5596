"""DAGs that register a model, one that dies on the way to it, and one that a registered version wakes."""

import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_azureml.operators.models import AzureMLRegisterModelOperator
from airflow_azureml.watchers import registered_model

WAKING, SILENT = registered_model("waking"), registered_model("silent")


class Mortal(AzureMLRegisterModelOperator):
    """Is killed in its first try, before one of its writes, as by a machine that is taken away."""

    template_fields = (*AzureMLRegisterModelOperator.template_fields, "writes")

    def __init__(self, *, writes: str, **options: Any) -> None:
        super().__init__(**options)
        self.writes = writes

    def _register(self, registrar: Any, registration: Any, *rest: Any) -> Any:
        if registration.lineage.owner.endswith("/1"):
            registrar = self._mortal(registrar)
        return super()._register(registrar, registration, *rest)

    def _mortal(self, registrar: Any) -> Any:
        from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # only the worker needs it
        from airflow_azureml.client.models import Registrar  # noqa: PLC0415  # as above

        left = int(self.writes)

        def spend() -> None:
            nonlocal left
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        class MortalClient(Client):
            def _send(self, request: Any) -> Any:
                if request.method != "GET":
                    spend()
                return super()._send(request)

        class MortalShelf:
            url = registrar.shelf.url

            def read(self, name: str) -> Any:
                return registrar.shelf.read(name)

            def write(self, name: str, text: str, *, over: str = "") -> Any:
                spend()
                return registrar.shelf.write(name, text, over=over)

        client = MortalClient(registrar.settings)
        return Registrar(settings=registrar.settings, client=client, shelf=MortalShelf())


TOLD: dict[str, Any] = {
    "model": "{{ dag_run.conf['model'] }}",
    "result": "{{ dag_run.conf['result'] }}",
    "path": "{{ dag_run.conf['path'] }}",
    "expected": "{{ dag_run.conf['expected'] }}",
    "without_verdict": True,
    "retries": 1,
    "retry_delay": timedelta(seconds=1),
}

with DAG(
    "small_register",
    schedule=None,
    is_paused_upon_creation=False,
    render_template_as_native_obj=True,
) as register:
    AzureMLRegisterModelOperator(task_id="run", asset=WAKING, **TOLD)

with DAG(
    "small_mortal",
    schedule=None,
    is_paused_upon_creation=False,
    render_template_as_native_obj=True,
) as mortal:
    Mortal(task_id="run", asset=SILENT, writes="{{ dag_run.conf['writes'] }}", **TOLD)

with DAG("small_release", schedule=[WAKING], is_paused_upon_creation=False) as release:

    @task
    def run(triggering_asset_events: Any = None) -> list[object]:
        """Return what woke the run."""
        return [event.extra for event in triggering_asset_events[WAKING]]

    run()

with DAG("small_release_never", schedule=[SILENT]) as never:

    @task
    def rest() -> None:
        """Make the other asset one that there is."""

    rest()
