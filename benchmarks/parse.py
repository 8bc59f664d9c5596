"""What it costs Airflow to parse a DAG that uses us, over one that uses nothing.

Done as Airflow's dag-processor does it: a parent that has started as its job does (plugins and listeners loaded, the
file's imports of ``airflow.`` loaded beforehand) forks a child for each file, which fills a DagBag and serialises it.
Figures are CPU seconds of the whole child, so that other work on the machine does not count; medians of interleaved
rounds. The peer is the bare DAG of the same shape; beside it, the same DAG with azure-ai-ml imported at its top.
"""

import importlib
import statistics
import tempfile
from pathlib import Path

from benchmarks.forks import in_child, start_as_airflow_does
from benchmarks.report import Report

HERE = Path(__file__).resolve().parent
FILES = {
    "ours": HERE.parent / "dags" / "score_on_arrival.py",
    "bare": HERE / "dags" / "bare.py",
    "sdk": HERE / "dags" / "sdk_at_the_top.py",
}
ROUNDS = 41
SDK_ROUNDS = 3
MOST = 1.05


def measure() -> Report:
    """Parse each file many times."""
    with tempfile.TemporaryDirectory() as home:
        start_as_airflow_does(home, ["airflow.dag_processing.manager", "airflow.dag_processing.processor"])
        for name in ("ours", "bare"):
            _parse(FILES[name])
        taken: dict[str, list[float]] = {name: [] for name in FILES}
        for number in range(ROUNDS):
            for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
                taken[name].append(_parse(FILES[name]))
        taken["sdk"] = [_parse(FILES["sdk"]) for _ in range(SDK_ROUNDS)]
    ours, bare, sdk = (statistics.median(taken[name]) for name in ("ours", "bare", "sdk"))
    return Report(
        benchmark="parse",
        ours=ours,
        peer=bare,
        ratio=ours / bare,
        unit="CPU s per parse",
        goal=f"ours / bare DAG <= {MOST}",
        ok=ours / bare <= MOST,
        beside={"sdk_at_the_top": round(sdk, 3), "sdk_over_ours": round(sdk / ours, 1), "rounds": ROUNDS},
    )


def _parse(file: Path) -> float:
    """Parse a file in a child; return the child's CPU seconds."""
    for module in importlib.import_module("airflow.utils.file").iter_airflow_imports(str(file)):
        importlib.import_module(module)
    return float(in_child(lambda: _fill_bag(file))["cpu_s"])


def _fill_bag(file: Path) -> dict[str, int]:
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415  # loaded by the parent already
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415  # likewise

    bag = BundleDagBag(dag_folder=str(file), bundle_path=file.parent, bundle_name="bench", load_op_links=False)
    if bag.import_errors or not bag.dags:
        raise RuntimeError(f"{file} could not be parsed: {bag.import_errors}")
    for dag in bag.dags.values():
        DagSerialization.to_dict(dag)
    return {"dags": len(bag.dags)}
