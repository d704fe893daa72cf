"""The engine on pysyncobj. One module here alone imports it."""
