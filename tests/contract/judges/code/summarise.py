"""Add up the numbers of a folder, and log the sum with MLflow."""

# ruff: noqa: T201, TID253  # a job speaks to its log, and needs MLflow
import pathlib
import sys

import mlflow

source, target = sys.argv[1:]
numbers = [float(line) for path in sorted(pathlib.Path(source).iterdir()) for line in path.read_text().split()]
total = sum(numbers)
pathlib.Path(target).mkdir(parents=True, exist_ok=True)
pathlib.Path(target, "total.txt").write_text(str(total))
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs", "model.txt").write_text(f"weight {total}")
with mlflow.start_run():
    mlflow.log_param("numbers", len(numbers))
    for step, value in enumerate(numbers):
        mlflow.log_metric("value", value, step=step)
    mlflow.log_metric("total", total)
    mlflow.set_tag("flavour", "sum")
print(f"the total is {total}")
