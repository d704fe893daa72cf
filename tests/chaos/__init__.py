"""Faults on the managers of a real cluster, while clients write, read, and remember every answer.

`make chaos` runs it (`python3 -m tests.chaos`). `plan` says which faults come, `faults` makes them,
`registers` are the clients, `checks` is the verdict and `figures` the table; `cluster` makes the
hosts, and `calm` waits for elections that nobody caused.
"""
