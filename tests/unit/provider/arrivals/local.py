"""A connection for what is on this machine."""

from __future__ import annotations

from airflow_azureml.core.workspace import ConnectionSettings

SETTINGS = ConnectionSettings.parse(
    {
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "local",
        "workspace": "local",
        "authentication": "emulator",
        "endpoint": "http://127.0.0.1:1",
    },
    conn_id="test",
)
