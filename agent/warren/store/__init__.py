"""The replicated store: a log that managers agree on, and the state that it makes.

`log.py` is the interface of the engine; `raft/` holds engines; `store.py` is what managers use.
"""
