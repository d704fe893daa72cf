"""What touches the world: one file per technology, each behind a Protocol of `ports.py`."""
