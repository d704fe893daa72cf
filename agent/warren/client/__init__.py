"""The synchronous client of the cluster API: finds a leader, authenticates, retries, waits."""
