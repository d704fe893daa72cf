"""Decisions: pure functions from the state and an explicit `now` to commands. No I/O at all."""
