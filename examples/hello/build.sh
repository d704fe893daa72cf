#!/bin/sh
# Build the example image and push it: examples/hello/build.sh REGISTRY [VERSION]
# Needs buildah, busybox-static and catatonit. The same content is pushed under the same digest.
set -eu
registry=$1
version=${2:-1}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/Containerfile" "$here/hello.sh" "$work/"
cp "$(command -v busybox)" "$work/busybox"
cp "$(command -v catatonit)" "$work/catatonit"
chmod 0755 "$work/busybox" "$work/catatonit"
storage="--root $work/storage --runroot $work/run --storage-driver vfs"
# shellcheck disable=SC2086 # the storage options are several words
buildah $storage build --quiet --isolation chroot --timestamp 0 --build-arg "VERSION=$version" \
  --tag "$registry/hello:$version" "$work" >/dev/null
# shellcheck disable=SC2086
buildah $storage push --quiet --tls-verify=false "$registry/hello:$version"
echo "$registry/hello:$version"
