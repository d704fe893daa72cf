"""Load on services of a real cluster, and what became of every request."""
