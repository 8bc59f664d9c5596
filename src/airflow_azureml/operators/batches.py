"""The tasks of which `airflow_azureml.task_groups.arrivals.score_arrivals` is made."""

from airflow_azureml.operators.claim_batches import AzureMLClaimBatchesOperator
from airflow_azureml.operators.report_batches import AzureMLMoreBatchesOperator, AzureMLReportBatchesOperator
from airflow_azureml.operators.score_batch import AzureMLScoreBatchOperator

__all__ = [
    "AzureMLClaimBatchesOperator",
    "AzureMLMoreBatchesOperator",
    "AzureMLReportBatchesOperator",
    "AzureMLScoreBatchOperator",
]
