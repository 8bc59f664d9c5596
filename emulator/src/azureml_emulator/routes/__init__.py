"""The routes, by the service that answers them."""
