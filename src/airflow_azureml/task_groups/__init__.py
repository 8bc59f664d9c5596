"""Task groups: what takes several tasks, as one call in a DAG."""
