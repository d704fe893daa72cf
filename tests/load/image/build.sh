#!/bin/sh
# Build the web server of the load tests and push it: tests/load/image/build.sh REGISTRY [VERSION…]
# Versions `crashes`, `never-healthy` and `turns-bad` are what they are called (start.sh); all others,
# by default 1 alone, are good and differ in what they answer.
# nginx is taken out of its Debian package, and not installed: it would also run on this machine.
set -eu
registry=$1
shift
[ $# -gt 0 ] || set -- 1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/Containerfile" "$here/nginx.conf" "$here/start.sh" "$work/"
chmod 0755 "$work" "$work/start.sh"
mkdir -p "$work/packages" "$work/root/www" "$work/root/run" "$work/root/etc" "$work/root/var/log/nginx"
(cd "$work/packages" && chmod 0777 . && apt-get -qq download nginx)
dpkg-deb --extract "$work"/packages/nginx_*.deb "$work/unpacked"
binary=$work/unpacked/usr/sbin/nginx
mkdir -p "$work/root/usr/sbin"
cp "$binary" "$work/root/usr/sbin/nginx"
ldd "$binary" | awk '/=> \//{print $3} $1 ~ /^\//{print $1}' | while read -r library; do
  mkdir -p "$work/root$(dirname "$library")"
  cp --dereference "$library" "$work/root$library"
done
cp "$(command -v busybox)" "$work/root/busybox"
printf 'root:x:0:0::/:/busybox\nnobody:x:65534:65534::/:/busybox\n' > "$work/root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$work/root/etc/group"
head -c 1048576 /dev/zero > "$work/root/www/large"
storage="--root $work/storage --runroot $work/run --storage-driver vfs"
for version; do
  # shellcheck disable=SC2086 # the storage options are several words
  buildah $storage build --quiet --isolation chroot --timestamp 0 --build-arg "VERSION=$version" \
    --tag "$registry/web:$version" "$work" > /dev/null
  # shellcheck disable=SC2086
  buildah $storage push --quiet --tls-verify=false "$registry/web:$version"
  echo "$registry/web:$version"
done
