"""The only sockets of the provider."""
