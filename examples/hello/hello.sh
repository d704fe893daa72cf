# shellcheck shell=sh
# Serves one page that says which task answered. catatonit is process 1, so that signals work.
busybox mkdir -p /www
echo "hello from $(busybox hostname), version ${VERSION}" > /www/index.html
echo ok > /www/healthz
echo "serving on port ${PORT:-8080}"
exec busybox httpd -f -p "${PORT:-8080}" -h /www
