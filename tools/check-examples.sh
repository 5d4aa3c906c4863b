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
"$1/sessions" "$2/jargon-small-baseline" 100 "" 4 >"$folder/text"
if ! grep -q '^  allocated .* [+-]0\.[0-9]* %$' "$folder/text"; then
    echo "sessions: slots cost more than their bytes"
    cat "$folder/text"
    exit 1
fi
