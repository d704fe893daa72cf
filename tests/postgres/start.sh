# shellcheck shell=sh
# Make the data directory, unless there is one, and serve it on a socket in /tmp.
set -eu
if [ ! -s "$PGDATA/global/pg_control" ]; then
  initdb --auth=trust --encoding=UTF8 --locale=C --username=postgres
fi
exec postgres -c jit=off -c listen_addresses= -c unix_socket_directories=/tmp \
  -c shared_buffers=16MB -c max_connections=20
