"""Say a word, write it down, and log a metric by MLflow."""

import argparse
from pathlib import Path

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--to", type=Path, required=True)
asked = parser.parse_args()
print("saying hello")  # noqa: T201  # what its log is to have
mlflow.log_metric("words", 1)
asked.to.joinpath("word.txt").write_text("hello\n")
