"""The wire: schema (`warren.proto`), generated code, and the one converter to the vocabulary."""
