"""Engines that keep a replicated log by Raft."""
