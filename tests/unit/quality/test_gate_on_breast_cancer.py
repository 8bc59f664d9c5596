"""The gate on real data: scikit-learn's breast cancer, two models, slices by size of tumour, a loss for each row."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from airflow_azureml.core.evaluation import Evaluation
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import Better, Comparison, IntervalRule, Policy, SliceRule, Slices, Threshold, judge
from airflow_azureml.core.intervals import Interval
from airflow_azureml.quality.bootstrap import Resampling, interval
from airflow_azureml.quality.losses import LossesFile, differences

NOW = datetime(2026, 11, 21, 19, tzinfo=UTC)
SIZES = ("small", "middle", "large")
POLICY = Policy(
    name="breast cancer",
    version="1",
    no_champion="reject",
    rows_at_least=100,
    thresholds=[Threshold(metric="accuracy", at_least=0.85)],
    comparisons=[Comparison(metric="log_loss", better=Better.LOWER)],
    intervals=[IntervalRule(loss="log_loss")],
    slices=[
        SliceRule(
            metric="accuracy", better=Better.HIGHER, worse_by=0.02, over=Slices(names=["size=*"], rows_at_least=20)
        )
    ],
)


class Clinic:
    """Rows to train on, rows to test on, and models' predictions for these."""

    def __init__(self) -> None:
        from sklearn.datasets import load_breast_cancer  # seconds to import
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import train_test_split
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows, is_benign = load_breast_cancer(return_X_y=True)
        order = np.arange(len(rows))
        trained, self.tested = train_test_split(order, test_size=0.4, random_state=1, stratify=is_benign)
        self.truth, radius = is_benign[self.tested], rows[self.tested, 0]
        third = np.searchsorted(np.quantile(radius, (1 / 3, 2 / 3)), radius)
        self.size = np.array(SIZES)[third]
        self.digest = hashlib.sha256(rows[self.tested].tobytes()).hexdigest()

        def predicted(columns: list[int]) -> Any:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            model.fit(rows[trained][:, columns], is_benign[trained])
            return model.predict_proba(rows[self.tested][:, columns])[:, 1]

        self.one_feature, self.all_features = predicted([0]), predicted(list(range(rows.shape[1])))

    def write(self, folder: Path, chances: Any) -> Evaluation:
        """Write the document and the losses of a model, and read the document as the gate does."""
        losses = -np.log(np.where(self.truth == 1, chances, 1 - chances).clip(1e-6))
        right = (chances >= 0.5) == (self.truth == 1)

        def measured(where: Any) -> dict[str, Any]:
            return {"accuracy": float(right[where].mean()), "log_loss": float(losses[where].mean())}

        everywhere = np.full(len(losses), fill_value=True)
        parts = {f"size={size}": self.size == size for size in SIZES}
        document = {
            "schema": 1,
            "metrics": measured(everywhere),
            "data": {"version": f"sha256:{self.digest}", "rows": len(losses)},
            "slices": {name: {"rows": int(part.sum()), "metrics": measured(part)} for name, part in parts.items()},
            "losses": {"path": "losses.csv", "column": "log_loss", "key": "patient"},
        }
        folder.mkdir()
        with (folder / "losses.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("patient", "log_loss"))
            writer.writerows(zip(self.tested.tolist(), losses.tolist(), strict=True))
        (folder / "evaluation.json").write_text(json.dumps(document))
        return Evaluation.parse((folder / "evaluation.json").read_bytes())

    def judge(self, folder: Path, challenger: Any, champion: Any, policy: Policy = POLICY) -> Verdict:
        ours, theirs = self.write(folder / "new", challenger), self.write(folder / "old", champion)
        files = [
            LossesFile(file=folder / name / "losses.csv", whose=name, column="log_loss", key="patient")
            for name in ("new", "old")
        ]
        found = interval(differences(*files), Resampling())
        of_rule = {"metric": "log_loss", "confidence": 0.95, "resamples": 1000, "seed": 0}
        told = Interval(estimate=found.mean, low=found.low, high=found.high, rows=found.rows, **of_rule)  # type: ignore[arg-type]
        return judge(policy, ours, theirs, now=NOW, intervals={"log_loss": told})


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    return Clinic()


def _failed(verdict: Verdict) -> list[str]:
    return sorted({finding.subject for finding in verdict.failed})


def test_a_model_of_all_features_replaces_one_of_a_single_feature(clinic: Clinic, tmp_path: Path) -> None:
    verdict = clinic.judge(tmp_path, clinic.all_features, clinic.one_feature)

    assert verdict.accepted, verdict.sentence
    (shown,) = (finding for finding in verdict.findings if finding.low is not None)
    assert shown.high is not None
    assert shown.high < 0


def test_the_other_way_round_it_does_not_and_each_reason_is_named(clinic: Clinic, tmp_path: Path) -> None:
    verdict = clinic.judge(tmp_path, clinic.one_feature, clinic.all_features)

    assert not verdict.accepted
    assert any(finding.low is not None and finding.low > 0 for finding in verdict.failed)
    assert len(verdict.failed) >= 3


def test_a_model_that_is_better_on_the_whole_and_guesses_on_small_tumours_is_rejected_for_them(
    clinic: Clinic, tmp_path: Path
) -> None:
    guessing = np.where(clinic.size == "small", 0.45, clinic.all_features)
    lenient = evolve(POLICY, intervals=(), thresholds=(), comparisons=(), slices=POLICY.slices)

    verdict = clinic.judge(tmp_path, guessing, clinic.one_feature, lenient)

    assert not verdict.accepted
    assert "small" in " ".join(finding.reason for finding in verdict.failed)


def test_the_same_model_once_more_is_a_tie_and_a_tie_replaces_nothing(clinic: Clinic, tmp_path: Path) -> None:
    verdict = clinic.judge(tmp_path, clinic.all_features, clinic.all_features)

    assert _failed(verdict) == ["log_loss"]
    assert "exactly the champion's" in verdict.sentence


def test_a_little_more_noise_in_the_predictions_is_no_improvement_that_the_rows_show(
    clinic: Clinic, tmp_path: Path
) -> None:
    noise = np.random.default_rng(3).normal(0, 1e-4, len(clinic.tested))
    almost = (clinic.all_features + noise).clip(1e-4, 1 - 1e-4)

    verdict = clinic.judge(tmp_path, almost, clinic.all_features)

    assert not verdict.accepted
    assert "log_loss" in _failed(verdict)
