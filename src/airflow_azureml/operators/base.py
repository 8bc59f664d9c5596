"""What every operator that waits for an Azure ML job does alike."""

import abc
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferralTimeout,
)

from airflow_azureml.core.following import Follow, Following
from airflow_azureml.core.jobs import JobSnapshot, Phase, Stage, StopFirst
from airflow_azureml.core.reports import Report
from airflow_azureml.core.triage import cause_of, may_pass
from airflow_azureml.core.waiting import (
    ERROR_OF_LIMIT,
    Fate,
    History,
    Limit,
    LookAgain,
    OnLimit,
    WaitPolicy,
    decide,
    fate,
)
from airflow_azureml.core.workspace import ConnectionSettings, Workspace
from airflow_azureml.errors import (
    AzureMLError,
    CancelTimeoutError,
    JobCanceledError,
    JobError,
    StaleResultError,
    UnavailableError,
)
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.links import JOB_URL_KEY, AzureMLJobLink
from airflow_azureml.operators.kills import comes_again
from airflow_azureml.operators.options import check_options
from airflow_azureml.operators.start import SupersededError
from airflow_azureml.operators.tries import recall, remember
from airflow_azureml.triggers.job import TOLD_STEPS, BlockingFollower, JobTrigger, event_of, limit_of
from airflow_azureml.wire import jobs, logs, reports, workspaces

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

#: How long a job that is being cancelled may take to end before the task fails. Seconds.
STOPPING_LIMIT_S = 15 * 60.0
#: Of how many steps of a completed job the log tells, where it did not tell of them meanwhile.
STEPS_TOLD = 100


class AzureMLWaitingOperator(BaseOperator, abc.ABC):
    """Base of operators that have one Azure ML job and wait for it without a worker slot.

    Only ``Completed`` is a success. A subclass says how the job is found or started, and what the task returns.

    Args:
        conn_id: The Airflow connection of type ``azureml``.
        deferrable: Whether to wait in the triggerer. Airflow's ``[operators] default_deferrable`` does not apply:
            waiting in a worker is never better here.
        on_kill_action: ``cancel`` or ``leave`` the job when the task is killed, cleared, marked, or gives up.
        timeout: How long this try waits for the job; then it is cancelled, and the task fails. Airflow ignores
            ``execution_timeout`` while a task is deferred; here the shorter of the two holds.
        patience: How long the job may go without a certain status (no answer, throttled, not responding).
        poll_interval: Time between the first two looks; it grows up to twelve times that.
        phase_timeouts: How long the job may be in a phase: ``queue``, ``prepare``, ``run``, ``finalize``, ``cancel``.
            Each has an error of its own.
        on_timeout: What becomes of the job when a limit is passed (one of these phases, ``whole`` for ``timeout``, or
            ``patience``): ``cancel``, ``leave`` (the next try adopts it) or ``fail_only`` (it is left, and there is no
            next try). ``cancel`` unless said otherwise, but ``leave`` for ``patience``.
        on_reuse: What to do about steps that Azure ML did not run because it had an old result: ``warn``, ``refuse``
            (the task fails) or ``allow``. The results of this task's own attempts that failed are no old ones.
        follow: What the task's log tells of a job while it runs: ``steps`` (each change of a pipeline's steps), ``log``
            (the steps, and the text of the job's log) or ``none``. The last lines of what failed are told in any case.
    """

    template_fields: Sequence[str] = ("conn_id",)
    operator_extra_links = (AzureMLJobLink(),)
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        conn_id: str = AzureMLHook.default_conn_name,
        deferrable: bool = True,
        on_kill_action: str = "cancel",
        timeout: timedelta = timedelta(days=7),
        patience: timedelta = timedelta(minutes=30),
        poll_interval: timedelta = timedelta(seconds=5),
        phase_timeouts: Mapping[str, timedelta] | None = None,
        on_timeout: Mapping[str, str] | None = None,
        on_reuse: str = "warn",
        follow: str = "steps",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.on_kill_action = on_kill_action
        self.timeout = timeout
        self.patience = patience
        self.poll_interval = poll_interval
        self.phase_timeouts = phase_timeouts
        self.on_timeout = on_timeout
        self.on_reuse = on_reuse
        self.follow = follow
        # What a kill, which comes at any moment, has to know and to leave behind.
        self._live_job = ""
        self._ti: Any = None
        self._connection: ConnectionSettings | None = None
        self._killed = False
        self._comes_again: bool | None = None

    @abc.abstractmethod
    def find_or_start(
        self, context: "Context", client: "Client", settings: ConnectionSettings
    ) -> JobSnapshot | StopFirst:
        """Return the job to wait for, or the one that must have ended before another may start."""

    @abc.abstractmethod
    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Return what the task leaves in XCom when its job is completed."""

    def execute(self, context: "Context") -> Any:
        """Find the job of this try, or start it, and wait for it."""
        try:
            settings = self._connection = AzureMLHook(self.conn_id).settings
            with AzureMLHook.open(settings) as client:
                check_options(self)
                found = self.find_or_start(context, client, settings)
        except SupersededError as error:
            raise AirflowSkipException(str(error)) from error
        except AzureMLError as error:
            raise _for_airflow(error) from error
        if isinstance(found, StopFirst):
            return self._wait_for_end(context, found.job)
        return self._wait(context, found)

    def execute_anew(self, context: "Context", event: dict[str, Any]) -> Any:
        """Go on when the job of an earlier try has ended, as it had to."""
        job, gave_up = event_of(event)
        if gave_up:
            raise CancelTimeoutError(f"Job {job.name} of an earlier try was told to stop, and did not: {gave_up}")
        return self.execute(context)

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Look once more, and say how the job ended."""
        job, gave_up = event_of(event)
        try:
            hook = AzureMLHook(self.conn_id)
            with hook.get_conn() as client:
                job = self._conclude(context, client, hook.settings.workspace, job)
                if job.phase is Phase.SUCCEEDED:
                    has_told = bool(event.get(TOLD_STEPS))
                    report = self._report(client, hook.settings.workspace, job, has_told=has_told)
                    return self.result(context, job, report)
        except AzureMLError as error:
            raise _for_airflow(error) from error
        limit, action = limit_of(event)
        told = f"Job {job.name}: {gave_up or f'still {job.status}'}\nThe job: {job.studio_url}"
        self._give_up_on(context, job.name, action)
        if action is OnLimit.FAIL_ONLY:
            raise AirflowFailException(told)
        raise ERROR_OF_LIMIT[limit](told)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: "Context") -> Any:
        """Resume; when the trigger itself broke, leave no job behind that nobody will wait for.

        Where Airflow's database is SQLite, a trigger may get the id of one that was deleted a moment before; Airflow
        3.3.2 then takes the one that still runs for the new one, and resumes the task with what befell another's job.
        """
        memory = recall(context)
        told = ((next_kwargs or {}).get("event") or {}).get("job")
        if memory is not None and memory.job and told and told["name"] != memory.job:
            self.log.warning(
                "Airflow told of job %s; this task's is %s, and is waited for again", told["name"], memory.job
            )
            return self._wait_again(context, memory.job, anew=next_method == "execute_anew")
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError):
            if memory is not None and memory.job:
                is_stopping = memory.stage is Stage.STOPPING
                self._give_up_on(context, memory.job, OnLimit.CANCEL if is_stopping else OnLimit.LEAVE)
            raise

    def on_kill(self) -> None:
        """Cancel the job that this worker has started or waits for.

        Airflow calls this from a signal handler and then goes on with ``execute``; what that does next sees the mark
        and fails, so that a killed task never ends as a success.
        """
        self._killed = True
        if self._live_job:
            self._end_killed(self._live_job)

    def _wait(self, context: "Context", job: JobSnapshot) -> Any:
        """Wait for a job that is ours; one that has ended already is judged at once."""
        self._hold(context, job.name)
        self._raise_if_killed(context, job.name)
        context["ti"].xcom_push(key=JOB_URL_KEY, value=job.studio_url)
        remember(context, Stage.HELD, job.name)
        if job.phase.is_final:
            return self.finish(context, {"job": job.to_wire(), "gave_up": ""})
        if not self.deferrable:
            return self.finish(context, self._watch(context, job, self._policy()))
        remember(context, Stage.DEFERRED, job.name)
        self._raise_if_killed(context, job.name)
        self.defer(trigger=self._trigger(job, self._policy()), method_name="finish")
        return None

    def _hold(self, context: "Context", job_name: str) -> None:
        """Let a kill know which job it is about."""
        self._ti, self._live_job = context["ti"], job_name

    def _wait_again(self, context: "Context", job_name: str, *, anew: bool) -> Any:
        """Wait for this task's job; `anew` where it only has to end so that the task can begin again."""
        try:
            hook = AzureMLHook(self.conn_id)
            with hook.get_conn() as client:
                job = client.run(jobs.get(hook.settings.workspace, job_name))
        except AzureMLError as error:
            raise _for_airflow(error) from error
        return self._wait_for_end(context, job) if anew else self._wait(context, job)

    def _wait_for_end(self, context: "Context", job: JobSnapshot) -> Any:
        """Wait until a job that is being cancelled has ended, and then begin again."""
        self._hold(context, job.name)
        remember(context, Stage.STOPPING, job.name)
        limit = (self.phase_timeouts or {}).get(Limit.CANCEL)
        limit_s = limit.total_seconds() if limit else STOPPING_LIMIT_S
        policy = WaitPolicy(deadline_s=limit_s, first_s=1.0, longest_s=10.0)
        if self.deferrable:
            self.defer(trigger=self._trigger(job, policy), method_name="execute_anew")
        return self.execute_anew(context, self._watch(context, job, policy))

    def _conclude(self, context: "Context", client: "Client", workspace: Workspace, job: JobSnapshot) -> JobSnapshot:
        """Look once more; return the job when it is completed, or has not ended.

        Raises:
            JobError: It failed.
            JobCanceledError: Somebody cancelled it.
        """
        try:
            job = client.run(jobs.get(workspace, job.name))
        except UnavailableError as error:
            self.log.warning("The end of job %s is judged by the last look at it: %s", job.name, error)
        if not job.phase.is_final:
            return job
        self.log.info("Job %s ended as %s: %s", job.name, job.status, job.studio_url)
        remember(context, Stage.ENDED, job.name)
        if job.phase is Phase.SUCCEEDED:
            return job
        reason, last_words = client.run(logs.post_mortem(workspace, job))
        for words in last_words:
            self.log.error("%s", words)
        kind = JobCanceledError if job.phase is Phase.CANCELED else JobError
        told = f"Job {job.name} ended as {job.status}: {reason or 'nobody says why'}\nThe job: {job.studio_url}"
        raise self.failed(context, job, kind(told, cause=cause_of(kind(reason))))

    def failed(self, context: "Context", job: JobSnapshot, error: JobError) -> JobError:  # noqa: ARG002  # for subclasses
        """Return what the task fails with when its job has ended badly; a subclass may know more than Azure ML says."""
        return error

    def _report(self, client: "Client", workspace: Workspace, job: JobSnapshot, *, has_told: bool) -> Report:
        """Read what became of a completed job, and tell it; what cannot be read does not fail the task."""
        try:
            report = client.run(reports.read(workspace, job, client.run(workspaces.data_plane(workspace))))
        except AzureMLError as error:
            report = Report(unread=[str(error)])
        for step in () if has_told else report.steps[:STEPS_TOLD]:
            took = "" if step.seconds is None else f" after {step.seconds:.1f} s"
            self.log.info("Step %s is %s%s%s", step.name, step.status, took, step.whence)
        for words in report.unread:
            self.log.warning("The result of job %s lacks something: %s", job.name, words)
        for words in report.repaired:
            self.log.info("%s", words)
        if report.stale and self.on_reuse != "allow":
            told = f"Job {job.name} did not run {', '.join(report.stale)}: Azure ML took the results of {report.makers}"
            if self.on_reuse == "refuse":
                raise StaleResultError(f"{told}.\nThe job: {job.studio_url}")
            self.log.warning("%s", told)
        return report

    def _give_up_on(self, context: "Context", job_name: str, action: OnLimit) -> None:
        """Do with a job that this try waits for no longer what was agreed, and say what that was."""
        ti = context["ti"]
        match fate(action, cancels=self.on_kill_action == "cancel", last_try=ti.try_number > ti.max_tries):
            case Fate.CANCELED:
                remember(context, Stage.STOPPING, job_name)
                self._cancel(job_name)
            case Fate.LEFT:
                self.log.warning("Job %s is left as it is, as configured", job_name)
            case Fate.HANDED_ON:
                remember(context, Stage.HELD, job_name)
                self.log.warning("Job %s is left to the next try, which adopts it", job_name)

    def _cancel(self, job_name: str) -> None:
        """Ask for a job's end; a failure is told, since then the job may go on and bill.

        A kill may come in the middle of a question to Airflow, which cannot take another then: so the connection is
        not read again.
        """
        if self.on_kill_action != "cancel":
            self.log.warning("Job %s is left running, as configured", job_name)
            return
        try:
            settings = self._connection or AzureMLHook(self.conn_id).settings
            with AzureMLHook.open(settings) as client:
                client.run(jobs.cancel(settings.workspace, job_name))
            self.log.warning("Asked Azure ML to cancel job %s", job_name)
        except AzureMLError as error:
            self.log.error("Job %s could NOT be cancelled and may go on: %s", job_name, error)  # noqa: TRY400  # the sentence says it all

    def _end_killed(self, job_name: str) -> None:
        """Cancel the job of a task that is killed, unless another try is to adopt it; that is decided once."""
        if self._comes_again is None:
            self._comes_again = comes_again(self._ti)
        if self._comes_again:
            self.log.warning("Nobody ended this task; job %s goes on, and the next try adopts it", job_name)
        else:
            self._cancel(job_name)

    def _raise_if_killed(self, context: "Context", job_name: str) -> None:
        if self._killed:
            self._end_killed(job_name)
            if not self._comes_again and self.on_kill_action == "cancel":
                remember(context, Stage.STOPPING, job_name)
            # Who was killed by a person is not retried anyway; a worker that was shut down is.
            raise AirflowException(f"The task was killed; what was done to its job {job_name} stands above.")

    def _watch(self, context: "Context", job: JobSnapshot, policy: WaitPolicy) -> dict[str, Any]:
        """Wait in this worker, as the trigger does in the triggerer; return what its event would say."""
        hook = AzureMLHook(self.conn_id)
        workspace = hook.settings.workspace
        following = Following(Follow(self.follow))
        began = certain_at = time.monotonic()
        looks, history = 0, History()
        with hook.get_conn() as client:
            follower = BlockingFollower(client, workspace, self.log, following)
            while True:
                self._raise_if_killed(context, job.name)
                looks += 1
                try:
                    job = client.run(jobs.get(workspace, job.name))
                except AzureMLError as error:
                    job = JobSnapshot(name=job.name, status="Unknown", message=str(error), studio_url=job.studio_url)
                now = time.monotonic()
                if job.phase is not Phase.UNCERTAIN:
                    certain_at = now
                seen = {"age_s": now - began, "uncertain_s": now - certain_at}
                history = history.after(job, age_s=seen["age_s"])
                decision = decide(job, looks=looks, policy=policy, history=history, **seen)
                follower.saw(job)
                if not isinstance(decision, LookAgain):
                    return follower.event(decision)
                time.sleep(decision.after_s)

    def _trigger(self, job: JobSnapshot, policy: WaitPolicy) -> JobTrigger:
        return JobTrigger(
            conn_id=self.conn_id,
            job=job.name,
            submitted_at=time.time(),
            deferred_at=time.time(),
            policy=policy.to_wire(),
            on_kill_action=self.on_kill_action,
            follow=self.follow,
        )

    def _policy(self) -> WaitPolicy:
        limits = [limit for limit in (self.timeout, self.execution_timeout) if limit is not None]
        first_s = self.poll_interval.total_seconds()
        return WaitPolicy(
            deadline_s=min(limits).total_seconds(),
            patience_s=self.patience.total_seconds(),
            first_s=first_s,
            longest_s=first_s * 12,
            actions=self.on_timeout or {},
            **{f"{phase}_s": limit.total_seconds() for phase, limit in (self.phase_timeouts or {}).items()},
        )


def _for_airflow(error: AzureMLError) -> Exception:
    """Let Airflow retry what a retry can help, and nothing else."""
    return error if may_pass(error) else AirflowFailException(str(error))
