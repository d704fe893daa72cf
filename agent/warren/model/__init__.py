"""The vocabulary: what a user declares and what the cluster knows, as frozen dataclasses.

Every other package speaks in these types. Nothing here may read a clock, a file or a socket.
"""
