"""The engine of data tests, as a process of its own or as the code of a job: what it is given, and what it leaves."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import airflow_azureml
from airflow_azureml.core import shipping
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.operators.data_test_plan import Plan, Rules

#: The module that runs, in a worker and in a job alike.
SESSION = "airflow_azureml.quality.session"
#: What it reads, and what it leaves in a folder; see there.
CALL, ERROR, PROFILE = "call.json", "error.json", "reference.json"
#: What of its working folder Azure ML keeps, whatever becomes of a job.
OUTPUTS = "outputs"
#: What a reference is.
A_PROFILE, A_FILE = "profile", "file"
#: Most of what it said that an error tells. Characters.
MOST_TOLD = 2000
#: The image of a job, on top of which comes what the engine needs; Azure ML's own, without Python packages.
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
DISTRIBUTION, EXTRA = "airflow-provider-azureml", "quality"
#: How readily Linux ends the engine instead of the worker when memory is short: first of all. Source: proc(5).
_OOM_SCORE = "1000"


class EngineError(AzureMLError):
    """The engine ended without a verdict, most likely for want of memory; another worker may have more."""

    retryable = True


def call_of(plan: Plan, *, reference: str = "", profile: str = PROFILE) -> dict[str, Any]:
    """Write what the engine is to do, as JSON.

    Args:
        plan: The data test.
        reference: What the reference is, `A_PROFILE` or `A_FILE`; empty where there is none.
        profile: What to call the profile that is made of a reference file.
    """
    subject = plan.subject
    return {
        "spec": plan.rules.text,
        "name": plan.rules.name,
        "format": plan.format,
        "subject": subject.path,
        "modified": subject.modified.isoformat(),
        "facts": {"path": subject.path, "etag": subject.etag},
        "reference": reference,
        "reference_uri": plan.reference,
        "reference_format": plan.reference_format,
        "profile": profile,
    }


def job_of(plan: Plan, reference: str) -> dict[str, Any]:
    """Describe the job that tests the data, but for its code and where it runs.

    Args:
        plan: The data test.
        reference: The URI of the reference, or of its profile; empty for none.
    """
    subject = plan.subject
    in_store = subject.path.startswith("azureml:")
    inputs = {"data": subject.path if in_store else subject.url, **({"reference": reference} if reference else {})}
    given = " ".join(f"--{name} ${{{{inputs.{name}}}}}" for name in inputs)
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "type": "command",
        "command": f"python -m {SESSION} --call {CALL} --out ${{{{outputs.found}}}} --errors {OUTPUTS} {given}",
        "inputs": {name: {"type": "uri_file", "path": uri, "mode": "download"} for name, uri in inputs.items()},
        "outputs": {"found": {"type": "uri_folder", "path": plan.reports}},
    }


class Child:
    """The engine as a process beside the task's: its memory is not the worker's, and is given back at its end.

    Args:
        folder: Where its files are; it is the caller's to delete.
        cwd: To which the file of a pandera schema is relative.
    """

    def __init__(self, folder: Path, *, cwd: Path) -> None:
        self.folder = folder
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, arguments: Sequence[str]) -> None:
        """Run the engine, and wait for its end.

        Raises:
            ConfigError: What it was given is wrong, or what it needs is not installed.
            EngineError: It ended without a result.
        """
        if importlib.util.find_spec("polars") is None:
            raise ConfigError(f"Testing data on a worker needs polars: install {DISTRIBUTION}[{EXTRA}] there.")
        (self.folder / ERROR).unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        said = self.folder / "said.txt"
        with said.open("wb") as written:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and our own module
                [sys.executable, "-m", SESSION, *arguments],
                cwd=self._cwd,
                env=environment,
                stdout=written,
                stderr=written,
            )
            _make_expendable(self._process.pid)
            try:
                status = self._process.wait()
            finally:
                self.end()
        if status:
            raise failure(self._read(ERROR), status=status, said=said.read_text(errors="replace"))

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return self._process.pid if self._process is not None else None

    def end(self) -> None:
        """End the process, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _read(self, name: str) -> bytes | None:
        file = self.folder / name
        return file.read_bytes() if file.is_file() else None


def failure(told: bytes | None, *, status: int, said: str) -> AzureMLError:
    """Read why the engine ended without a result.

    Args:
        told: The content of `ERROR`; None where there is none.
        status: Its process's status; negative for the signal that ended it.
        said: What it printed.
    """
    try:
        return ConfigError(str(json.loads(told or b"")["message"]))
    except (ValueError, KeyError, TypeError):
        pass
    words = said.strip()[-MOST_TOLD:]
    if status < 0:
        return EngineError(
            f"The process that tests the data was ended by signal {-status}, most likely for want of memory. Give the"
            f" worker more, or test the data in a job: run_on='job'. It said: {words or 'nothing'}"
        )
    return EngineError(f"The process that tests the data ended with status {status}. It said: {words or 'nothing'}")


def _make_expendable(pid: int) -> None:
    """Let a worker that runs out of memory lose this process, and not itself; where Linux does not, so be it."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(_OOM_SCORE)
    except OSError:
        return


def lay_out(folder: Path, call: Mapping[str, Any], rules: Rules) -> None:
    """Write the code of a job into a folder: the engine with what it imports, the call, and the pandera schema.

    Raises:
        ConfigError: The source of the engine or of the schema is not to be had.
    """
    for name, text in shipping.needed(SESSION, _source_of, package="airflow_azureml").items():
        file = folder / _file_of(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (folder / CALL).write_text(json.dumps(call), encoding="utf-8")
    module = rules.tests.pandera.rpartition(":")[0]
    if module:
        _lay_out_schema(folder, module, rules)


def _lay_out_schema(folder: Path, module: str, rules: Rules) -> None:
    """Write the module of a pandera schema, which has to stand alone."""
    if module.endswith(".py"):
        name, found = PurePosixPath(module), rules.folder / module
        if name.is_absolute() or ".." in name.parts:
            raise ConfigError(
                f"The pandera schema's file {module} must lie beside or below its YAML file, to go to a job."
            )
    else:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            raise ConfigError(f"The pandera schema's module {module} is no Python file on this worker.")
        name, found = PurePosixPath(*module.split(".")).with_suffix(".py"), Path(spec.origin)
        name = name.with_suffix("") / "__init__.py" if found.name == "__init__.py" else name
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(found, target)
    except OSError as error:
        raise ConfigError(f"The pandera schema's file {found} cannot be read: {error}.") from error


def _source_of(module: str) -> str | None:
    root = Path(airflow_azureml.__file__).parent.parent.joinpath(*module.split("."))
    for file in (root / "__init__.py", root.with_suffix(".py")):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def _file_of(module: str) -> str:
    is_package = (Path(airflow_azureml.__file__).parent.parent.joinpath(*module.split("."))).is_dir()
    return f"{module.replace('.', '/')}{'/__init__' if is_package else ''}.py"


def environment_of(said: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Describe the environment of a job; without one, an image of Azure ML's with what the engine needs."""
    if said:
        return said if isinstance(said, str) and said.startswith("azureml:") else _image(said)
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    conda = {
        "name": "data-tests",
        "channels": ["conda-forge"],
        "dependencies": [python, "pip", {"pip": requirements()}],
    }
    return {"image": IMAGE, "conda_file": conda}


def _image(said: str | Mapping[str, Any]) -> str | dict[str, Any]:
    if isinstance(said, str):
        return said if "/environments/" in said else {"image": said}
    return dict(said)


def requirements() -> list[str]:
    """List what the engine needs, as pip takes it: the extra ``quality`` of the provider, and attrs."""
    from packaging.requirements import Requirement  # noqa: PLC0415  # Airflow's own; only a job needs it

    needed = [Requirement(each) for each in importlib.metadata.requires(DISTRIBUTION) or ()]
    chosen = [each for each in needed if each.marker is not None and each.marker.evaluate({"extra": EXTRA})]
    chosen += [each for each in needed if each.name == "attrs"]
    return sorted(f"{each.name}{_extras(each)}{each.specifier}" for each in chosen)


def _extras(requirement: Any) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
