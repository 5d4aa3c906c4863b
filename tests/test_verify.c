/* tests/test_verify.c: lm_verify, and the reference kernels against what can be worked out by hand. */
#include "kernels/params.h"
#include "kernels/reference/reference.h"
#include "litemamba/litemamba.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <math.h>
#include <string.h>

TestSuite(verify, .timeout = 300);

/* ---- lm_verify -------------------------------------------------------------------------------------------------- */

typedef struct tally {
    uint32_t calls, failed, blocks, total;
} tally;

static void count(void *user, const lm_verify_result *result)
{
    tally *t = user;
    t->calls++;
    t->failed += !result->passed;
    t->blocks += strncmp(result->name, "block ", 6) == 0;
    t->total = result->total;
    cr_expect_eq(result->done, t->calls);
    cr_expect(result->passed == (result->error <= result->tolerance), "%s: error %g, tolerance %g", result->name,
              result->error, result->tolerance);
}

ParameterizedTestParameters(verify, passes) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, verify, passes)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    tally t = {0};
    uint32_t failures = 99;
    cr_assert_eq(lm_verify(device, count, &t, &failures), LM_OK, "%s", lm_last_error());
    cr_expect_eq(failures, 0);
    cr_expect_eq(t.failed, 0);
    cr_expect_eq(t.calls, t.total);
    cr_expect(t.calls > 100 && t.blocks >= 16, "%u lines, %u of blocks", t.calls, t.blocks);
    cr_expect_eq(lm_verify(device, NULL, NULL, &failures), LM_OK);
    cr_expect_eq(lm_verify(NULL, NULL, NULL, &failures), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_verify(device, NULL, NULL, NULL), LM_ERROR_INVALID_ARGUMENT);
    lm_test_close(&device);
}

/* ---- the reference by hand -------------------------------------------------------------------------------------- */

static const int32_t spec[8] = {1, 1, 1, 1};

/* (1 2; 3 4)·(5 6; 7 8) + (1, −1) = (20 21; 44 49) */
Test(verify, gemm_by_hand)
{
    const float a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, b_trans[] = {5, 7, 6, 8}, bias[] = {1, -1};
    const float residual[] = {1, 2, 3, 4};
    const float sum[] = {20, 21, 44, 49}, with_residual[] = {21, 23, 47, 53};
    float c[4];
    lm_gemm_params p = {.rows = 2, .cols = 2, .depth = 2, .lda = 2, .ldb = 2, .ldc = 2, .flags = LM_GEMM_BIAS};
    for (int trans = 0; trans < 2; trans++) {
        const int32_t order[8] = {1, 1, 1, trans};
        void *buffers[] = {(void *)a, (void *)(trans ? b_trans : b), (void *)bias, (void *)residual, c};
        p.flags = LM_GEMM_BIAS;
        lm_reference_gemm(&p, order, buffers);
        cr_expect_arr_eq(c, sum, sizeof c);
        p.flags |= LM_GEMM_RESIDUAL;
        lm_reference_gemm(&p, order, buffers);
        cr_expect_arr_eq(c, with_residual, sizeof c);
    }
    /* softplus(0) = ln 2, softplus(100) = 100, softplus(−100) = e^−100 */
    const float x[] = {0, 100, -100}, one[] = {1};
    lm_gemm_params q = {.rows = 3, .cols = 1, .depth = 1, .lda = 1, .ldb = 1, .ldc = 1, .flags = LM_GEMM_SOFTPLUS};
    float y[3];
    lm_reference_gemm(&q, spec, (void *[]){(void *)x, (void *)one, NULL, NULL, y});
    cr_expect_eq(y[0], (float)log(2));
    cr_expect_eq(y[1], 100.0f);
    cr_expect_eq(y[2], (float)exp(-100));
}

/* Taps 2, dilation 2, weights (10, 1): c[t] = 10·x[t−2] + x[t]; the ring has token −1 at its head's left. */
Test(verify, conv_by_hand)
{
    const float x[] = {1, 2, 3}, weight[] = {10, 1}, history[] = {0.5f, 0.25f, 4};
    const int32_t dilations[] = {2};
    int32_t rows[LM_ROW_HEADS + 1] = {[LM_ROW_SLOT] = 0, [LM_ROW_START] = 0, [LM_ROW_LENGTH] = 3, [LM_ROW_SEEN] = 3,
                                      [LM_ROW_HEADS] = 1};
    const lm_conv_params p = {.batch = 1, .length = 3, .channels = 1, .taps = 2, .branches = 1, .x_stride = 1,
                              .out_stride = 1, .history = 3, .rows_stride = LM_ROW_HEADS + 1};
    float out[3];
    void *buffers[] = {(void *)x, (void *)weight, NULL, NULL, (void *)dilations, (void *)history, rows, out};
    /* Oldest first from the head: tokens −3, −2, −1 are 0.25, 4, 0.5. */
    const double c[3] = {10 * 4 + 1, 10 * 0.5 + 2, 10 * 1 + 3};
    lm_reference_conv(&p, spec, buffers);
    for (int t = 0; t < 3; t++)
        cr_expect_eq(out[t], (float)(c[t] / (1 + exp(-c[t]))), "token %d", t);
    rows[LM_ROW_SEEN] = 1; /* token −2 was not: it counts as 0 */
    lm_reference_conv(&p, spec, buffers);
    cr_expect_eq(out[0], (float)(1 / (1 + exp(-1))));
    cr_expect_eq(out[1], (float)(7 / (1 + exp(-7))));

    float ring[3] = {0.5f, 0.25f, 4};
    const float after[3] = {3, 1, 2}; /* tokens 0, 1, 2 from the head on */
    lm_reference_conv_state(&p, spec, (void *[]){(void *)x, rows, ring});
    cr_expect_arr_eq(ring, after, sizeof ring);
}

/* A = −ln 2, Δ = 1: the state halves and takes B·u; y = C·s + D·u. From 8: 8/2 + 1·1 = 5, 5/2 + 2 = 4.5. */
Test(verify, scan_by_hand)
{
    const float u[] = {1, 2}, delta[] = {1, 1}, a[] = {(float)-log(2)}, bc[] = {1, 3, 1, 3}, d[] = {10}, z[] = {0, 0};
    int32_t rows[LM_ROW_HEADS] = {[LM_ROW_LENGTH] = 2, [LM_ROW_SEEN] = 5};
    lm_scan_params p = {.batch = 1, .length = 2, .channels = 1, .d_state = 1, .chunks = 1, .chunk_length = 2, .u_stride = 1,
                        .delta_stride = 1, .bc_stride = 2, .c_offset = 1, .z_stride = 1, .y_stride = 1,
                        .rows_stride = LM_ROW_HEADS};
    float state[1] = {8}, y[2];
    void *buffers[] = {(void *)u, (void *)delta, (void *)a, (void *)bc, (void *)d, (void *)z, rows, state, y};
    lm_reference_scan(&p, spec, buffers);
    cr_expect_float_eq(y[0], 3 * 5 + 10, 1e-5f);
    cr_expect_float_eq(y[1], 3 * 4.5f + 20, 1e-5f);
    cr_expect_float_eq(state[0], 4.5f, 1e-6f);
    p.flags = LM_SCAN_GATE; /* SiLU(0) = 0 */
    lm_reference_scan(&p, spec, buffers);
    cr_expect(y[0] == 0 && y[1] == 0);

    /* In chunks of one token: what each adds is 1 and 2, what each starts from 8 and 5. */
    float summary[2], total[2];
    state[0] = 8;
    p.chunks = 2, p.chunk_length = 1, p.flags = 0;
    lm_reference_scan_summary(&p, spec, (void *[]){(void *)u, (void *)delta, (void *)a, (void *)bc, rows, summary, total});
    cr_expect(summary[0] == 1 && summary[1] == 2 && total[0] == 1 && total[1] == 1);
    lm_reference_scan_carry(&p, spec, (void *[]){(void *)a, total, rows, summary, state});
    cr_expect_float_eq(summary[0], 8, 1e-6f);
    cr_expect_float_eq(summary[1], 5, 1e-6f);
    cr_expect_float_eq(state[0], 4.5f, 1e-6f);
}

Test(verify, rows_by_hand)
{
    const float x[] = {3, 4, NAN, 1, 1, 1}, weight[] = {1, 2, 1};
    float y[6], loss[1];
    /* The mean of 9 and 16 and 11 is 12, and with epsilon 4 the root 4. */
    const float z[] = {3, 4, (float)sqrt(11)};
    const lm_rmsnorm_params n = {1, 3, 4.0f};
    lm_reference_rmsnorm(&n, spec, (void *[]){(void *)z, (void *)weight, y});
    cr_expect_float_eq(y[0], 0.75f, 1e-6f);
    cr_expect_float_eq(y[1], 2.0f, 1e-6f);

    int32_t index[2] = {-1, -1};
    const lm_argmax_params m = {2, 3, 3};
    lm_reference_argmax(&m, spec, (void *[]){(void *)x, index});
    cr_expect_eq(index[0], 1);
    cr_expect_eq(index[1], 0, "of equal ones the first");

    const int32_t target[] = {2};
    const lm_cross_entropy_params e = {1, 3, 3};
    lm_reference_cross_entropy(&e, spec, (void *[]){(void *)(x + 3), (void *)target, loss});
    cr_expect_float_eq(loss[0], (float)log(3), 1e-6f);

    const int32_t tokens[] = {6, 4, 5};
    const float table[] = {1, 2, 3, 4};
    float rows[6] = {-1, -1, -1, -1, -1, -1};
    const float looked_up[6] = {3, 4, -1, -1, 1, 2}; /* tokens 5 and 6 are in this piece, 4 is not */
    const lm_embed_params t = {3, 2, 5, 2};
    lm_reference_embed(&t, spec, (void *[]){(void *)tokens, (void *)table, rows});
    cr_expect_arr_eq(rows, looked_up, sizeof rows);
}
