#!/usr/bin/env bash
# Puts promtool, which checks metrics, into target/promtool; does nothing if it is there. It is a part of Debian's
# package prometheus, which is unpacked only, not installed: no server is to start here.
set -euo pipefail
cd "$(dirname "$0")/.."
there=target/promtool

[ ! -x $there/usr/bin/promtool ] || exit 0
mkdir -p target
new=$(mktemp -d target/promtool.new.XXXXXX)
trap 'rm -rf "$new"' EXIT
# The warning is about a directory that apt's own user cannot write.
(cd "$new" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg -x ./*.deb unpacked)
mkdir -p "$new/usr/bin"
mv "$new/unpacked/usr/bin/promtool" "$new/usr/bin/"
rm -r "$new/unpacked" "$new"/*.deb
mv -T "$new" $there 2>/dev/null || [ -x $there/usr/bin/promtool ] # another run was first
