"""How a host becomes a member: create a cluster, join one, and the files that say so."""
