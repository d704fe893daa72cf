"""The manager daemon: control loops on the leader, the API, sessions with workers, the CA."""
