#!/bin/bash
# check-oclgrind.sh BUILD_DIR: every OpenCL kernel, at small shapes, under Oclgrind: out-of-bounds accesses, data races,
# uninitialised values, wrong API calls. Oclgrind interprets kernels, about a million multiply-adds a second, hence a
# program of its own instead of the test binary.
set -euo pipefail
build=$(cd "$1" && pwd)
program=$build/tests/oclgrind_kernels
log=$build/oclgrind.log
command -v oclgrind >/dev/null || { echo "check-oclgrind: oclgrind is not installed"; exit 1; }
[ -x "$program" ] || { echo "check-oclgrind: $program is not built"; exit 1; }

code=0
# --stop-errors: without it Oclgrind exits with 0 whatever it found.
oclgrind --data-races --uninitialized --check-api --stop-errors 1 "$program" >"$log" 2>&1 || code=$?
tail -3 "$log"
if [ $code -ne 0 ]; then
    grep -a -B 2 -A 12 -m 1 -E 'Invalid|Uninitialized|race|error' "$log" || true
    echo "check-oclgrind: exit code $code; all of it in $log"
    exit 1
fi
echo "check-oclgrind: nothing found"
