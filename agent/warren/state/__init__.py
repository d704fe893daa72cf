"""The replicated state as pure data: what it is, the commands that change it, what must hold.

`apply` is total and deterministic: same state and command, same result on every manager, for ever.
It reads no clock and makes no ids: the proposer puts both into the command.
"""
