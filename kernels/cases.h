/* kernels/cases.h: rows of shapes and inputs for every kernel, shared by lm_verify, the tests and the bench. Internal.
 *
 * A row makes an lm_case: parameters, the content of every binding before the run, how to record the kernel on a list, and
 * how the reference computes the same. Elements that no kernel may read hold LM_CASE_POISON, a NaN; so do outputs before the
 * run. What the reference leaves poisoned, a kernel has to leave alone, bit for bit. check.h runs cases.
 *
 * cases_gemm.c, cases_conv.c, cases_scan.c, cases_state.c, cases_step.c, cases_rows.c: a family of rows each.
 */
#ifndef LM_CASES_H
#define LM_CASES_H

#include "kernels/launch.h"

/* A quiet NaN that no arithmetic makes. */
#define LM_CASE_POISON 0x7fc0deadu

enum {
    LM_CASE_QUICK = 1 << 0, /* part of lm_verify */
    LM_CASE_SMALL = 1 << 1, /* below some 20,000 multiply-adds, for emulators */
    LM_CASE_LARGE = 1 << 2, /* worth timing; above some ten million multiply-adds */
};

enum { LM_CASE_MAX_BUFFERS = 11, LM_CASE_PARTS = 3 };

/* Content of one view of the launch function, in host memory. */
typedef struct lm_case_buffer {
    const char *name;
    uint32_t *words;    /* float32 or int32 before the run, NULL where the view is absent */
    size_t count;
    int shared;         /* >= 0: the same view as that buffer; words is NULL. Else -1 */
    bool written;       /* the kernel may change it; else it must come back bit for bit */
    bool integer;       /* compared exactly */
    bool elementwise;   /* error relative to each element instead of the largest one */
    double tolerance;
    double scale;       /* the size that results typically have: errors are relative to max(max|reference|, scale), so that
                         * a single result that cancels to nearly nothing is not held to digits that its terms do not have */
} lm_case_buffer;

/* Which elements of a buffer a part of its case has (lm_case_part): element i·piece + j is first + i·step + j of the whole. */
typedef struct lm_case_cut {
    size_t first, step, pieces, piece;
} lm_case_cut;

typedef struct lm_case lm_case;
struct lm_case {
    char name[200];
    lm_kernel_id kernel; /* the row of kernels.def that is tested */
    unsigned flags;      /* LM_CASE_... */
    lm_case_buffer buffers[LM_CASE_MAX_BUFFERS]; /* in the order in which record() wants views */
    size_t buffer_count;
    union {
        lm_gemm_params gemm;
        lm_conv_params conv;
        lm_scan_params scan;
        lm_state_copy_params state_copy;
        lm_step_in_params step_in;
        lm_step_scan_params step_scan;
        lm_step_out_params step_out;
        lm_rmsnorm_params rmsnorm;
        lm_embed_params embed;
        lm_argmax_params argmax;
        lm_cross_entropy_params cross_entropy;
    } params;
    int32_t spec[LM_MAX_SPEC]; /* what the reference wants to know: B_TRANS, STATES */
    double work;               /* multiply-adds, or elements moved where there are none */
    bool failed;               /* memory was short while it was made */
    lm_status (*record)(const lm_case *c, lm_list *list, const lm_view *views);
    /* `buffers` holds copies of the content, a dummy where absent. */
    void (*reference)(const lm_case *c, void *const *buffers);
    /* Sets part's params and spec to those of part `index`, 0 … LM_CASE_PARTS-1, and `cuts` for every buffer that is there. NULL:
     * this case has no parts. */
    void (*cut)(const lm_case *c, unsigned index, lm_case *part, lm_case_cut *cuts);
};

/* How many rows a kernel has; what a row is for. */
size_t lm_case_count(lm_kernel_id kernel);
unsigned lm_case_flags(lm_kernel_id kernel, size_t index);

/* Makes row `index` with random inputs from `seed`. The device only decides how planned scans are cut. */
lm_status lm_case_create(const lm_device *device, lm_kernel_id kernel, size_t index, uint64_t seed, lm_case **c);
void lm_case_destroy(lm_case **c);

/* Makes a case of any size, for timing: `shape` is "B=8 L=2048 Di=2048 N=16" for the scans, "B=8 L=2048 Di=2048 K=3 m=4" for conv
 * and conv_state (m branches), "M=8192 N=8192 K=8192" for gemm and gemv (T=1: B stored (N, K); F: LM_GEMM_ flags), "R=64 C=50280"
 * for the others. What is not named has a usual value. LM_ERROR_INVALID_ARGUMENT tells the names that there are. */
lm_status lm_case_create_shape(const lm_device *device, lm_kernel_id kernel, const char *shape, uint64_t seed, lm_case **c);
/* The same for a kernel by its stem, or "product": gemm or gemv or what else lm_launch_gemm chooses. */
lm_status lm_case_create_named(const lm_device *device, const char *name, const char *shape, uint64_t seed, lm_case **c);

/* A part of a case that is too large for the reference: a few channels or a few rows and columns, at its start, its end and
 * between, with the whole depth and all tokens, as a case of its own. Its outputs are elements of the whole's, as `cuts` say; it
 * is not to be recorded. LM_ERROR_UNSUPPORTED where a case has no parts. */
lm_status lm_case_part(const lm_case *c, unsigned index, lm_case **part, lm_case_cut cuts[LM_CASE_MAX_BUFFERS]);
/* to = the part's elements of `from`, which is as the buffer that was cut. */
void lm_case_gather(const lm_case_cut *cut, const uint32_t *from, uint32_t *to);

/* ---- for the families ------------------------------------------------------------------------------------------- */

typedef struct lm_case_random {
    uint64_t state;
} lm_case_random;
uint32_t lm_case_below(lm_case_random *random, uint32_t limit); /* 0 … limit-1; limit above 0 */
float lm_case_uniform(lm_case_random *random, double low, double high);

/* A name in a shape, and where its int lies in a family's row. */
typedef struct lm_case_key {
    const char *name;
    size_t offset;
} lm_case_key;

typedef struct lm_case_family {
    size_t (*count)(lm_kernel_id kernel);
    unsigned (*flags)(lm_kernel_id kernel, size_t index);
    void (*build)(lm_case *c, const lm_device *device, size_t index, lm_case_random *random);
    lm_status (*build_shape)(lm_case *c, const lm_device *device, const char *shape, lm_case_random *random);
} lm_case_family;
/* Records a case of gemm as lm_launch_gemm chooses. */
lm_status lm_case_record_product(const lm_case *c, lm_list *list, const lm_view *views);
extern const lm_case_family lm_case_family_gemm, lm_case_family_conv, lm_case_family_scan, lm_case_family_state,
    lm_case_family_step,
    lm_case_family_rows;

/* Reads "NAME=NUMBER …" over the ints of `row`; numbers are above 0. */
lm_status lm_case_parse(const char *shape, const lm_case_key *keys, size_t key_count, void *row);

/* Appends a buffer of `count` poisoned words. Never NULL: where memory is short c->failed is set and the buffer has none. */
lm_case_buffer *lm_case_input(lm_case *c, const char *name, size_t count);
lm_case_buffer *lm_case_output(lm_case *c, const char *name, size_t count, double tolerance, double scale);
void lm_case_absent(lm_case *c, const char *name);
void lm_case_shared(lm_case *c, const char *name, int with);

/* Where part `index` of `count` things starts, when it has `size` of them. */
size_t lm_case_part_first(unsigned index, size_t count, size_t size);

/* Fills `cols` columns from `offset` on of rows of `stride` elements with uniform numbers. */
void lm_case_fill(lm_case_buffer *buffer, lm_case_random *random, size_t rows, size_t stride, size_t offset, size_t cols,
                  double low, double high);
float *lm_case_floats(lm_case_buffer *buffer);
int32_t *lm_case_ints(lm_case_buffer *buffer);

/* A row table: `batch` sequences of up to `length` tokens (the first has all of them; where `ragged`, the second none and
 * the others any number), packed in an order other than theirs, in slots other than theirs, with heads below `ring` and pasts
 * of any length. Returns the number of rows of activations. */
size_t lm_case_row_table(lm_case *c, lm_case_random *random, int batch, int length, bool ragged, int rows_stride, int rings,
                         int ring);
/* State buffers have this many slots for `batch` sequences: one more is never touched. */
int lm_case_slots(int batch);

#endif
