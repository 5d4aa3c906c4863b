#!/bin/sh
# check-examples.sh BINARY_DIR MODELS_DIR: the examples run, on the best device.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1/hello" "$2/jargon-small-baseline" >"$folder/text"
size=$(wc -c <"$folder/text")
if [ "$size" -ne 200 ]; then
    echo "hello printed $size bytes, not 200"
    exit 1
fi
"$1/stream" "$folder/block"
