#!/bin/bash
# check-sanitize.sh BUILD_DIR: builds everything with ASan and UBSan in BUILD_DIR and runs the whole test binary.
#
# OpenCL is PoCL alone: Mesa's Clover throws while it loads, which ends a program under ASan. Criterion runs each test in a
# process of its own, whose leaks would go unnoticed without abort_on_error.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
build=$(cd "$1" && pwd)
log=$build/sanitize.log
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLITEMAMBA_SANITIZE=address,undefined \
    ${CMAKE_FLAGS:-} >"$log"
cmake --build "$build"

# The ICD loader takes a folder of .icd files.
cp /etc/OpenCL/vendors/pocl.icd "$folder/"
export OCL_ICD_VENDORS=$folder/
export ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
# Without use_tls=0 the leak checker itself now and then dies of a driver's thread that is just being made ("Tracer caught
# signal 11").
export LSAN_OPTIONS=suppressions=$source/tests/lsan.supp:print_suppressions=0:use_tls=0

# Leaks are looked for at exit, when unloaded drivers can neither be searched for pointers nor be named in a suppression:
# they stay loaded.
cat >"$folder/keep.c" <<'SHIM'
int dlclose(void *handle);
int dlclose(void *handle) { return handle == 0; }
SHIM
"${CC:-cc}" -shared -fPIC -o "$folder/keep.so" "$folder/keep.c"
asan=$(ldd "$build/litemamba" | awk '/libasan/ { print $3 }')
preload="$asan $folder/keep.so"

code=0
LD_PRELOAD=$preload LITEMAMBA_REQUIRE=opencl,vulkan "$build/tests/litemamba_tests" --verbose --jobs "${JOBS:-$(nproc)}" \
    ${TEST_ARGUMENTS:-} >"$log" 2>&1 || code=$?
grep -a -E '^\[====\]' "$log" || tail -5 "$log"
if [ $code -ne 0 ] || grep -a -q -E 'runtime error|AddressSanitizer|LeakSanitizer' "$log"; then
    grep -a -A 15 -m 3 -E 'runtime error|ERROR: (Address|Leak)Sanitizer|\[FAIL\]|crashed' "$log" | head -80 || true
    echo "check-sanitize: exit code $code; all of it in $log"
    exit 1
fi

if ! LD_PRELOAD=$preload "$build/tests/litemamba_threads" >>"$log" 2>&1; then
    tail -40 "$log"
    echo "check-sanitize: litemamba_threads failed; all of it in $log"
    exit 1
fi

printf '#!/bin/sh\nLD_PRELOAD="%s" exec "%s" "$@"\n' "$preload" "$build/litemamba" >"$folder/litemamba"
chmod +x "$folder/litemamba"
"$source/tools/check-cli.sh" "$folder/litemamba" "$source/models"
echo "check-sanitize: nothing found"
