/* bench/probes.c: puts the probes behind the library's kernels. */
#include "bench/probes.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/embedded.h"

extern const lm_embedded_kernel bench_probes[];

#define PROBE(number, name, bindings) \
    {.id = (lm_kernel_id)(number), .stem = (name), .params_size = sizeof(lm_probe_params), \
     .binding_count = sizeof(bindings) - 1, .access = (bindings), .spec = "WG_X,WG_Y,LANES"}
static const lm_kernel probes[PROBE_END - LM_KERNEL_COUNT] = {
    PROBE(PROBE_COPY, "probe_copy", "rw"),
    PROBE(PROBE_FMA, "probe_fma", "w"),
    PROBE(PROBE_EXP2, "probe_exp2", "w"),
    PROBE(PROBE_TOUCH, "probe_touch", "x"),
};

const lm_kernel *__real_lm_kernel_get(lm_kernel_id id);
const lm_kernel *__wrap_lm_kernel_get(lm_kernel_id id);
const char *__real_lm_kernel_opencl_source(lm_kernel_id id);
const char *__wrap_lm_kernel_opencl_source(lm_kernel_id id);
const uint32_t *__real_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size);
const uint32_t *__wrap_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size);

static bool is_probe(lm_kernel_id id) { return (int)id >= LM_KERNEL_COUNT && (int)id < PROBE_END; }

const lm_kernel *__wrap_lm_kernel_get(lm_kernel_id id)
{
    return is_probe(id) ? &probes[(int)id - LM_KERNEL_COUNT] : __real_lm_kernel_get(id);
}

static const lm_embedded_kernel *embedded(lm_kernel_id id)
{
    const lm_embedded_kernel *e = bench_probes;
    while (strcmp(e->stem, probes[(int)id - LM_KERNEL_COUNT].stem) != 0) e++; /* all are there */
    return e;
}

const char *__wrap_lm_kernel_opencl_source(lm_kernel_id id)
{
    return is_probe(id) ? embedded(id)->opencl_source : __real_lm_kernel_opencl_source(id);
}

const uint32_t *__wrap_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size)
{
    if (!is_probe(id)) return __real_lm_kernel_spirv(id, form, size);
    *size = embedded(id)->spirv[form].size;
    return embedded(id)->spirv[form].words;
}
