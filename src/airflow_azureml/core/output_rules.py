"""How alike the outputs of two deployments must be that have scored the same."""

from attrs import field, frozen

from airflow_azureml.core.data_tests import EVERY, Distribution, Drift

#: What is asked where nobody says: every column is distributed as before, within a population stability index of 0.2.
ALIKE = Distribution(columns={EVERY: Drift(psi=0.2)}, rows_at_least=1)


@frozen(kw_only=True)
class OutputRules:
    """How alike two outputs must be. Both must have the same columns and as many rows, in any case.

    Attributes:
        key: Columns that name a row, by which rows are matched; each row then needs a partner. None to match nothing,
            and compare the distributions alone.
        tolerance: Numbers that are no further apart count as the same.
        changed_at_most: The greatest share of matched rows, 0 to 1, in which a column may differ; None for any. It
            needs ``key``.
        distribution: How alike the columns must be distributed; None where nothing of it is asked.
    """

    key: tuple[str, ...] = field(default=(), converter=tuple[str, ...])
    tolerance: float = 0.0
    changed_at_most: float | None = None
    distribution: Distribution | None = ALIKE

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        share, wrong = self.changed_at_most, []
        if share is not None and not self.key:
            wrong.append("changed_at_most needs key, by which rows are matched")
        if share is not None and not 0 <= share <= 1:
            wrong.append(f"changed_at_most is {share}, not a share from 0 to 1")
        if not self.tolerance >= 0:
            wrong.append(f"tolerance is {self.tolerance}, less than 0")
        if share is None and self.distribution is None:
            wrong.append("neither changed_at_most nor distribution asks for anything")
        return wrong
