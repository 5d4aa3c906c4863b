/* kernels/tuning.c: the knobs by name, and what is known of families of devices. */
#include "kernels/tuning.h"

#include <string.h>
#include <strings.h>

/* ---- knobs ------------------------------------------------------------------------------------------------------ */

#define LM_KNOB(id, name, what, ...) \
    _Static_assert(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t) <= LM_KNOB_CANDIDATES, "too many candidates");
#include "kernels/tuning.def"
#undef LM_KNOB
_Static_assert((int)LM_KNOB_COUNT <= (int)LM_MAX_KNOBS, "too many knobs");

static const lm_knob_info knobs[LM_KNOB_COUNT + 1] = {
#define LM_KNOB(id, name, what, ...) [id] = {name, what, {__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)},
#include "kernels/tuning.def"
#undef LM_KNOB
};

const lm_knob_info *lm_knob_get(lm_knob knob) { return &knobs[knob]; }

bool lm_knob_find(const char *name, lm_knob *knob)
{
    for (int i = 0; i < LM_KNOB_COUNT; i++) {
        if (strcmp(name, knobs[i].name) != 0) continue;
        *knob = (lm_knob)i;
        return true;
    }
    return false;
}

bool lm_knob_set(lm_device *device, lm_knob knob, int32_t value)
{
    bool known = value == 0;
    for (size_t i = 0; i < knobs[knob].count && !known; i++) known = knobs[knob].candidates[i] == value;
    if (known) device->tuning[knob] = value;
    return known;
}

/* ---- families --------------------------------------------------------------------------------------------------- */

static bool contains(const char *text, const char *part)
{
    for (; *text != '\0'; text++)
        if (strncasecmp(text, part, strlen(part)) == 0) return true;
    return false;
}

lm_device_family lm_family_of(const lm_device_info *info)
{
    if (info->backend == LM_BACKEND_OPENCL && contains(info->driver, "Portable Computing Language")) return LM_FAMILY_POCL;
    if (contains(info->name, "llvmpipe") || contains(info->driver, "llvmpipe")) return LM_FAMILY_LLVMPIPE;
    switch (info->vendor_id) { /* PCI's */
    case 0x10de: return LM_FAMILY_NVIDIA;
    case 0x1002: return LM_FAMILY_AMD;
    case 0x8086: return LM_FAMILY_INTEL;
    case 0x13b5: return LM_FAMILY_ARM;
    case 0x5143: return LM_FAMILY_QUALCOMM;
    default: return LM_FAMILY_OTHER;
    }
}

/* What was measured to be better than the rule (docs/performance.md says where). A family without a row, and a device of none,
 * gets the rules, which ask only for what a device says it can do; `litemamba tune` finds out more on the spot. */
typedef struct family_row {
    lm_device_family family;
    lm_backend backend;
    lm_knob knob;
    int32_t value;
} family_row;

static const family_row family_rows[] = {
    {LM_FAMILY_OTHER, LM_BACKEND_CPU, LM_KNOB_COUNT, 0}, /* ends the table */
};

void lm_tuning_defaults(lm_device *device)
{
    const lm_device_family family = lm_family_of(&device->info);
    for (const family_row *row = family_rows; row->knob != LM_KNOB_COUNT; row++)
        if (row->family == family && row->backend == device->info.backend) lm_knob_set(device, row->knob, row->value);
}
