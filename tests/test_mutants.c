/* tests/test_mutants.c: tests of the tests, from the other end: real kernels with one thing changed, built and run as
 * always. The rows of kernels/cases.h have to notice. The linker hands the backends the sources from here (--wrap). */
#include "kernels/check.h"
#include "kernels/launch_internal.h"
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(mutants, .timeout = 600);

const char *__real_lm_kernel_opencl_source(lm_kernel_id id);
const uint32_t *__real_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size);
const char *__wrap_lm_kernel_opencl_source(lm_kernel_id id);
const uint32_t *__wrap_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size);

/* What one kernel is replaced with; NULL: nothing. */
static lm_kernel_id mutated;
static char *mutated_source;
static uint32_t *mutated_spirv;

const char *__wrap_lm_kernel_opencl_source(lm_kernel_id id)
{
    return mutated_source && id == mutated ? mutated_source : __real_lm_kernel_opencl_source(id);
}

/* A mutated kernel has no form but the one that devices without addresses take. */
const uint32_t *__wrap_lm_kernel_spirv(lm_kernel_id id, lm_spirv_form form, size_t *size)
{
    const uint32_t *words = __real_lm_kernel_spirv(id, form, size);
    if (mutated_spirv == NULL || id != mutated) return words;
    return form == LM_SPIRV_BOUND ? mutated_spirv : NULL;
}

/* Runs rows until one fails; false when all pass. A new device builds the kernel anew. `ran` counts rows. */
static bool is_caught(const lm_test_target *target, lm_kernel_id kernel, unsigned *ran)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    bool caught = false;
    for (size_t i = 0; i < lm_case_count(kernel) && !caught; i++) {
        if (lm_case_flags(kernel, i) & LM_CASE_LARGE)
            continue;
        lm_case *c = NULL;
        lm_check_result result;
        cr_assert(lm_case_create(device, kernel, i, lm_test_seed(), &c) == LM_OK);
        cr_assert(lm_check_case(device, c, &result) == LM_OK, "%s: %s", c->name, lm_last_error());
        caught = !result.passed;
        (*ran)++;
        lm_case_destroy(&c);
    }
    lm_test_close(&device);
    return caught;
}

/* ---- OpenCL: text ----------------------------------------------------------------------------------------------- */

/* `from` has to be in the kernel's source: who changes it there, changes it here. The mutants neither leave their buffers
 * nor loop for ever, as they run on real hardware. */
typedef struct text_mutant {
    lm_kernel_id kernel;
    const char *from, *to;
    enum {
        ANY,      /* in code that every device runs */
        NARROW,   /* for one float a lane: only this is tried again with wide lanes turned off */
        UNSTAGED, /* the scan's for processors, which reads B and C directly */
        STAGED,   /* the scan's for GPUs */
    } code;
} text_mutant;

static const text_mutant text_mutants[] = {
    {LM_KERNEL_GEMM, "v += lm_load(residual", "v -= lm_load(residual", ANY},
    {LM_KERNEL_GEMM, "0.139993556f", "0.149993556f", ANY},
    {LM_KERNEL_GEMM, "sum[i][4 * j + 3] = LM_MAD(one, in_b[j].w", "sum[i][4 * j + 3] = LM_MAD(one, in_b[j].z", NARROW},
    {LM_KERNEL_GEMM, "((slice ^ apart) * give", "(slice * give", NARROW},
    {LM_KERNEL_GEMM, "m < p.rows && k < p.depth ?", "m < p.rows && k + 1 < p.depth ?", NARROW},
    {LM_KERNEL_GEMV, "v = lm_softplus(v)", "v = v > 0.0f ? v : 0.0f", ANY},
    {LM_KERNEL_GEMV, "for (int k = ly; k < p.depth", "for (int k = ly; k < p.depth - 1", ANY},
    {LM_KERNEL_GEMV, "part[i][ly][lx] += part[i][ly][lx + half_x]", "part[i][ly][lx] = part[i][ly][lx + half_x]", NARROW},
    {LM_KERNEL_RMSNORM, "part[lane] += part[lane + half_x]", "part[lane] = part[lane + half_x]", NARROW},
    {LM_KERNEL_CONV, "(p.taps - 1 - j) * dilation", "(p.taps - 1 - j) * (dilation - 1)", ANY},
    {LM_KERNEL_CONV, "LM_CONV_GATES ? gates[k]", "LM_CONV_GATES ? gates[0]", ANY},
    {LM_KERNEL_CONV, "t >= -seen", "t > -seen", ANY},
    {LM_KERNEL_CONV, "t >= -seen", "true", ANY},
    {LM_KERNEL_CONV, "t >= -seen", "true", NARROW},
    {LM_KERNEL_CONV, "2.12194440e-4f", "2.12194440e-3f", ANY},
    {LM_KERNEL_CONV_WINDOW, "s + AHEAD < left", "s + AHEAD < left - 1", ANY},
    {LM_KERNEL_CONV_WINDOW, "(s + REACH - (TAPS - 1 - j) * DILATION(k)) % RING", "(s + REACH - (TAPS - 1 - j) * DILATION(k) + 1) % RING", ANY},
    {LM_KERNEL_CONV_WINDOW, "t < -min(p->history, q->seen)", "t < -p->history", ANY},
    {LM_KERNEL_CONV_WINDOW, "max(q->count - p->history, 0)", "max(q->count - p->history, 1)", ANY},
    {LM_KERNEL_CONV_WINDOW, "range < LM_SILU_RANGE ? fast : sum", "fast", ANY},
    {LM_KERNEL_CONV_STATE, "max(length - p.history, 0)", "max(length - p.history, 1)", ANY},
    {LM_KERNEL_CONV_STATE, "(uint)head + (uint)t", "(uint)head + (uint)t + 1", ANY},
    {LM_KERNEL_SCAN, "skip * input", "skip + input", ANY},
    {LM_KERNEL_SCAN, "resumes && n < states", "n < states", ANY},
    {LM_KERNEL_SCAN, "if (!first && owner) sum", "if (first && owner) sum", UNSTAGED},
    {LM_KERNEL_SCAN, "first || !owner ?", "!first || !owner ?", STAGED},
    {LM_KERNEL_SCAN, "const floatv scaled = step * input", "const floatv scaled = input", UNSTAGED},
    {LM_KERNEL_SCAN, "const float scaled = step[i] * input[i]", "const float scaled = input[i]", STAGED},
    {LM_KERNEL_SCAN_ENDS, "chunk == 0 && row[LM_ROW_SEEN] > 0", "chunk == 0", NARROW},
    {LM_KERNEL_SCAN_ENDS, "const float4 far = total * rate", "const float4 far = sum * rate", NARROW},
    {LM_KERNEL_SCAN_ENDS, "odd[now] != 0", "odd[now] > 1", NARROW},
    {LM_KERNEL_SCAN_SUMMARY, "steps += step;", "steps = step;", UNSTAGED},
    {LM_KERNEL_SCAN_SUMMARY, "steps += step[i]", "steps = step[i]", STAGED},
    {LM_KERNEL_SCAN_SUMMARY, "s[n] = (floatv)(0.0f);", "s[n] = (floatv)(1e-3f);", UNSTAGED},
    {LM_KERNEL_SCAN_SUMMARY, "s[n] = 0.0f;", "s[n] = 1e-3f;", STAGED},
    {LM_KERNEL_SCAN_CARRY, "lm_store(carried, entry, count)", "lm_store(last, entry, count)", ANY},
    {LM_KERNEL_RMSNORM, " + p.epsilon", "", ANY},
    {LM_KERNEL_RMSNORM, "squares = LM_MAD(v, v, squares)", "squares = LM_MAD(v, fabs(v), squares * 0.99999f)", ANY},
    {LM_KERNEL_STEP_IN, "back <= seen", "back < seen", ANY},
    {LM_KERNEL_STEP_IN, "back <= seen", "true", ANY},
    {LM_KERNEL_STEP_IN, "place < 0 ? place + ring.length", "place < 1 ? place + ring.length", ANY},
    {LM_KERNEL_STEP_IN, "LM_MAD((floatv)(share[k]),", "LM_MAD((floatv)(1.0f),", ANY},
    {LM_KERNEL_STEP_IN, "newest_at[r * BRANCHES + k] + c", "newest_at[r * BRANCHES] + c", ANY},
    {LM_KERNEL_STEP_IN, "if (k == 0) lm_store(v, history", "if (k == 1) lm_store(v, history", ANY},
    {LM_KERNEL_STEP_IN, "for (int c = q; c < c_end", "for (int c = q + 1; c < c_end", ANY},
    {LM_KERNEL_STEP_IN, "from < t.depth ? left_c", "from + 1 < t.depth ? left_c", NARROW},
    {LM_KERNEL_STEP_IN, "from[2 * TILE] + from[3 * TILE]", "from[2 * TILE] + from[2 * TILE]", NARROW},
    {LM_KERNEL_STEP_SCAN, "share < SHARES", "share + 1 < SHARES", NARROW},
    {LM_KERNEL_STEP_SCAN, "part < count; part", "part + 1 < count; part", ANY},
    {LM_KERNEL_STEP_SCAN, "resumes = row[LM_ROW_SEEN] > 0", "resumes = true", ANY},
    {LM_KERNEL_STEP_SCAN, "skip * u", "skip + u", NARROW},
    {LM_KERNEL_ARGMAX, "x == best && c < index", "x == best && c > index", ANY},
    {LM_KERNEL_CROSS_ENTROPY, "largest - row[target[r]]", "largest + row[target[r]]", ANY},
    {LM_KERNEL_CROSS_ENTROPY, "log(sum)", "native_log(sum + 1e-4f)", ANY},
    {LM_KERNEL_EMBED, "token < p.first", "token <= p.first", ANY},
};

/* Everywhere it occurs. */
static char *replace(const char *text, const char *from, const char *to)
{
    size_t count = 0;
    for (const char *at = strstr(text, from); at; at = strstr(at + strlen(from), from))
        count++;
    if (!count)
        return NULL;
    char *result = malloc(strlen(text) + count * strlen(to) + 1), *out = result;
    cr_assert(result);
    for (;;) {
        const char *at = strstr(text, from);
        const size_t length = at ? (size_t)(at - text) : strlen(text);
        memcpy(out, text, length);
        out += length;
        if (!at)
            break;
        memcpy(out, to, strlen(to));
        out += strlen(to);
        text = at + strlen(from);
    }
    *out = '\0';
    return result;
}

ParameterizedTestParameters(mutants, opencl)
{
    static lm_test_target targets[] = {{"opencl", 0}, {"opencl", LM_CAP_WIDE_LANES}};
    return cr_make_param_array(lm_test_target, targets, sizeof targets / sizeof *targets);
}

ParameterizedTest(lm_test_target *target, mutants, opencl)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const bool wide = lm_device_get_info(device)->lanes > 1;
    const bool processor = lm_device_get_info(device)->type == LM_DEVICE_CPU;
    lm_test_close(&device);
    for (size_t i = 0; i < sizeof text_mutants / sizeof *text_mutants; i++) {
        const text_mutant *m = &text_mutants[i];
        const char *stem = lm_kernel_get(m->kernel)->stem;
        if (target->disable ? m->code != NARROW : wide && m->code == NARROW)
            continue;
        if (m->code == (processor ? STAGED : UNSTAGED))
            continue;
        mutated = m->kernel;
        mutated_source = replace(__real_lm_kernel_opencl_source(m->kernel), m->from, m->to);
        cr_expect(mutated_source, "%s.cl no longer has '%s': plant another bug", stem, m->from);
        unsigned ran = 0;
        if (mutated_source)
            cr_expect(is_caught(target, m->kernel, &ran), "%s.cl with '%s' for '%s' passes all %u rows", stem, m->to,
                      m->from, ran);
        free(mutated_source);
        mutated_source = NULL;
    }
}

/* ---- Vulkan: instructions --------------------------------------------------------------------------------------- */

/* One floating-point instruction becomes another: a sum a difference, a quotient a product and the like. Indexes are
 * left alone. */
enum { OP_FADD = 129, OP_FSUB = 131, OP_FMUL = 133, OP_FDIV = 136 };

static uint32_t other_opcode(uint32_t opcode)
{
    switch (opcode) {
    case OP_FADD: return OP_FSUB;
    case OP_FSUB: return OP_FADD;
    case OP_FMUL: return OP_FADD;
    case OP_FDIV: return OP_FMUL;
    default: return 0;
    }
}

/* Whose rows run a kernel that reads texels (kernels/cases.c); a kernel that does not, itself. */
static lm_kernel_id rows_of(lm_kernel_id kernel)
{
    switch (kernel) {
    case LM_KERNEL_GEMM_TEXEL: return LM_KERNEL_GEMV;
    case LM_KERNEL_CONV_TEXEL: return LM_KERNEL_CONV;
    case LM_KERNEL_SCAN_TEXEL: return LM_KERNEL_SCAN;
    case LM_KERNEL_SCAN_ENDS_LONG: return LM_KERNEL_SCAN_ENDS;
    default: return kernel;
    }
}

/* Of the instructions that can change, at most this many a kernel, evenly spread. */
enum { MOST_MUTANTS = 8 };

ParameterizedTestParameters(mutants, vulkan)
{
    static lm_test_target targets[] = {{"vulkan", 0}, {"vulkan", LM_CAP_TEXELS}};
    return cr_make_param_array(lm_test_target, targets, 2);
}

ParameterizedTest(lm_test_target *target, mutants, vulkan)
{
    lm_device *device = lm_test_open(target->backend, target->disable);
    const bool texels = lm_reads_texels(lm_device_get_info(device));
    lm_test_close(&device);
    if (!target->disable && !texels) cr_skip("no device that reads texels");
    unsigned made = 0, caught = 0;
    for (int kernel = 0; kernel < LM_KERNEL_COUNT; kernel++) {
        size_t size = 0, places = 0;
        if ((rows_of((lm_kernel_id)kernel) != (lm_kernel_id)kernel) != texels) continue;
        const uint32_t *words = __real_lm_kernel_spirv((lm_kernel_id)kernel, LM_SPIRV_BOUND, &size);
        const size_t count = size / sizeof *words;
        cr_assert(words && count > 5);
        for (size_t at = 5; at < count; at += words[at] >> 16)
            places += other_opcode(words[at] & 0xffff) != 0;
        const size_t spread = places > MOST_MUTANTS ? places / MOST_MUTANTS : 1;
        size_t place = 0;
        mutated = (lm_kernel_id)kernel;
        mutated_spirv = malloc(size);
        cr_assert(mutated_spirv);
        for (size_t at = 5; at < count; at += words[at] >> 16) {
            const uint32_t opcode = other_opcode(words[at] & 0xffff);
            if (!opcode || place++ % spread)
                continue;
            memcpy(mutated_spirv, words, size);
            mutated_spirv[at] = (words[at] & 0xffff0000u) | opcode;
            unsigned ran = 0;
            const bool noticed = is_caught(target, rows_of(mutated), &ran);
            made++;
            caught += noticed;
            if (!noticed)
                fprintf(stderr, "%s.comp: word %zu, opcode %u for %u: not noticed\n", lm_kernel_get(mutated)->stem, at,
                        (unsigned)opcode, (unsigned)(words[at] & 0xffff));
        }
        free(mutated_spirv);
        mutated_spirv = NULL;
    }
    /* Some cannot be noticed: instructions of paths that this device does not take, and corrections below one unit. */
    cr_expect(made >= 16 && caught * 10 >= made * 8, "%u of %u mutants were noticed", caught, made);
    fprintf(stderr, "%u of %u mutants were noticed\n", caught, made);
}
