"""Sensors: waiting for what somebody else started, registered or published."""
