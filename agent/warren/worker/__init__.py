"""The worker daemon: makes a host look like its assignment, and reports what is."""
