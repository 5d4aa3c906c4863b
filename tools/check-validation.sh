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

# Does the loader find the layer and put it in?
if ! VK_LOADER_DEBUG=layer "$build/litemamba" devices 2>&1 | grep -q 'VK_LAYER_KHRONOS_validation'; then
    echo "check-validation: the validation layer is not loaded"
    exit 1
fi

# The layer reads its settings from the working directory. Submits are checked against each other too.
cat >"$folder/vk_layer_settings.txt" <<'SETTINGS'
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,perf
khronos_validation.log_filename = stdout
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT,VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
khronos_validation.enable_message_limit = false
SETTINGS

cd "$folder"
code=0
"$build/tests/litemamba_tests" --jobs "${JOBS:-$(nproc)}" ${TEST_ARGUMENTS:-} >"$log" 2>&1 || code=$?
cd "$build"
messages=$(grep -a -c -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|Validation (Error|Warning|Performance)|vulkan validation ' "$log" || true)
grep -a -E '^\[====\]' "$log" || tail -5 "$log"
if [ "$code" -ne 0 ] || [ "$messages" -ne 0 ]; then
    grep -a -E 'VUID-|UNASSIGNED-|SYNC-HAZARD|vulkan validation ' "$log" | sort | uniq -c | sort -rn | cut -c1-400 | head -20
    echo "check-validation: exit code $code, $messages messages; all of it in $log"
    exit 1
fi
echo "check-validation: no message"
