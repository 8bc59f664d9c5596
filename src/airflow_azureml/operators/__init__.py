"""Operators: Airflow in, a decision, a conversation, Airflow out."""
