/* kernels/cpu/blas.c: see blas.h. */
#include "kernels/cpu/blas.h"

#include <dlfcn.h>
#include <pthread.h>

#include "kernels/params.h"

/* cblas_sgemm, as it is in cblas.h with 32-bit sizes. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
typedef void (*sgemm_function)(int order, int a_trans, int b_trans, int m, int n, int k, float alpha, const float *a, int lda,
                               const float *b, int ldb, float beta, float *c, int ldc);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static sgemm_function sgemm;

/* Never unloaded: it has threads. */
static void load(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) *(void **)&sgemm = dlsym(library, "cblas_sgemm");
}

/* Multiply-adds from which it wins by more than it takes to call it. */
static const uint64_t worth = UINT64_C(1) << 25;

bool lm_cpu_blas_takes(const lm_cpu_call *call)
{
    const lm_gemm_params *p = call->params;
    if (p->rows < 32 || p->cols < 32 || (uint64_t)p->rows * (uint64_t)p->cols * (uint64_t)p->depth < worth) return false;
    /* The residual is added last; where it is C itself, BLAS adds to it. */
    if ((p->flags & LM_GEMM_RESIDUAL) && (p->flags & LM_GEMM_SOFTPLUS) && call->buffers[3] == call->buffers[4]) return false;
    pthread_once(&once, load);
    return sgemm != NULL;
}

static uint32_t one_part(const lm_cpu_call *call)
{
    (void)call;
    return 1;
}

static void run(const lm_cpu_call *call, uint32_t part)
{
    (void)part;
    const lm_gemm_params *p = call->params;
    const bool adds = (p->flags & LM_GEMM_RESIDUAL) && call->buffers[3] == call->buffers[4];
    sgemm(ROW_MAJOR, NO_TRANS, call->spec[3] ? TRANS : NO_TRANS, p->rows, p->cols, p->depth, 1.0f,
          (const float *)call->buffers[0] + p->a_offset, p->lda, call->buffers[1], p->ldb, adds ? 1.0f : 0.0f,
          (float *)call->buffers[4] + p->c_offset, p->ldc);
}

const lm_cpu_kernel lm_cpu_blas = {one_part, run};
