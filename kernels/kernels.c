/* kernels/kernels.c: the table of kernels. */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/embedded.h"
#include "kernels/params.h"
#include "kernels/reference/reference.h"

#define LM_KERNEL(id, stem, reference, params, access, spec) \
    _Static_assert(sizeof(params) <= 128 && sizeof(params) % 4 == 0, "parameters of a kernel exceed a push constant");
#include "kernels/kernels.def"
#undef LM_KERNEL

static const lm_kernel kernels[LM_KERNEL_COUNT] = {
#define LM_KERNEL(id, stem, reference, params, access, spec) \
    [id] = {id, stem, reference, sizeof(params), sizeof(access) - 1, access, spec},
#include "kernels/kernels.def"
#undef LM_KERNEL
};

const lm_kernel *lm_kernel_get(lm_kernel_id id) { return (unsigned)id < LM_KERNEL_COUNT ? &kernels[id] : NULL; }

static const lm_embedded_kernel *find_embedded(lm_kernel_id id)
{
    for (const lm_embedded_kernel *e = lm_embedded_kernels; e->stem != NULL; e++)
        if (strcmp(e->stem, kernels[id].stem) == 0) return e;
    return NULL;
}

const char *lm_kernel_opencl_source(lm_kernel_id id)
{
    const lm_embedded_kernel *e = find_embedded(id);
    return e != NULL ? e->opencl_source : NULL;
}

const uint32_t *lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size)
{
    const lm_embedded_kernel *e = find_embedded(id);
    *size = e != NULL ? e->spirv[form].size : 0;
    return e != NULL ? e->spirv[form].words : NULL;
}
