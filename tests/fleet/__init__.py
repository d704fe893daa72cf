"""The local fleet: test and demo hosts on one machine, made with systemd-nspawn, reached by ssh.

`make demo`, molecule and the fleet tests all use this package, through `python3 -m tests.fleet`.
It needs nothing but Python's standard library and the packages in `apt-packages.txt`, because it
runs before any virtual environment exists. It knows nothing about Warren itself: it makes hosts,
and never installs anything on them.
"""
