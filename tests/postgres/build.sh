#!/bin/sh
# Build the image of PostgreSQL and push it: tests/postgres/build.sh REGISTRY
# The server and every library that it needs are taken out of their Debian packages, of this machine's
# release, and not installed: installed, it would also run here. What they come to is kept in the cache.
set -eu
registry=$1
here=$(cd "$(dirname "$0")" && pwd)
cache=${WARREN_CACHE:-/var/cache/warren}/postgres
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

server=$(apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
major=${server#postgresql-}
version=$(apt-cache policy "$server" | sed -n 's/^ *Candidate: //p')
kept=$cache/$version-$(sha256sum "$0" | cut -c 1-12).tar

extract() { # extract DIRECTORY PACKAGE…
  into=$1
  shift
  mkdir -p "$into" "$work/packages"
  chmod 0755 "$work"
  chmod 0777 "$work/packages"
  for package; do
    (cd "$work/packages" && apt-get -qq download "$package" && dpkg-deb --extract "$package"_*.deb "$into")
  done
}

make_root() {
  # Only libraries: no package is configured. LLVM, the largest, is for a compiler that is off; the C
  # library is this machine's, as its loader is.
  libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$server" "postgresql-client-$major" \
    | grep '^lib' | grep -v -e '^libllvm' -e '^libc6' -e '^libc-' -e perl -e ':' | sort -u)
  extract "$work/server" "$server" "postgresql-client-$major"
  # shellcheck disable=SC2086 # a list of words
  extract "$work/libraries" $libraries
  root=$work/root
  programs=$root/usr/lib/postgresql/$major
  mkdir -p "$programs/bin" "$root/usr/share/postgresql" "$root/bin" "$root/etc" "$root/tmp" "$root/data" "$root/base"
  for name in postgres initdb psql pg_ctl pg_basebackup pg_isready pg_dump; do
    cp "$work/server/usr/lib/postgresql/$major/bin/$name" "$programs/bin/"
  done
  cp -r "$work/server/usr/lib/postgresql/$major/lib" "$programs/lib"
  rm -rf "$programs/lib/bitcode" "$programs/lib"/llvmjit*
  cp -r "$work/server/usr/share/postgresql/$major" "$root/usr/share/postgresql/$major"
  rm -rf "$root/usr/share/postgresql/$major/man"
  paths=$(find "$work/libraries" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
  find "$programs" -type f \( -perm -u+x -o -name '*.so' \) \
    -exec env LD_LIBRARY_PATH="$paths" ldd {} + > "$work/needed" 2> /dev/null || true
  if grep 'not found' "$work/needed" >&2; then return 1; fi
  awk '/=> \//{print $3} $1 ~ /^\/.*[^:]$/{print $1}' "$work/needed" | sort -u | while read -r library; do
    target=$root${library#"$work/libraries"}
    mkdir -p "$(dirname "$target")"
    cp --dereference "$library" "$target"
  done
  cp "$(command -v busybox)" "$root/bin/busybox"
  for name in sh cat cp grep ls mkdir mv rm sleep stat; do ln -s busybox "$root/bin/$name"; done
  printf 'root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\n' > "$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:70:\n' > "$root/etc/group"
  chmod 1777 "$root/tmp"
  mkdir -p "$cache"
  rm -f "$cache"/*.tar
  tar --create --file="$kept.part" --directory="$root" .
  mv "$kept.part" "$kept"
}

[ -s "$kept" ] || make_root
rm -rf "$work/root"
mkdir "$work/root"
tar --extract --same-permissions --file="$kept" --directory="$work/root"
cp "$here/Containerfile" "$here/start.sh" "$work/"
chmod 0755 "$work" "$work/start.sh"
storage="--root $work/storage --runroot $work/run --storage-driver vfs"
# shellcheck disable=SC2086 # the storage options are several words
buildah $storage build --quiet --isolation chroot --timestamp 0 --build-arg "MAJOR=$major" \
  --tag "$registry/postgres:1" "$work" > /dev/null
# shellcheck disable=SC2086
buildah $storage push --quiet --tls-verify=false "$registry/postgres:1"
echo "$registry/postgres:1"
