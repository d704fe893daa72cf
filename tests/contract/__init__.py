"""One suite per Protocol of `warren.drivers.ports`, run on the shipped fake and on the real driver.

The real ones need root and the packages of apt-packages.txt; without them the tests fail, and say
what to install. They run in network and mount namespaces of their own and leave nothing behind.
"""
