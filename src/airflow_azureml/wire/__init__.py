"""Conversations with Azure: each verb is one generator that yields requests and is sent responses."""
