"""Every claim about speed: each measures us and the peer in the same run."""
