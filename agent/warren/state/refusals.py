"""How `apply` ends the handling of one command that cannot be carried out."""


class Refusal(Exception):
    """Caught by `apply` alone. `reason` is the name of a class in `model.errors`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
