"""pysyncobj as its authors release it, in the same simulation, to show what our engine is for."""
