/* tests/test_harness.c: tests of the tests. Every kind of bug that kernels/check.c is there for is planted, on every device,
 * and has to be reported: if it were not, a green run of test_kernels.c would say nothing. */
#include "kernels/timing.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct criterion_test_params backends(void)
{
    static lm_test_target targets[] = {{"cpu", 0}, {"reference", 0}, {"opencl", 0}, {"vulkan", 0}};
    return cr_make_param_array(lm_test_target, targets, sizeof targets / sizeof *targets);
}

/* ---- the comparer ----------------------------------------------------------------------------------------------- */

static uint32_t word_of(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static lm_check_result compare(const lm_case_buffer *buffer, const float *expected, const float *got)
{
    uint32_t words[2][16];
    for (size_t i = 0; i < buffer->count; i++) {
        words[0][i] = word_of(expected[i]);
        words[1][i] = word_of(got[i]);
    }
    lm_check_result result = {.passed = true};
    lm_check_compare(buffer, words[0], words[1], &result);
    return result;
}

Test(comparer, accepts_up_to_the_tolerance_and_no_further)
{
    const lm_case_buffer buffer = {.name = "y", .count = 3, .tolerance = 0x1p-10};
    const float expected[3] = {-4.0f, 0.0f, 2.0f};
    float got[3] = {-4.0f, 0.0f, 2.0f};
    lm_check_result result = compare(&buffer, expected, got);
    cr_expect(result.passed && result.error == 0);
    got[1] = 4.0f * 0x1p-10f; /* relative to the largest, 4 */
    result = compare(&buffer, expected, got);
    cr_expect(result.passed && result.error == 0x1p-10);
    got[1] = nextafterf(got[1], 1.0f);
    cr_expect(!compare(&buffer, expected, got).passed);
    got[1] = -got[1];
    cr_expect(!compare(&buffer, expected, got).passed);
}

Test(comparer, relates_to_each_element_where_asked)
{
    const lm_case_buffer buffer = {.name = "y", .count = 2, .tolerance = 0x1p-10, .elementwise = true};
    const float expected[2] = {1000.0f, 1.0f};
    float got[2] = {1000.0f, 1.0f + 0x1p-10f};
    cr_expect(compare(&buffer, expected, got).passed);
    got[1] = 1.0f + 0x1p-9f;
    cr_expect(!compare(&buffer, expected, got).passed);
}

Test(comparer, holds_cancelled_results_to_the_scale)
{
    lm_case_buffer buffer = {.name = "y", .count = 1, .tolerance = 1e-6, .scale = 1};
    static const float expected[1] = {1e-5f}, got[1] = {1.05e-5f};
    cr_expect(compare(&buffer, expected, got).passed);
    buffer.scale = 0;
    cr_expect(!compare(&buffer, expected, got).passed);
}

Test(comparer, refuses_what_is_not_finite)
{
    const lm_case_buffer buffer = {.name = "y", .count = 2, .tolerance = 1e30};
    const float one[2] = {1.0f, 1.0f}, nan_[2] = {1.0f, NAN}, plus[2] = {1.0f, INFINITY}, minus[2] = {1.0f, -INFINITY};
    cr_expect(!compare(&buffer, one, nan_).passed, "NaN for a number");
    cr_expect(isnan(compare(&buffer, one, nan_).error));
    cr_expect(!compare(&buffer, one, plus).passed, "infinity for a number");
    cr_expect(!compare(&buffer, nan_, one).passed, "a number for NaN");
    cr_expect(!compare(&buffer, plus, one).passed, "a number for infinity");
    cr_expect(!compare(&buffer, plus, minus).passed, "the other infinity");
    cr_expect(!compare(&buffer, plus, nan_).passed, "NaN for infinity");
    cr_expect(compare(&buffer, nan_, nan_).passed);
    cr_expect(compare(&buffer, minus, minus).passed);
}

Test(comparer, compares_integers_exactly)
{
    const lm_case_buffer buffer = {.name = "index", .count = 1, .integer = true, .tolerance = 1};
    lm_check_result result = {.passed = true};
    lm_check_compare(&buffer, (uint32_t[]){50000}, (uint32_t[]){50000}, &result);
    cr_expect(result.passed);
    lm_check_compare(&buffer, (uint32_t[]){50000}, (uint32_t[]){50001}, &result);
    cr_expect(!result.passed);
}

Test(comparer, knows_what_was_written)
{
    const lm_case_buffer buffer = {.name = "y", .count = 2, .tolerance = 1};
    const uint32_t one = word_of(1.0f);
    lm_check_result result = {.passed = true};
    lm_check_compare(&buffer, (uint32_t[]){one, LM_CASE_POISON}, (uint32_t[]){one, LM_CASE_POISON}, &result);
    cr_expect(result.passed);
    lm_check_compare(&buffer, (uint32_t[]){one, LM_CASE_POISON}, (uint32_t[]){one, one}, &result);
    cr_expect(!result.passed && strstr(result.text, "out of range"), "%s", result.text);
    result = (lm_check_result){.passed = true};
    lm_check_compare(&buffer, (uint32_t[]){one, one}, (uint32_t[]){one, LM_CASE_POISON}, &result);
    cr_expect(!result.passed && strstr(result.text, "not written"), "%s", result.text);
    /* A NaN that the reference computes is not the poison. */
    result = (lm_check_result){.passed = true};
    lm_check_compare(&buffer, (uint32_t[]){0x7fc00000u, one}, (uint32_t[]){LM_CASE_POISON, one}, &result);
    cr_expect(!result.passed && strstr(result.text, "not written"), "%s", result.text);
}

Test(comparer, error_of_support)
{
    const double reference[3] = {1, -2, 0};
    const float good[3] = {1, -2, 0}, off[3] = {1, -2, 0.5f}, bad[3] = {1, NAN, 0};
    cr_expect(lm_test_error(good, reference, 3) == 0);
    cr_expect(lm_test_error(off, reference, 3) == 0.25);
    cr_expect(isnan(lm_test_error(bad, reference, 3)));
    cr_expect(!(lm_test_error(bad, reference, 3) <= 1e9));
}

/* ---- bugs planted in what a device does ------------------------------------------------------------------------- */

typedef enum bug {
    BUG_NONE,
    BUG_ELEMENT,       /* one element of the output is wrong */
    BUG_NAN,           /* one is NaN */
    BUG_UNWRITTEN,     /* the last one is never written */
    BUG_AFTER,         /* one word after the end of the view is written */
    BUG_BEFORE,        /* one word before its start */
    BUG_FAR,           /* the last guard word */
    BUG_PADDING,       /* an element between two rows */
    BUG_INPUT,         /* an input is changed */
    BUG_INPUT_GUARD,   /* a word after an input is written */
    BUG_UNSTEADY,      /* the second run differs from the first, within the tolerance */
} bug;

static const struct {
    bug bug;
    const char *text; /* in the report */
} bugs[] = {
    {BUG_ELEMENT, "instead of"},     {BUG_NAN, "instead of"},           {BUG_UNWRITTEN, "not written"},
    {BUG_AFTER, "outside its"},      {BUG_BEFORE, "outside its"},       {BUG_FAR, "outside its"},
    {BUG_PADDING, "out of range"},   {BUG_INPUT, "input a[0] was changed"}, {BUG_INPUT_GUARD, "outside its"},
    {BUG_UNSTEADY, "run to run"},
};

static bug planted;
static lm_buffer *hidden; /* what BUG_UNSTEADY remembers from run to run */
static lm_status (*honest_record)(const lm_case *c, lm_list *list, const lm_view *views);

/* Straight to the backend: the list would refuse what a buggy kernel does. */
static lm_status poke(lm_list *list, const lm_view *view, int64_t word, uint32_t value)
{
    const lm_view at = {view->buffer, (uint64_t)((int64_t)view->offset + 4 * word), 4};
    lm_status status = list->device->ops->list_barrier(list);
    return status == LM_OK ? list->device->ops->list_fill(list, at, value) : status;
}

static lm_status bad_record(const lm_case *c, lm_list *list, const lm_view *views)
{
    enum { A = 0, OUT = 4 };
    lm_status status = honest_record(c, list, views);
    if (status != LM_OK)
        return status;
    const lm_gemm_params *p = &c->params.gemm;
    const lm_view *out = &views[OUT];
    const int64_t first = p->c_offset, last = (int64_t)c->buffers[OUT].count - 1;
    switch (planted) {
    case BUG_NONE: return LM_OK;
    case BUG_ELEMENT: return poke(list, out, first + 1, word_of(0.123f));
    case BUG_NAN: return poke(list, out, first + 1, 0x7fc00000u);
    case BUG_UNWRITTEN: return poke(list, out, last, LM_CASE_POISON);
    case BUG_AFTER: return poke(list, out, last + 1, word_of(1.0f));
    case BUG_BEFORE: return poke(list, out, -1, word_of(1.0f));
    case BUG_FAR: return poke(list, out, last + 64, word_of(1.0f));
    case BUG_PADDING: return poke(list, out, first + p->cols, word_of(1.0f));
    case BUG_INPUT: return poke(list, &views[A], 0, word_of(1.0f));
    case BUG_INPUT_GUARD: return poke(list, &views[A], (int64_t)c->buffers[A].count, word_of(1.0f));
    case BUG_UNSTEADY: {
        /* Write the remembered word; remember another. */
        const lm_view memory = {hidden, 0, 4}, later = {hidden, 256, 4};
        const lm_view at = {out->buffer, out->offset + 4 * (uint64_t)(first + 1), 4};
        const lm_backend_ops *ops = list->device->ops;
        status = ops->list_barrier(list);
        if (status == LM_OK) status = ops->list_copy(list, at, memory);
        if (status == LM_OK) status = ops->list_barrier(list);
        if (status == LM_OK) status = ops->list_copy(list, memory, later);
        return status;
    }
    }
    return LM_OK;
}

/* Keeps the right value of the element that bad_record spoils. */
static uint32_t right_word;
static void (*honest_reference)(const lm_case *c, void *const *buffers);

static void remembering_reference(const lm_case *c, void *const *buffers)
{
    honest_reference(c, buffers);
    right_word = ((const uint32_t *)buffers[4])[c->params.gemm.c_offset + 1];
}

/* A strided product without residual: its output has padding and its input has room for changes. */
static size_t find_row(const lm_device *device)
{
    for (size_t i = 0; i < lm_case_count(LM_KERNEL_GEMM); i++) {
        lm_case *c = NULL;
        cr_assert(lm_case_create(device, LM_KERNEL_GEMM, i, 1, &c) == LM_OK);
        const bool fits = c->params.gemm.ldc > c->params.gemm.cols && c->params.gemm.rows > 2 && c->params.gemm.cols > 2
                          && !strstr(c->name, "not finite") && !strstr(c->name, "in place");
        lm_case_destroy(&c);
        if (fits)
            return i;
    }
    cr_assert_fail("no row has padding");
    return 0;
}

ParameterizedTestParameters(harness, catches_bugs_on_the_device) { return backends(); }
ParameterizedTest(lm_test_target *target, harness, catches_bugs_on_the_device)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const size_t row = find_row(device);
    const lm_buffer_params size = {.size = 512};
    cr_assert(lm_buffer_create(device, &size, &hidden) == LM_OK);
    lm_case *c = NULL;
    cr_assert(lm_case_create(device, LM_KERNEL_GEMM, row, lm_test_seed(), &c) == LM_OK);
    honest_record = c->record;
    c->record = bad_record;
    honest_reference = c->reference;
    c->reference = remembering_reference;

    lm_check_result result;
    planted = BUG_NONE;
    cr_assert(lm_check_case(device, c, &result) == LM_OK, "%s", lm_last_error());
    cr_expect(result.passed, "an honest kernel fails: %s", result.text);
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        const uint32_t first = right_word, second = right_word ^ 1;
        cr_assert(lm_buffer_upload(hidden, 0, &first, 4) == LM_OK && lm_buffer_upload(hidden, 256, &second, 4) == LM_OK);
        planted = bugs[i].bug;
        cr_assert(lm_check_case(device, c, &result) == LM_OK, "%s", lm_last_error());
        cr_expect(!result.passed, "bug %d goes unnoticed", (int)planted);
        cr_expect(strstr(result.text, bugs[i].text), "bug %d is reported as: %s", (int)planted, result.text);
    }
    lm_case_destroy(&c);
    lm_buffer_destroy(&hidden);
    lm_test_close(&device);
}

/* ---- bugs planted in parameters --------------------------------------------------------------------------------- */

/* What a kernel with a slip in its arithmetic computes is what the right kernel computes from slightly wrong parameters.
 * Each of these, given to the device only, must fail at least one of the kernel's quick rows. */
typedef struct slip {
    const char *name;
    lm_kernel_id kernel;
    void (*make)(lm_case *c);
} slip;

static void shorter_depth(lm_case *c) { c->params.gemm.depth -= c->params.gemm.depth > 1; }
static void no_bias(lm_case *c) { c->params.gemm.flags &= ~LM_GEMM_BIAS; }
static void no_softplus(lm_case *c) { c->params.gemm.flags &= ~LM_GEMM_SOFTPLUS; }
static void no_residual(lm_case *c) { c->params.gemm.flags &= ~LM_GEMM_RESIDUAL; }
static void other_operand_order(lm_case *c) { c->spec[3] = !c->spec[3]; }
static void fewer_columns(lm_case *c) { c->params.gemm.cols -= c->params.gemm.cols > 1; }
static void fewer_rows(lm_case *c) { c->params.gemm.rows -= c->params.gemm.rows > 1; }
static void one_tap_less(lm_case *c) { c->params.conv.taps -= c->params.conv.taps > 1; }
static void other_branch(lm_case *c) { c->params.conv.branch_first -= c->params.conv.branch_first > 0; }
static void no_gates(lm_case *c) { c->params.conv.flags &= ~LM_CONV_GATES; }
static void no_conv_bias(lm_case *c) { c->params.conv.flags &= ~LM_CONV_BIAS; }
static void other_ring(lm_case *c) { c->params.conv.ring = 0; }
static void shorter_ring(lm_case *c) { c->params.conv.history -= c->params.conv.history > 1; }
static void shorter_batch(lm_case *c) { c->params.conv.batch -= c->params.conv.batch > 1; }
static void no_gate(lm_case *c) { c->params.scan.flags = 0; }
static void one_state_less(lm_case *c) { c->params.scan.d_state -= c->params.scan.d_state > 1; }
static void c_beside(lm_case *c) { c->params.scan.c_offset--; }
static void z_beside(lm_case *c) { c->params.scan.z_offset -= c->params.scan.z_offset > 0; }
static void scan_shorter_batch(lm_case *c) { c->params.scan.batch -= c->params.scan.batch > 1; }
static void copied_sequence_less(lm_case *c) { c->params.state_copy.batch -= c->params.state_copy.batch > 1; }
static void copied_word_less(lm_case *c) { c->params.state_copy.words -= c->params.state_copy.words > 1; }
static void larger_epsilon(lm_case *c) { c->params.rmsnorm.epsilon *= 1.1f; }
static void other_piece(lm_case *c) { c->params.embed.first++; }
static void larger_piece(lm_case *c) { c->params.embed.count--; }
static void argmax_column_less(lm_case *c) { c->params.argmax.cols -= c->params.argmax.cols > 1; }
static void entropy_column_less(lm_case *c) { c->params.cross_entropy.cols -= c->params.cross_entropy.cols > 1; }

static const slip slips[] = {
    {"shorter depth", LM_KERNEL_GEMM, shorter_depth},
    {"shorter depth", LM_KERNEL_GEMV, shorter_depth},
    {"no bias", LM_KERNEL_GEMM, no_bias},
    {"no bias", LM_KERNEL_GEMV, no_bias},
    {"no softplus", LM_KERNEL_GEMM, no_softplus},
    {"no softplus", LM_KERNEL_GEMV, no_softplus},
    {"no residual", LM_KERNEL_GEMM, no_residual},
    {"no residual", LM_KERNEL_GEMV, no_residual},
    {"other operand order", LM_KERNEL_GEMM, other_operand_order},
    {"other operand order", LM_KERNEL_GEMV, other_operand_order},
    {"fewer columns", LM_KERNEL_GEMM, fewer_columns},
    {"fewer rows", LM_KERNEL_GEMV, fewer_rows},
    {"one tap less", LM_KERNEL_CONV, one_tap_less},
    {"the branch before", LM_KERNEL_CONV, other_branch},
    {"no gates", LM_KERNEL_CONV, no_gates},
    {"no bias", LM_KERNEL_CONV, no_conv_bias},
    {"other ring", LM_KERNEL_CONV, other_ring},
    {"shorter ring", LM_KERNEL_CONV, shorter_ring},
    {"one sequence less", LM_KERNEL_CONV, shorter_batch},
    {"shorter ring", LM_KERNEL_CONV_STATE, shorter_ring},
    {"other ring", LM_KERNEL_CONV_STATE, other_ring},
    {"no gate", LM_KERNEL_SCAN, no_gate},
    {"one state less", LM_KERNEL_SCAN, one_state_less},
    {"C beside C", LM_KERNEL_SCAN, c_beside},
    {"z beside z", LM_KERNEL_SCAN, z_beside},
    {"one sequence less", LM_KERNEL_SCAN_SUMMARY, scan_shorter_batch},
    {"one state less", LM_KERNEL_SCAN_SUMMARY, one_state_less},
    {"one state less", LM_KERNEL_SCAN_CARRY, one_state_less},
    {"one sequence less", LM_KERNEL_STATE_COPY, copied_sequence_less},
    {"one word less", LM_KERNEL_STATE_COPY, copied_word_less},
    {"epsilon off by a tenth", LM_KERNEL_RMSNORM, larger_epsilon},
    {"another piece", LM_KERNEL_EMBED, other_piece},
    {"shorter piece", LM_KERNEL_EMBED, larger_piece},
    {"last column", LM_KERNEL_ARGMAX, argmax_column_less},
    {"last column", LM_KERNEL_CROSS_ENTROPY, entropy_column_less},
};

static const slip *current;

static lm_status slipped_record(const lm_case *c, lm_list *list, const lm_view *views)
{
    lm_case changed = *c;
    current->make(&changed);
    return honest_record(&changed, list, views);
}

ParameterizedTestParameters(harness, catches_slips_of_parameters) { return backends(); }
ParameterizedTest(lm_test_target *target, harness, catches_slips_of_parameters)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t s = 0; s < sizeof slips / sizeof *slips; s++) {
        current = &slips[s];
        bool caught = false;
        for (size_t i = 0; i < lm_case_count(current->kernel) && !caught; i++) {
            if (!(lm_case_flags(current->kernel, i) & LM_CASE_QUICK))
                continue;
            lm_case *c = NULL;
            cr_assert(lm_case_create(device, current->kernel, i, lm_test_seed(), &c) == LM_OK);
            honest_record = c->record;
            c->record = slipped_record;
            lm_check_result result;
            lm_status status = lm_check_case(device, c, &result);
            cr_assert(status == LM_OK, "%s: %s", c->name, lm_last_error());
            caught = !result.passed;
            lm_case_destroy(&c);
        }
        cr_expect(caught, "%s: %s goes unnoticed", lm_kernel_get(current->kernel)->stem, current->name);
    }
    lm_test_close(&device);
}

/* A dilation that is off by one, and a head, lie in buffers: the device gets other content than the reference. */
static void (*change_content)(const lm_case *c, uint32_t *words);
static size_t changed_buffer;

static void reference_of_other_content(const lm_case *c, void *const *buffers)
{
    change_content(c, buffers[changed_buffer]);
    honest_reference(c, buffers);
}

static void smaller_dilation(const lm_case *c, uint32_t *words)
{
    uint32_t *dilation = &words[c->params.conv.branch_first + c->params.conv.branches - 1];
    *dilation -= *dilation > 1;
}
static void next_head(const lm_case *c, uint32_t *words)
{
    uint32_t *head = &words[LM_ROW_HEADS + c->params.conv.ring];
    *head = (*head + 1) % (uint32_t)c->params.conv.history;
}
static void next_slot(const lm_case *c, uint32_t *words)
{
    (void)c;
    words[LM_ROW_SLOT]--;
}
static void next_token(const lm_case *c, uint32_t *words)
{
    (void)c;
    words[0] += words[0] % 2 ? -1u : 1u;
}

static const struct {
    const char *name;
    lm_kernel_id kernel;
    size_t buffer;
    void (*change)(const lm_case *c, uint32_t *words);
} contents[] = {
    {"dilation off by one", LM_KERNEL_CONV, 4, smaller_dilation},
    {"head off by one", LM_KERNEL_CONV, 6, next_head},
    {"head off by one", LM_KERNEL_CONV_STATE, 1, next_head},
    {"slot off by one", LM_KERNEL_SCAN, 6, next_slot},
    {"slot off by one", LM_KERNEL_SCAN_CARRY, 6, next_slot},
    {"token off by one", LM_KERNEL_EMBED, 0, next_token},
};

ParameterizedTestParameters(harness, catches_slips_of_content) { return backends(); }
ParameterizedTest(lm_test_target *target, harness, catches_slips_of_content)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t s = 0; s < sizeof contents / sizeof *contents; s++) {
        bool caught = false;
        for (size_t i = 0; i < lm_case_count(contents[s].kernel) && !caught; i++) {
            if (!(lm_case_flags(contents[s].kernel, i) & LM_CASE_QUICK))
                continue;
            lm_case *c = NULL;
            cr_assert(lm_case_create(device, contents[s].kernel, i, lm_test_seed(), &c) == LM_OK);
            honest_reference = c->reference;
            c->reference = reference_of_other_content;
            change_content = contents[s].change;
            changed_buffer = contents[s].buffer;
            lm_check_result result;
            cr_assert(lm_check_case(device, c, &result) == LM_OK, "%s: %s", c->name, lm_last_error());
            caught = !result.passed;
            lm_case_destroy(&c);
        }
        cr_expect(caught, "%s: %s goes unnoticed", lm_kernel_get(contents[s].kernel)->stem, contents[s].name);
    }
    lm_test_close(&device);
}

/* ---- parts of large cases --------------------------------------------------------------------------------------- */

/* Runs the case from its content, but for word `index` of its first buffer where `changed`. */
static lm_check_result check_parts(lm_device *device, const lm_case *c, bool changed, size_t index)
{
    const uint32_t other = word_of(3.0f);
    lm_check_result result = {.passed = false};
    lm_timing timing;
    cr_assert_eq(lm_timing_create(device, c, &timing), LM_OK, "%s: %s", c->name, lm_last_error());
    if (changed)
        cr_assert_eq(lm_buffer_upload(timing.buffers[0], 4 * index, &other, 4), LM_OK);
    cr_assert_eq(lm_check_parts(timing.list, c, timing.views, &result), LM_OK, "%s: %s", c->name, lm_last_error());
    lm_timing_free(&timing);
    return result;
}

ParameterizedTestParameters(harness, parts) { return backends(); }
ParameterizedTest(lm_test_target *target, harness, parts)
{
    static const struct {
        const char *kernel, *shape;
    } cases[] = {
        {"scan", "B=2 L=100 Di=37 N=5"},        {"scan", "B=1 L=300 Di=3 N=16"},  {"conv", "B=2 L=60 Di=33 K=3 m=3"},
        {"product", "M=50 N=130 K=20 F=3"},     {"gemm", "M=40 N=90 K=33 T=1"},   {"gemv", "M=3 N=70 K=40 T=1 F=4"},
    };
    lm_device *device = lm_test_open(target->backend, target->disable);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_case *c = NULL;
        cr_assert_eq(lm_case_create_named(device, cases[i].kernel, cases[i].shape, lm_test_seed(), &c), LM_OK, "%s", lm_last_error());
        const lm_check_result right = check_parts(device, c, false, 0);
        cr_expect(right.passed, "%s: %s", c->name, right.text);
        /* The first parts have the first channel or row, the last ones the last. */
        cr_expect(!check_parts(device, c, true, 0).passed, "%s: a change at the start goes unnoticed", c->name);
        cr_expect(!check_parts(device, c, true, c->buffers[0].count - 1).passed, "%s: a change at the end goes unnoticed", c->name);
        lm_case_destroy(&c);
    }
    lm_test_close(&device);
}

Test(harness, shapes)
{
    static const char *const bad[] = {"B", "B=", "B=x", "B=0", "B=-1", "B=1x", "=1", "X=1", "B=1,L=2", "B=99999999999", "b=1"};
    lm_device *device = lm_test_open("cpu", 0);
    lm_case *c = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(lm_case_create_named(device, "scan", bad[i], 1, &c), LM_ERROR_INVALID_ARGUMENT, "%s", bad[i]);
        cr_expect(c == NULL && strstr(lm_last_error(), "B L Di N") != NULL, "%s", lm_last_error());
    }
    cr_expect_eq(lm_case_create_named(device, "nonsense", "", 1, &c), LM_ERROR_INVALID_ARGUMENT);
    cr_assert_eq(lm_case_create_named(device, "scan", "  N=3 B=2  L=5 Di=7 ", 1, &c), LM_OK);
    cr_expect(c->params.scan.d_state == 3 && c->params.scan.batch == 2 && c->params.scan.length == 5 && c->params.scan.channels == 7);
    lm_case_destroy(&c);
    lm_test_close(&device);
}
