#!/bin/bash
# check-validation.sh BUILD_DIR [sync|gpu]: the test binary on lavapipe under the Khronos validation layer. Fails on any message,
# on any failed test, and where the layer was not there at all. Both parts unless one is named:
#
#     sync   core checks and synchronization, all tests
#     gpu    the same and GPU-assisted, whose pipelines compile for seconds each: every kernel at its small rows, and steps of
#            a language model
#
# The layer is turned on twice: by the library (LITEMAMBA_VALIDATE), whose messenger counts and logs, and by settings in the
# layer's own words, which reach its standard output even if the library's messenger would be deaf. Tests run one a process,
# JOBS at a time (as many as there are processors), those that match TESTS: TESTS=^kernels/rmsnorm.
set -euo pipefail
build=$(cd "$1" && pwd)
parts=${2:-sync gpu}
tests=$build/tests/litemamba_tests
log=$build/validation.log
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

icd=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -1 || true)
if [ -z "$icd" ]; then
    echo "check-validation: lavapipe is not installed"
    exit 1
fi
export VK_ICD_FILENAMES=$icd VK_DRIVER_FILES=$icd
export LITEMAMBA_TEST_VALIDATE=1 LITEMAMBA_REQUIRE=vulkan LITEMAMBA_TEST_DEVICE=vulkan

# settings PART FLAGS: the layer reads its settings from the working directory. Submits are checked against each other too.
settings() {
    local assisted=""
    if [ "$1" = gpu ]; then assisted=,VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT; fi
    mkdir -p "$folder/$1"
    cat >"$folder/$1/vk_layer_settings.txt" <<SETTINGS
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = $2
khronos_validation.log_filename = stdout
khronos_validation.enable_message_limit = false
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT$assisted
SETTINGS
}

validate_of() { if [ "$1" = gpu ]; then echo 1; else echo sync; fi; }

# Silence is worth something only from a layer that is there: with information turned on it says what it checks.
for part in $parts; do
    settings "$part" info
    active=$(cd "$folder/$part" && LITEMAMBA_VALIDATE=$(validate_of "$part") "$build/litemamba" devices 2>&1 |
        grep -a -A 3 'Khronos Validation Layer Active' || true)
    wanted=SYNCHRONIZATION_VALIDATION
    if [ "$part" = gpu ]; then wanted="$wanted GPU_ASSISTED"; fi
    for word in $wanted; do
        if ! echo "$active" | grep -q "$word"; then
            echo "check-validation: the layer is not there, or without $word"
            exit 1
        fi
    done
    settings "$part" error,warn,perf
done

# suite/test, from Criterion's tree. What uses no device has nothing to validate, and mutants are wrong on purpose.
"$tests" --list | awk '/^[a-z_0-9]+: / { sub(":.*", ""); suite = $0 } / [a-z_0-9]+$/ && /^[^a-z]/ { print suite "/" $NF }' |
    grep -v -E '^(comparer|files|mutants)/' | grep -E "${TESTS:-.}" >"$folder/names"
# The slow part first, that no long test is left to run alone at the end.
{
    if [[ $parts == *gpu* ]]; then sed -n -E '/^kernels\/|^limits\/fork$/s/^/gpu /p' "$folder/names"; fi
    if [[ $parts == *sync* ]]; then sed 's/^/sync /' "$folder/names"; fi
} >"$folder/jobs"

# run_test FOLDER TESTS PART NAME: leaves PART.NAME.txt and, with its exit code and seconds, PART.NAME.code.
run_test() {
    local code=0 start=$SECONDS out=$1/$3.${4/\//.}
    cd "$1/$3"
    if [ "$3" = gpu ]; then export LITEMAMBA_VALIDATE=1 LITEMAMBA_TEST_SMALL=1; else export LITEMAMBA_VALIDATE=sync; fi
    "$2" --verbose --jobs 1 --filter "$4" >"$out.txt" 2>&1 || code=$?
    echo "$code $((SECONDS - start)) $3 $4" >"$out.code"
}
export -f run_test
xargs -P "${JOBS:-$(nproc)}" -L 1 bash -c 'run_test "$@"' run_test "$folder" "$tests" <"$folder/jobs"

cat "$folder"/*.txt >"$log"
cat "$folder"/*.code | sort -k 2nr >"$build/validation.times"
messages=$(grep -a -c -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|Validation (Error|Warning|Performance)|vulkan validation ' "$log" || true)
if [ "$messages" -ne 0 ]; then
    { grep -a -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|vulkan validation ' "$log" || true; } | sort | uniq -c | sort -rn | cut -c1-400 |
        sed -n 1,20p
    echo "check-validation: $messages lines of messages; all of it in $log"
    exit 1
fi
# 77: nothing in it is for Vulkan, which cannot be true of a kernel.
failed=$(awk '$1 != 0 && ($1 != 77 || $4 ~ /^kernels/) { print $3, $4 ": exit code", $1 }' "$build/validation.times")
if [ -n "$failed" ] || [ "$(wc -l <"$build/validation.times")" -ne "$(wc -l <"$folder/jobs")" ]; then
    echo "$failed"
    grep -a -E '\[(FAIL|----)\]' "$log" | head -20 || true
    echo "check-validation: no message, but not every test passed; all of it in $log"
    exit 1
fi
for part in $parts; do
    echo "check-validation: $part: $(grep -c "^0 .* $part " "$build/validation.times") tests, no message"
done
