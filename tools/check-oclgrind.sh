#!/bin/bash
# check-oclgrind.sh BUILD_DIR: every OpenCL kernel, at small shapes, under Oclgrind: out-of-bounds accesses, data races,
# uninitialised values, wrong API calls. Oclgrind interprets kernels, about a million multiply-adds a second, hence a
# program of its own instead of the test binary.
#
# Oclgrind is installed as an OpenCL driver, the only one, and set by environment: its command `oclgrind` preloads an OpenCL
# library instead, which a program that loads OpenCL at run time does not see. It exits with 0 whatever it found, so that
# anything in its log is a failure.
set -euo pipefail
build=$(cd "$1" && pwd)
program=$build/tests/oclgrind_kernels
output=$build/oclgrind.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
driver=$(find /usr/lib /usr/local/lib -name liboclgrind-rt-icd.so -print -quit 2>/dev/null || true)
[ -n "$driver" ] || { echo "check-oclgrind: Oclgrind is not installed"; exit 1; }
[ -x "$program" ] || { echo "check-oclgrind: $program is not built"; exit 1; }

# The ICD loader takes a folder of .icd files.
echo "$driver" >"$folder/oclgrind.icd"
export OCL_ICD_VENDORS=$folder/
export OCLGRIND_LOG=$build/oclgrind.log
export OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=1 OCLGRIND_CHECK_API=1
rm -f "$OCLGRIND_LOG"

code=0
"$program" >"$output" 2>&1 || code=$?
tail -1 "$output"
if ! grep -q 'Oclgrind Simulator' "$output" || [ ! -e "$OCLGRIND_LOG" ]; then
    echo "check-oclgrind: the kernels did not run on Oclgrind; output in $output"
    exit 1
fi
if [ -s "$OCLGRIND_LOG" ]; then
    head -40 "$OCLGRIND_LOG"
    echo "check-oclgrind: all of it in $OCLGRIND_LOG"
    exit 1
fi
if [ $code -ne 0 ]; then
    grep -a FAILED "$output" || true
    echo "check-oclgrind: exit code $code; output in $output"
    exit 1
fi
echo "check-oclgrind: nothing found"
