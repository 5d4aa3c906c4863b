#!/bin/bash
# check-validation.sh BUILD_DIR: the whole test binary on lavapipe under the Khronos validation layer: core checks,
# synchronization, GPU-assisted. Fails on any message, on any failed test, and where the layer was not there at all.
#
# The layer is turned on twice: by the library (LITEMAMBA_VALIDATE), whose messenger counts and logs, and by settings in the
# layer's own words, which reach its standard output even if the library's messenger would be deaf.
set -euo pipefail
build=$(cd "$1" && pwd)
log=$build/validation.log
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

icd=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -1 || true)
if [ -z "$icd" ]; then
    echo "check-validation: lavapipe is not installed"
    exit 1
fi
export VK_ICD_FILENAMES=$icd VK_DRIVER_FILES=$icd
export LITEMAMBA_VALIDATE=1 LITEMAMBA_TEST_VALIDATE=1 LITEMAMBA_REQUIRE=vulkan LITEMAMBA_TEST_DEVICE=vulkan

# The layer reads its settings from the working directory. Submits are checked against each other too.
settings() {
    cat >"$folder/vk_layer_settings.txt" <<SETTINGS
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = $1
khronos_validation.log_filename = stdout
khronos_validation.enable_message_limit = false
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
SETTINGS
}
cd "$folder"

# Silence is worth something only from a layer that is there: with information turned on it says what it checks.
settings info
active=$("$build/litemamba" devices 2>&1 | grep -a -A 3 'Khronos Validation Layer Active' || true)
for part in SYNCHRONIZATION_VALIDATION GPU_ASSISTED; do
    if ! echo "$active" | grep -q $part; then
        echo "check-validation: the layer is not there, or without $part"
        exit 1
    fi
done

settings error,warn,perf
code=0
"$build/tests/litemamba_tests" --verbose --jobs "${JOBS:-$(nproc)}" ${TEST_ARGUMENTS:-} >"$log" 2>&1 || code=$?
cd "$build"
messages=$(grep -a -c -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|Validation (Error|Warning|Performance)|vulkan validation ' "$log" || true)
grep -a -E '^\[====\]' "$log" || tail -5 "$log"
if [ "$messages" -ne 0 ]; then
    { grep -a -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|vulkan validation ' "$log" || true; } | sort | uniq -c | sort -rn | cut -c1-400 |
        head -20
    echo "check-validation: $messages lines of messages; all of it in $log"
    exit 1
fi
if [ "$code" -ne 0 ]; then
    echo "check-validation: no message, but the tests gave exit code $code; all of it in $log"
    exit 1
fi
echo "check-validation: no message"
