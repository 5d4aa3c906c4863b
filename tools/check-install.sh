#!/bin/sh
# check-install.sh SOURCE_DIR BUILD_DIR CC PREFIX: what is installed is complete: an example builds against it with
# pkg-config alone, and the installed command finds its library and its model.
set -eu
source=$1 build=$2 cc=$3 prefix=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
DESTDIR="$folder" cmake --install "$build" >/dev/null
root=$folder$prefix
pc=$(find "$folder" -name litemamba.pc)
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$folder"
libdir=$(dirname "${pc%/*}")
# shellcheck disable=SC2046 # several words
"$cc" -std=c11 -o "$folder/hello" "$source/examples/hello.c" $(pkg-config --cflags --libs litemamba) -Wl,-rpath,"$libdir"
"$folder/hello" "$root/share/litemamba/models/jargon" >"$folder/text"
[ "$(wc -c <"$folder/text")" -eq 200 ]
"$root/bin/litemamba" --version
"$root/bin/litemamba" info "$root/share/litemamba/models/jargon" | grep -q '^variant  *ptcn$'
