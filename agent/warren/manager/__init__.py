"""The manager daemon: serves the API, leads or follows, and tells workers what to do.

Loops and handlers here carry data between the store, the deciders in `core/` and the network; what
should happen is decided in `core/` and `state/`.
"""
