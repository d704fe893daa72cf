"""The test kit, shipped: builders, verified fakes, a clock, and the cluster simulation."""
