"""Waits that live in the triggerer."""
