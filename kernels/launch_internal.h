/* kernels/launch_internal.h: what the files that plan launches share: launch.c and launch_<family>.c. Internal.
 *
 * A plan is the specialisation constants and the grid of one dispatch. It follows from the device's class, its limits and the
 * sizes, unless the device's tuning table (kernels/tuning.h) says otherwise. */
#ifndef LM_LAUNCH_INTERNAL_H
#define LM_LAUNCH_INTERNAL_H

#include "kernels/launch.h"
#include "kernels/tuning.h"

/* What decides the mapping. */
typedef enum lm_launch_class {
    CLASS_GPU,       /* many lanes, shared memory is fast */
    CLASS_WIDE,      /* OpenCL on a processor: one lane a group, LANES floats side by side */
    CLASS_PROCESSOR, /* lanes vectorised by the driver (lavapipe): barriers are slow, small groups */
    CLASS_NATIVE,    /* `cpu`: one call a dispatch, which tiles and threads itself */
    CLASS_REFERENCE, /* plain C, one call a dispatch */
} lm_launch_class;

lm_launch_class lm_class_of(const lm_device_info *info);

typedef struct lm_launch {
    int32_t spec[LM_MAX_SPEC];
    uint32_t groups[3];
} lm_launch;

static inline uint32_t lm_ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }
static inline uint32_t lm_min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Sums of so few terms are left whole, in products and in steps, so that all add in the same order. */
enum { LM_SHORT_DEPTH = 128 };

/* The smallest power of two that holds n, at most `limit`, which is one. */
static inline uint32_t lm_power_of_2(uint32_t n, uint32_t limit)
{
    uint32_t p = 1;
    while (p < n && p < limit) p *= 2;
    return p;
}

/* native_exp2 and GLSL's exp2 promise little; on GPUs of some makers they are one instruction, good to 2 ULP. */
bool lm_has_good_exp2(const lm_device_info *info);

/* Compute units, with a guess where the driver does not say. */
uint32_t lm_units_of(const lm_device_info *info);

/* The largest power of two up to `wanted` lanes along x, with `other` lanes along y, that the device allows. */
uint32_t lm_fit_lanes(const lm_device_info *info, uint32_t wanted, uint32_t other);

/* Lanes of a group for kernels without shared memory whose x tiles are columns. */
uint32_t lm_column_lanes(const lm_device_info *info, uint32_t columns);

/* The *_texel kernels are for this device. */
static inline bool lm_reads_texels(const lm_device_info *info)
{
    return lm_class_of(info) == CLASS_PROCESSOR && (info->capabilities & LM_CAP_TEXELS) != 0;
}

/* One group a tile, within the device's limits. */
void lm_set_groups(lm_launch *l, const lm_device_info *info, uint32_t x, uint32_t y, uint32_t z);

/* llvmpipe (under lavapipe and rusticl) ends the loops of a lane after 65535 iterations in all, without a word. */
lm_status lm_check_loops(lm_list *list, const char *what, uint64_t iterations);

lm_status lm_launch_dispatch(lm_list *list, lm_kernel_id kernel, const lm_launch *l, const void *params, size_t params_size,
                             const lm_view *views, size_t view_count);

#endif
