"""The one error of this package: it carries the line that the user will read.

Raised wherever the fleet cannot go on; `__main__` prints it and exits with 1.
"""


class FleetError(Exception):
    """A sentence that names the host or the argument at fault, and what to do about it."""
