/* tests/test_lists.c: buffers and command lists on every backend: content, order, replay, time, and what is refused. */
#include "kernels/launch.h"
#include "runtime/list.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdlib.h>
#include <string.h>

TestSuite(lists, .timeout = 300);

static lm_buffer *create_buffer(lm_device *device, uint64_t size)
{
    lm_buffer *buffer = NULL;
    cr_assert_eq(lm_buffer_create(device, &(lm_buffer_params){.size = size}, &buffer), LM_OK, "%s", lm_last_error());
    return buffer;
}

static lm_list *create_list(lm_device *device, lm_list_times times)
{
    lm_list *list = NULL;
    cr_assert_eq(lm_list_create(device, times, &list), LM_OK, "%s", lm_last_error());
    return list;
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* What a list wrote and what the host wrote, whichever came last, of a buffer of so many words. */
static void check_host_reads(lm_device *device, uint32_t count)
{
    enum { FILLED = 300 };
    const size_t bytes = count * sizeof(uint32_t);
    lm_buffer *buffer = NULL;
    const lm_buffer_params params = {.size = bytes, .host_visible = true, .host_reads = true};
    cr_assert_eq(lm_buffer_create(device, &params, &buffer), LM_OK, "%s", lm_last_error());
    lm_list *list = create_list(device, LM_TIMES_WHOLE);
    cr_assert_eq(lm_list_fill(list, (lm_view){buffer, 0, FILLED * 4}, 7), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_end(list), LM_OK, "%s", lm_last_error());
    uint32_t *words = malloc(bytes), *back = malloc(bytes);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < count; i++) words[i] = 1000 * round + i;
        cr_assert_eq(lm_buffer_upload(buffer, 0, words, bytes), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_buffer_download(buffer, 0, back, bytes), LM_OK, "%s", lm_last_error());
        cr_expect_arr_eq(back, words, bytes);
        cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
        for (uint32_t i = 0; i < FILLED; i++) words[i] = 7;
        cr_assert_eq(lm_buffer_download(buffer, 0, back, bytes), LM_OK, "%s", lm_last_error());
        cr_expect_arr_eq(back, words, bytes);
        cr_assert_eq(lm_buffer_download(buffer, 4 * 299, back, 8), LM_OK, "%s", lm_last_error());
        cr_expect(back[0] == 7 && back[1] == words[300]);
    }
    free(words);
    free(back);
    lm_list_destroy(&list);
    lm_buffer_destroy(&buffer);
}

ParameterizedTestParameters(lists, host_reads) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, host_reads)
{
    const uint32_t memories[] = {0, LM_CAP_UNIFIED_MEMORY}; /* off, a processor's memory is as that of a GPU */
    for (int i = 0; i < 2; i++) {
        lm_device *device = lm_test_open(target->backend, target->disable | memories[i]);
        check_host_reads(device, 1000);
        check_host_reads(device, 300000); /* which a GPU's kernels do not write to the host's memory themselves */
        lm_test_close(&device);
    }
}

ParameterizedTestParameters(lists, buffers_keep_bytes) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, buffers_keep_bytes)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    static const uint64_t sizes[] = {1, 3, 4, 5, 63, 64, 65, 4096, 65537, 1 << 20, (1 << 24) + 4};
    for (int visible = 0; visible < 3; visible++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const uint64_t size = sizes[i], rounded = (size + 3) / 4 * 4;
            lm_buffer *buffer = NULL;
            const lm_buffer_params params = {.size = size, .host_visible = visible > 0, .host_reads = visible > 1};
            cr_assert_eq(lm_buffer_create(device, &params, &buffer), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_buffer_size(buffer), rounded);
            unsigned char *data = malloc(rounded), *back = calloc(1, rounded);
            cr_assert(data && back);
            for (uint64_t j = 0; j < rounded; j++)
                data[j] = (unsigned char)(j * 7 + j / 251 + i);
            cr_assert_eq(lm_buffer_upload(buffer, 0, data, rounded), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_buffer_download(buffer, 0, back, rounded), LM_OK, "%s", lm_last_error());
            cr_expect_arr_eq(back, data, rounded);
            /* Any offset and size, not only multiples of 4. */
            for (int part = 0; part < 20 && rounded > 8; part++) {
                const uint64_t at = (uint64_t)part * 997 % (rounded - 7), count = 1 + (uint64_t)part % 7;
                for (uint64_t j = at; j < at + count; j++)
                    data[j] ^= 0x5a;
                cr_assert_eq(lm_buffer_upload(buffer, at, data + at, count), LM_OK, "%s", lm_last_error());
                memset(back, 0, 8);
                cr_assert_eq(lm_buffer_download(buffer, at, back, count), LM_OK, "%s", lm_last_error());
                cr_expect_arr_eq(back, data + at, count);
            }
            cr_assert_eq(lm_buffer_download(buffer, 0, back, rounded), LM_OK, "%s", lm_last_error());
            cr_expect_arr_eq(back, data, rounded, "%llu bytes", (unsigned long long)size);
            if (lm_buffer_map(buffer))
                cr_expect_arr_eq((unsigned char *)lm_buffer_map(buffer), data, rounded);
            free(data);
            free(back);
            lm_buffer_destroy(&buffer);
            cr_expect_null(buffer);
        }
    }
    lm_test_close(&device);
}

ParameterizedTestParameters(lists, buffers_refuse) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, buffers_refuse)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const lm_device_info *info = lm_device_get_info(device);
    lm_buffer *buffer = NULL;
    cr_expect_eq(lm_buffer_create(NULL, &(lm_buffer_params){.size = 4}, &buffer), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_buffer_create(device, NULL, &buffer), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_buffer_create(device, &(lm_buffer_params){.size = 4}, NULL), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_buffer_create(device, &(lm_buffer_params){.size = 0}, &buffer), LM_ERROR_INVALID_ARGUMENT);
    const uint64_t over[] = {info->max_allocation_bytes + 1, UINT64_MAX, UINT64_MAX - 2, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
        cr_expect_eq(lm_buffer_create(device, &(lm_buffer_params){.size = over[i]}, &buffer), LM_ERROR_OUT_OF_DEVICE_MEMORY);
        cr_expect_null(buffer);
        cr_expect(strstr(lm_last_error(), info->id), "%s", lm_last_error());
    }

    buffer = create_buffer(device, 64);
    unsigned char bytes[64] = {0};
    static const uint64_t wrong[][2] = {{0, 65}, {64, 1}, {65, 0}, {1, 64}, {UINT64_MAX, 1}, {1, UINT64_MAX},
                                        {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(lm_buffer_upload(buffer, wrong[i][0], bytes, wrong[i][1]), LM_ERROR_INVALID_ARGUMENT);
        cr_expect_eq(lm_buffer_download(buffer, wrong[i][0], bytes, wrong[i][1]), LM_ERROR_INVALID_ARGUMENT);
        cr_expect(strstr(lm_last_error(), "lm_buffer_download"), "%s", lm_last_error());
    }
    cr_expect_eq(lm_buffer_upload(buffer, 0, NULL, 4), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_buffer_download(buffer, 0, NULL, 4), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_buffer_upload(buffer, 64, NULL, 0), LM_OK);
    cr_expect_eq(lm_buffer_download(buffer, 0, NULL, 0), LM_OK);
    lm_buffer_destroy(&buffer);
    lm_test_close(&device);
}

/* ---- order ------------------------------------------------------------------------------------------------------ */

enum { ROWS = 150, COLS = 96, LINKS = 40 };

/* c = a·P, where P moves each column one to the right, so that sums are exact. */
static lm_status record_shift(lm_list *list, lm_view a, lm_view p, lm_view c)
{
    const lm_gemm_params params = {.rows = ROWS, .cols = COLS, .depth = COLS, .lda = COLS, .ldb = COLS, .ldc = COLS};
    return lm_launch_gemm(list, &params, false, a, p, (lm_view){0}, (lm_view){0}, c);
}

/* A chain of dispatches over three buffers: each reads what the one before wrote, and overwrites what an earlier one still
 * reads; copies and fills in between. Without a barrier in any of the places the columns come out wrong. */
ParameterizedTestParameters(lists, hazards_are_ordered) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, hazards_are_ordered)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    enum { BYTES = ROWS * COLS * 4 };
    lm_buffer *ring[3], *shift = create_buffer(device, COLS * COLS * 4), *copies = create_buffer(device, LINKS * BYTES);
    for (int i = 0; i < 3; i++)
        ring[i] = create_buffer(device, BYTES);
    static float values[ROWS * COLS], back[ROWS * COLS], permutation[COLS * COLS];
    for (int k = 0; k < COLS; k++)
        permutation[k * COLS + (k + 1) % COLS] = 1.0f;
    cr_assert_eq(lm_buffer_upload(shift, 0, permutation, sizeof permutation), LM_OK);

    lm_list *list = create_list(device, LM_TIMES_NONE);
    for (int i = 0; i < LINKS; i++) {
        const lm_view from = lm_view_whole(ring[i % 3]), to = lm_view_whole(ring[(i + 1) % 3]);
        cr_assert_eq(lm_list_fill(list, to, 0x7fc00000u), LM_OK);              /* write after read and write */
        cr_assert_eq(record_shift(list, from, lm_view_whole(shift), to), LM_OK, "%s", lm_last_error());
        const lm_view copy = {copies, (uint64_t)i * BYTES, BYTES};
        cr_assert_eq(lm_list_copy(list, copy, to), LM_OK, "%s", lm_last_error()); /* read after write */
        cr_assert_eq(lm_list_fill(list, from, 0x7fc00000u), LM_OK);            /* write after read */
    }
    cr_assert_eq(lm_list_end(list), LM_OK);

    for (int run = 0; run < 3; run++) {
        for (int i = 0; i < ROWS * COLS; i++)
            values[i] = (float)(i % 4093 + run);
        cr_assert_eq(lm_buffer_upload(ring[0], 0, values, sizeof values), LM_OK);
        cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
        for (int link = 0; link < LINKS; link++) {
            cr_assert_eq(lm_buffer_download(copies, (uint64_t)link * BYTES, back, sizeof back), LM_OK);
            size_t wrong = 0;
            for (int r = 0; r < ROWS; r++)
                for (int c = 0; c < COLS; c++)
                    wrong += !(back[r * COLS + (c + link + 1) % COLS] == values[r * COLS + c]);
            cr_assert_eq(wrong, 0, "run %d, link %d: %zu wrong elements", run, link, wrong);
        }
    }
    lm_list_destroy(&list);
    for (int i = 0; i < 3; i++)
        lm_buffer_destroy(&ring[i]);
    lm_buffer_destroy(&shift);
    lm_buffer_destroy(&copies);
    lm_test_close(&device);
}

/* What a list does is seen by one submitted after it, without a host in between, and by downloads. */
ParameterizedTestParameters(lists, lists_follow_each_other) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, lists_follow_each_other)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_buffer *a = create_buffer(device, 1024), *b = create_buffer(device, 1024);
    lm_list *first = create_list(device, LM_TIMES_NONE), *second = create_list(device, LM_TIMES_NONE);
    const lm_view half = {a, 256, 512}, target_half = {b, 512, 512};
    cr_assert_eq(lm_list_fill(first, lm_view_whole(a), 1), LM_OK);
    cr_assert_eq(lm_list_fill(first, half, 2), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_end(first), LM_OK);
    cr_assert_eq(lm_list_fill(second, lm_view_whole(b), 3), LM_OK);
    cr_assert_eq(lm_list_copy(second, target_half, half), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_end(second), LM_OK);
    for (int run = 0; run < 20; run++) {
        uint32_t words[256], zeros[256] = {0};
        cr_assert_eq(lm_buffer_upload(a, 0, zeros, sizeof zeros), LM_OK);
        cr_assert_eq(lm_buffer_upload(b, 0, zeros, sizeof zeros), LM_OK);
        cr_assert_eq(lm_list_submit(first), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_list_submit(second), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_list_submit(first), LM_ERROR_INVALID_ARGUMENT, "it is running");
        cr_assert_eq(lm_list_wait(second), LM_OK);
        cr_assert_eq(lm_list_wait(first), LM_OK);
        cr_assert_eq(lm_list_wait(first), LM_OK, "waiting twice is waiting once");
        cr_assert_eq(lm_buffer_download(a, 0, words, sizeof words), LM_OK);
        for (int i = 0; i < 256; i++)
            cr_assert_eq(words[i], i >= 64 && i < 192 ? 2 : 1, "a[%d] is %u", i, words[i]);
        cr_assert_eq(lm_buffer_download(b, 0, words, sizeof words), LM_OK);
        for (int i = 0; i < 256; i++)
            cr_assert_eq(words[i], i >= 128 ? 2 : 3, "b[%d] is %u", i, words[i]);
    }
    lm_list_destroy(&first);
    lm_list_destroy(&second);
    lm_buffer_destroy(&a);
    lm_buffer_destroy(&b);
    lm_test_close(&device);
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(lists, recording_is_checked) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, recording_is_checked)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_device *other = NULL;
    cr_assert_eq(lm_device_open(lm_test_context(), "cpu", NULL, &other), LM_OK);
    lm_buffer *buffer = create_buffer(device, 4096), *foreign = create_buffer(other, 4096);
    lm_list *list = create_list(device, LM_TIMES_NONE);
    const lm_device_info *info = lm_device_get_info(device);
    const lm_view whole = lm_view_whole(buffer);
    const lm_view wrong[] = {
        {buffer, 0, 0},       {buffer, 0, 4100},  {buffer, 4096, 4}, {buffer, UINT64_MAX - 15, 16},
        {buffer, 2048, 4096}, {foreign, 0, 4096}, {buffer, 2, 4},    {buffer, info->binding_alignment / 2, 4},
    };
    const size_t wrong_count = sizeof wrong / sizeof *wrong;
    for (size_t i = 0; i < wrong_count; i++) {
        if (i + 1 < wrong_count) /* only bindings have to be aligned */
            cr_expect_eq(lm_list_fill(list, wrong[i], 0), LM_ERROR_INVALID_ARGUMENT, "view %zu", i);
        const int32_t spec[LM_MAX_SPEC] = {1, 1, 1};
        const lm_rmsnorm_params p = {1, 4, 0};
        const lm_view views[3] = {whole, whole, wrong[i]};
        const uint32_t groups[3] = {1, 1, 1};
        cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &p, sizeof p, views, 3, groups),
                     LM_ERROR_INVALID_ARGUMENT, "view %zu", i);
    }
    const lm_view front = {buffer, 0, 2048}, overlapping = {buffer, 1024, 2048}, shorter = {buffer, 2048, 1024};
    cr_expect_eq(lm_list_copy(list, front, overlapping), LM_ERROR_INVALID_ARGUMENT, "overlap");
    cr_expect_eq(lm_list_copy(list, front, shorter), LM_ERROR_INVALID_ARGUMENT, "sizes");
    const int32_t spec[LM_MAX_SPEC] = {1, 1, 1};
    const lm_rmsnorm_params p = {1, 4, 0};
    const lm_view views[3] = {whole, whole, whole};
    cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &p, sizeof p, views, 2, (uint32_t[]){1, 1, 1}),
                 LM_ERROR_INVALID_ARGUMENT, "two views for three bindings");
    cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &p, sizeof p - 4, views, 3, (uint32_t[]){1, 1, 1}),
                 LM_ERROR_INVALID_ARGUMENT, "size of the parameters");
    if (info->max_groups[1] < INT32_MAX)
        cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &p, sizeof p, views, 3,
                                      (uint32_t[]){1, info->max_groups[1] + 1, 1}),
                     LM_ERROR_UNSUPPORTED, "too many groups");
    if (strcmp(target->backend, "cpu") != 0 && strcmp(target->backend, "reference") != 0) { /* these take no work-groups */
        const int32_t huge[LM_MAX_SPEC] = {1 << 20, 1 << 20, 1};
        cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, huge, &p, sizeof p, views, 3, (uint32_t[]){1, 1, 1}),
                     LM_ERROR_UNSUPPORTED, "too large groups");
    }
    cr_expect_eq(lm_list_submit(list), LM_ERROR_INVALID_ARGUMENT, "not ended");
    /* After all that the list is still good; a dispatch of no groups is nothing. */
    cr_expect_eq(lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &p, sizeof p, views, 3, (uint32_t[]){0, 1, 1}), LM_OK);
    cr_expect_eq(lm_list_fill(list, whole, 42), LM_OK, "%s", lm_last_error());
    cr_assert_eq(lm_list_end(list), LM_OK, "%s", lm_last_error());
    cr_expect_eq(lm_list_end(list), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_list_fill(list, whole, 43), LM_ERROR_INVALID_ARGUMENT);
    cr_expect(strstr(lm_last_error(), "already ended"), "%s", lm_last_error());
    cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
    uint32_t words[1024];
    cr_assert_eq(lm_buffer_download(buffer, 0, words, sizeof words), LM_OK);
    for (int i = 0; i < 1024; i++)
        cr_assert_eq(words[i], 42);
    cr_expect_eq(lm_list_create(NULL, LM_TIMES_NONE, &list), LM_ERROR_INVALID_ARGUMENT);
    cr_expect_eq(lm_list_fill(NULL, whole, 0), LM_ERROR_INVALID_ARGUMENT);
    lm_list_destroy(&list);
    lm_buffer_destroy(&buffer);
    lm_buffer_destroy(&foreign);
    lm_device_destroy(&other);
    lm_test_close(&device);
}

ParameterizedTestParameters(lists, empty_list_runs) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, empty_list_runs)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (lm_list_times times = LM_TIMES_NONE; times <= LM_TIMES_EACH; times++) {
        lm_list *list = create_list(device, times);
        cr_assert_eq(lm_list_end(list), LM_OK, "%s", lm_last_error());
        cr_expect_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
        cr_expect_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
        cr_expect_geq(lm_list_time_ns(list), 0.0);
        cr_expect_eq(list->command_count, 0);
        lm_list_destroy(&list);
    }
    lm_test_close(&device);
}

/* A kernel is built once for one set of constants. */
ParameterizedTestParameters(lists, pipelines_are_kept) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, pipelines_are_kept)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    lm_buffer *buffer = create_buffer(device, 1 << 16);
    const lm_view a = {buffer, 0, 1 << 14}, b = {buffer, 1 << 14, 1 << 14}, c = {buffer, 1 << 15, 1 << 15};
    size_t after_first = 0;
    for (int i = 0; i < 3; i++) {
        lm_list *list = create_list(device, LM_TIMES_NONE);
        const lm_rmsnorm_params p = {8, 64, 1e-5f};
        cr_assert_eq(lm_launch_rmsnorm(list, &p, a, b, c), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_launch_rmsnorm(list, &p, a, b, c), LM_OK, "%s", lm_last_error());
        lm_list_destroy(&list); /* never ended */
        if (i == 0)
            after_first = device->pipeline_count;
        cr_expect_eq(device->pipeline_count, after_first);
    }
    cr_expect_eq(after_first, 1);
    lm_buffer_destroy(&buffer);
    lm_test_close(&device);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

ParameterizedTestParameters(lists, timestamps) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, timestamps)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const bool can = lm_device_get_info(device)->capabilities & LM_CAP_TIMESTAMPS;
    enum { BYTES = 1 << 22 };
    lm_buffer *buffer = create_buffer(device, 2 * BYTES);
    const lm_view low = {buffer, 0, BYTES}, high = {buffer, BYTES, BYTES};
    for (lm_list_times times = LM_TIMES_NONE; times <= LM_TIMES_EACH; times++) {
        lm_list *list = create_list(device, times);
        for (int i = 0; i < 8; i++) {
            cr_assert_eq(lm_list_fill(list, low, (uint32_t)i), LM_OK);
            cr_assert_eq(lm_list_copy(list, high, low), LM_OK);
        }
        cr_expect_eq(lm_list_time_ns(list), 0.0, "before it ran");
        cr_assert_eq(lm_list_end(list), LM_OK);
        for (int run = 0; run < 3; run++) {
            cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
            const double ns = lm_list_time_ns(list);
            if (times != LM_TIMES_NONE && can)
                cr_expect(ns > 0 && ns < 60e9, "%g ns for 64 MiB of writes", ns);
            else
                cr_expect_eq(ns, 0.0);
        }
        lm_list_destroy(&list);
    }
    lm_buffer_destroy(&buffer);
    lm_test_close(&device);
}

/* Of so many commands that Vulkan's timestamps take more than one pool, of three kinds. */
enum { TIMED_COMMANDS = 1200 };

static lm_list *record_timed(lm_device *device, lm_list_times times, lm_buffer *buffer)
{
    const lm_view a = {buffer, 0, 1 << 14}, b = {buffer, 1 << 14, 1 << 14}, c = {buffer, 1 << 15, 1 << 14};
    const lm_rmsnorm_params p = {8, 64, 1e-5f};
    lm_list *list = create_list(device, times);
    for (int i = 0; i < TIMED_COMMANDS; i += 3) {
        cr_assert_eq(lm_list_fill(list, a, 0x3f800000u), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_list_copy(list, b, a), LM_OK, "%s", lm_last_error());
        cr_assert_eq(lm_launch_rmsnorm(list, &p, a, b, c), LM_OK, "%s", lm_last_error());
    }
    cr_assert_eq(lm_list_end(list), LM_OK, "%s", lm_last_error());
    return list;
}

/* In order, none beginning before the one before has ended (by more than a clock's tick), all within the list's time. */
static void check_command_times(lm_list *list, const lm_command_time *times)
{
    const double whole = lm_list_time_ns(list), tick = 1e-6 * whole + 1e3;
    double sum = 0, longest = 0;
    for (int i = 0; i < TIMED_COMMANDS; i++) {
        cr_assert(times[i].begin >= (i > 0 ? times[i - 1].end : 0) - tick && times[i].end >= times[i].begin,
                  "command %d from %g to %g ns", i, times[i].begin, times[i].end);
        sum += times[i].end - times[i].begin;
        longest = times[i].end - times[i].begin > longest ? times[i].end - times[i].begin : longest;
    }
    cr_expect(longest > 0 && sum > 0 && sum <= whole + TIMED_COMMANDS * tick, "%g ns of %g", sum, whole);
    cr_expect_leq(times[TIMED_COMMANDS - 1].end, whole + tick);
}

ParameterizedTestParameters(lists, commands_are_timed) { return lm_test_targets(); }
ParameterizedTest(lm_test_target *target, lists, commands_are_timed)
{
    static const char *const names[] = {"fill", "copy", "rmsnorm"};
    static lm_command_time times[TIMED_COMMANDS];
    const lm_command_time untouched = {-1, -1};
    lm_device *device = lm_test_open(target->backend, target->disable);
    const bool can = lm_device_get_info(device)->capabilities & LM_CAP_TIMESTAMPS;
    lm_buffer *buffer = create_buffer(device, 1 << 16);
    for (lm_list_times how = LM_TIMES_NONE; how <= LM_TIMES_EACH; how++) {
        const bool known = can && how == LM_TIMES_EACH;
        lm_list *list = record_timed(device, how, buffer);
        cr_assert_eq(list->command_count, known ? TIMED_COMMANDS : 0);
        for (size_t i = 0; i < list->command_count; i++) {
            cr_expect_str_eq(list->commands[i].name, names[i % 3]);
            cr_expect_eq(list->commands[i].signature, list->commands[i % 3].signature);
            cr_expect_eq(list->commands[i].groups[0] > 0, i % 3 == 2);
        }
        times[0] = untouched;
        cr_expect_not(lm_list_command_times(list, times), "before it ran");
        for (int run = 0; run < 2; run++) {
            cr_assert_eq(lm_list_run(list), LM_OK, "%s", lm_last_error());
            cr_assert_eq(lm_list_command_times(list, times), known);
            if (known) check_command_times(list, times);
        }
        cr_expect_eq(times[0].begin == untouched.begin, !known);
        lm_list_destroy(&list);
    }
    lm_buffer_destroy(&buffer);
    lm_test_close(&device);
}
