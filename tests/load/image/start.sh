# shellcheck shell=sh
# Be the version that this image is. /run/sick fails the health check, /run/bad every request.
case $VERSION in
  crashes) echo "KeyError: DATABASE_URL" >&2 && exit 1 ;;
  never-healthy) : > /run/sick ;;
  turns-bad) { /busybox sleep "${BAD_AFTER:-20}" && : > /run/bad; } & ;;
esac
/busybox sed "s/@VERSION@/$VERSION/" /etc/nginx/nginx.conf > /run/nginx.conf
exec /usr/sbin/nginx -c /run/nginx.conf
