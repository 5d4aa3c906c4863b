#!/bin/sh
# check-exports.sh LIBRARY: the shared library exports lm_* and nothing else, and needs neither OpenCL nor Vulkan to load.
set -eu
symbols=$(nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $NF); print $NF }')
others=$(echo "$symbols" | grep -v '^lm_' || true)
if [ -n "$others" ]; then
    echo "exported but not lm_*: $others"
    exit 1
fi
count=$(echo "$symbols" | grep -c '^lm_')
if [ "$count" -lt 20 ]; then
    echo "only $count symbols are exported"
    exit 1
fi
if readelf -d "$1" | grep NEEDED | grep -i -E 'opencl|vulkan'; then
    echo "linked against a loader that is to be loaded at run time"
    exit 1
fi
echo "$count symbols, all lm_*"
