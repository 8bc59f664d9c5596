"""Whether a new deployment predicts as the champion does, by what Azure ML's data collector kept of both."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve

from airflow_azureml.client.drift import profile_windows
from airflow_azureml.core.rollout_limits import Judgement
from airflow_azureml.core.rollout_policy import Predictions
from airflow_azureml.core.rollout_record import Rollout
from airflow_azureml.core.scoring_logs import collected
from airflow_azureml.core.windows import Span

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings
    from airflow_azureml.quality.profile import Profile

_HOUR = timedelta(hours=1)


def compare_predictions(
    settings: "ConnectionSettings", predictions: Predictions, rollout: Rollout, *, now: datetime
) -> Judgement:
    """Compare what both have predicted in the hours since the rollout began; files are kept by the hour.

    Where the workspace is an emulator's, the caller has it in reach; see
    `airflow_azureml.client.sdk.emulator_in_reach`.

    Args:
        settings: The connection, whose identity reads (role Storage Blob Data Reader).
        predictions: How near they must be.
        rollout: What is written of the rollout.
        now: With its zone.

    Raises:
        ConfigError: The rules name a column that the champion does not have, or the like.
        RefusedError: The identity may not read.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    from airflow_azureml.quality.collected import REQUEST, ROW  # noqa: PLC0415  # not when a DAG is parsed
    from airflow_azureml.quality.distribution import compare  # noqa: PLC0415  # as above

    if not rollout.main:
        return Judgement()
    began = datetime.fromisoformat(rollout.began).replace(minute=0, second=0, microsecond=0)
    span = Span(began, now + _HOUR, "rollout")
    champion, new = (
        _profile(settings, predictions.folder_of(rollout.endpoint, name), span)
        for name in (rollout.main, rollout.deployment)
    )
    least = predictions.tests.rows_at_least
    told = {rollout.main: champion.rows, rollout.deployment: new.rows}
    missing = [f"{rows} of {least} predictions of {name} so far" for name, rows in told.items() if rows < least]
    if missing:
        step = rollout.steps[rollout.step]
        is_needed = not step.mirrored and step.share >= predictions.needed_from
        return Judgement(open=missing if is_needed else ())
    rules = evolve(predictions.tests, ignore=(*predictions.tests.ignore, REQUEST, ROW))
    return Judgement(findings=compare(champion, new, rules))


def _profile(settings: "ConnectionSettings", folder: str, span: Span) -> "Profile":
    ((_, profiles),) = profile_windows(settings, [collected(folder)], [span])
    return profiles[0]
