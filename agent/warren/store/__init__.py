"""The replicated store: a log behind an engine interface, and the state that it builds."""
