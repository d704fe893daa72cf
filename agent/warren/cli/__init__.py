"""The command `warren` (alias `wrn`): one file per noun, over `warren.client`.

Imports of the client, and with it of gRPC, wait until a command needs them: completion must be
quick, and `--help` may not fail on a broken installation.
"""
