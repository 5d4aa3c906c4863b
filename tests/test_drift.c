/* tests/test_drift.c: the scan over very long sequences, against float64 from the same float32 inputs.
 *
 * 50,000 tokens, or LITEMAMBA_TEST_TOKENS of them (`make check-drift`: 1,000,000), in calls of 8,192 that carry the state. Steps
 * are log-uniform in the range that models have (1e-3 … 1e-1) and in one where a plain update would drift (1e-6 … 1e-4). */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/launch.h"
#include "tests/support/support.h"

TestSuite(drift, .timeout = 3000);

enum { CHANNELS = 32, STATES = 16, PIECE = 8192, BC_STRIDE = 2 * STATES };

typedef struct drift {
    lm_device *device;
    lm_buffer *buffers[8];
    float *u, *delta, *bc, *y;   /* of one piece */
    double state[CHANNELS][STATES], a[STATES][CHANNELS];
    double square_error, square, worst, largest;
} drift;

enum { U, DELTA, A, BC, D, ROWS, STATE, Y };

static lm_buffer *create(lm_device *device, uint64_t bytes)
{
    lm_buffer *buffer = NULL;
    cr_assert_eq(lm_buffer_create(device, &(lm_buffer_params){.size = bytes}, &buffer), LM_OK, "%s", lm_last_error());
    return buffer;
}

static void upload(lm_buffer *buffer, const void *data, uint64_t bytes)
{
    cr_assert_eq(lm_buffer_upload(buffer, 0, data, bytes), LM_OK, "%s", lm_last_error());
}

static void set_up(drift *t, lm_device *device)
{
    const uint64_t rows = PIECE * sizeof(float);
    const uint64_t sizes[] = {rows * CHANNELS, rows * CHANNELS, sizeof(float) * STATES * CHANNELS, rows * BC_STRIDE,
                              sizeof(float) * CHANNELS, sizeof(int32_t) * (LM_ROW_HEADS + 1), sizeof(float) * STATES * CHANNELS,
                              rows * CHANNELS};
    t->device = device;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) t->buffers[i] = create(device, sizes[i]);
    t->u = malloc(sizes[U]);
    t->delta = malloc(sizes[DELTA]);
    t->bc = malloc(sizes[BC]);
    t->y = malloc(sizes[Y]);
    float a[STATES][CHANNELS], d[CHANNELS];
    for (size_t n = 0; n < STATES; n++)
        for (size_t c = 0; c < CHANNELS; c++) {
            a[n][c] = -(float)(n + 1) * (1.0f + 0.01f * (float)c);
            t->a[n][c] = (double)a[n][c];
        }
    for (size_t c = 0; c < CHANNELS; c++) d[c] = 0.5f;
    upload(t->buffers[A], a, sizeof a);
    upload(t->buffers[D], d, sizeof d);
}

static void tear_down(drift *t)
{
    for (size_t i = 0; i < sizeof t->buffers / sizeof *t->buffers; i++) lm_buffer_destroy(&t->buffers[i]);
    free(t->u);
    free(t->delta);
    free(t->bc);
    free(t->y);
}

static void run_device(drift *t, uint64_t seen, uint32_t length)
{
    const int32_t row[LM_ROW_HEADS + 1] = {[LM_ROW_LENGTH] = (int32_t)length, [LM_ROW_SEEN] = (int32_t)seen};
    upload(t->buffers[ROWS], row, sizeof row);
    upload(t->buffers[U], t->u, length * CHANNELS * sizeof(float));
    upload(t->buffers[DELTA], t->delta, length * CHANNELS * sizeof(float));
    upload(t->buffers[BC], t->bc, length * BC_STRIDE * sizeof(float));
    lm_scan_params p = {.batch = 1, .length = (int)length, .channels = CHANNELS, .d_state = STATES, .u_stride = CHANNELS,
                        .delta_stride = CHANNELS, .bc_stride = BC_STRIDE, .c_offset = STATES, .y_stride = CHANNELS,
                        .rows_stride = LM_ROW_HEADS + 1};
    lm_scan_plan(t->device, &p);
    uint64_t summary_bytes, total_bytes;
    lm_scan_workspace(t->device, &p, &summary_bytes, &total_bytes);
    lm_buffer *summary = summary_bytes > 0 ? create(t->device, summary_bytes) : NULL;
    lm_buffer *total = total_bytes > 0 ? create(t->device, total_bytes) : NULL;
    lm_scan_views v = {.summary = lm_view_whole(summary), .total = lm_view_whole(total)};
    lm_view *const views[] = {&v.u, &v.delta, &v.a, &v.bc, &v.d, &v.rows, &v.state, &v.y};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) *views[i] = lm_view_whole(t->buffers[i]);
    lm_list *list = NULL;
    cr_assert_eq(lm_list_create(t->device, LM_TIMES_NONE, &list), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_launch_scan(list, &p, &v), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_end(list), LM_OK);
    cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
    lm_list_destroy(&list);
    lm_buffer_destroy(&summary);
    lm_buffer_destroy(&total);
    cr_assert_eq(lm_buffer_download(t->buffers[Y], 0, t->y, length * CHANNELS * sizeof(float)), LM_OK, "%s", lm_last_error());
}

static void compare(drift *t, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        for (size_t c = 0; c < CHANNELS; c++) {
            const double u = (double)t->u[i * CHANNELS + c], step = (double)t->delta[i * CHANNELS + c];
            const float *b = t->bc + (size_t)i * BC_STRIDE;
            double y = 0.5 * u;
            for (size_t n = 0; n < STATES; n++) {
                t->state[c][n] = exp(step * t->a[n][c]) * t->state[c][n] + step * (double)b[n] * u;
                y += (double)b[STATES + n] * t->state[c][n];
            }
            const double error = fabs((double)t->y[i * CHANNELS + c] - y);
            t->square_error += error * error;
            t->square += y * y;
            if (!(error <= t->worst)) t->worst = error;
            if (fabs(y) > t->largest) t->largest = fabs(y);
        }
}

static void check(lm_device *device, double low, double high, double rms_limit, double worst_limit)
{
    const char *wanted = getenv("LITEMAMBA_TEST_TOKENS");
    const uint64_t tokens = wanted != NULL ? strtoull(wanted, NULL, 10) : 50000;
    static drift t;
    memset(&t, 0, sizeof t);
    set_up(&t, device);
    lm_test_random random = {lm_test_seed()};
    for (uint64_t at = 0; at < tokens; at += PIECE) {
        const uint32_t length = tokens - at < PIECE ? (uint32_t)(tokens - at) : PIECE;
        /* an input that does not average out: its slow states are large */
        lm_test_fill(&random, t.u, length * CHANNELS, 0.0, 1.0);
        lm_test_fill(&random, t.bc, length * BC_STRIDE, -0.2, 1.0);
        for (size_t i = 0; i < length * CHANNELS; i++) t.delta[i] = (float)exp(lm_test_uniform(&random, log(low), log(high)));
        run_device(&t, at, length);
        compare(&t, length);
    }
    const double rms = sqrt(t.square_error / t.square), worst = t.worst / t.largest;
    cr_log_info("%llu tokens, steps %g to %g: relative RMS %.3g, worst %.3g of max|y|", (unsigned long long)tokens, low, high, rms, worst);
    cr_expect(!!(rms <= rms_limit), "steps %g to %g: relative RMS %.3g over %.3g", low, high, rms, rms_limit);
    cr_expect(!!(worst <= worst_limit), "steps %g to %g: worst error %.3g over %.3g of max|y|", low, high, worst, worst_limit);
    tear_down(&t);
}

ParameterizedTestParameters(drift, long_scan) { return lm_test_targets(); }

ParameterizedTest(lm_test_target *target, drift, long_scan)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    check(device, 1e-3, 1e-1, 1e-6, 1e-5);
    check(device, 1e-6, 1e-4, 1e-5, 1e-5);
    lm_test_close(&device);
}
