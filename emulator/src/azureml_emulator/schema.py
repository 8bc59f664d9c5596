"""The tables of the emulator's database."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    number INTEGER PRIMARY KEY AUTOINCREMENT, arm_id TEXT NOT NULL UNIQUE, parent TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS resources_parent ON resources (parent);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, workspace_key TEXT NOT NULL, name TEXT NOT NULL, parent TEXT,
    endpoint TEXT, kind TEXT NOT NULL, status TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (workspace_key, name));
CREATE INDEX IF NOT EXISTS runs_parent ON runs (workspace_key, parent);
CREATE INDEX IF NOT EXISTS runs_endpoint ON runs (workspace_key, endpoint);
CREATE INDEX IF NOT EXISTS runs_status ON runs (status);
CREATE INDEX IF NOT EXISTS runs_listed ON runs (workspace_key) WHERE kind <> 'Step';
CREATE TABLE IF NOT EXISTS scripts (digest TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (
    number INTEGER PRIMARY KEY AUTOINCREMENT, workspace_key TEXT NOT NULL, run TEXT NOT NULL, key TEXT NOT NULL,
    value REAL, text TEXT, timestamp_ms INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS metrics_run ON metrics (workspace_key, run, number);
CREATE TABLE IF NOT EXISTS params (
    workspace_key TEXT NOT NULL, run TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (workspace_key, run, key));
"""
