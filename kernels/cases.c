/* kernels/cases.c: making cases; what the families share. */
#include "kernels/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lm_case_family *family_of(lm_kernel_id kernel)
{
    switch (kernel) {
    case LM_KERNEL_GEMM:
    case LM_KERNEL_GEMV: return &lm_case_family_gemm;
    case LM_KERNEL_CONV:
    case LM_KERNEL_CONV_WINDOW:
    case LM_KERNEL_CONV_STATE: return &lm_case_family_conv;
    case LM_KERNEL_SCAN:
    case LM_KERNEL_SCAN_TILED:
    case LM_KERNEL_SCAN_ENDS:
    case LM_KERNEL_SCAN_SUMMARY:
    case LM_KERNEL_SCAN_CARRY: return &lm_case_family_scan;
    case LM_KERNEL_STATE_COPY: return &lm_case_family_state;
    case LM_KERNEL_STEP_IN:
    case LM_KERNEL_STEP_SCAN:
    case LM_KERNEL_STEP_OUT: return &lm_case_family_step;
    default: return &lm_case_family_rows;
    }
}

size_t lm_case_count(lm_kernel_id kernel)
{
    switch (kernel) {
    /* Where a device reads texels, they are what the rows of gemv, conv and scan run; and rows of scan_ends have long chunks. */
    case LM_KERNEL_SCAN_ENDS_LONG:
    case LM_KERNEL_GEMM_TEXEL:
    case LM_KERNEL_CONV_TEXEL:
    case LM_KERNEL_SCAN_TEXEL: return 0;
    default: return family_of(kernel)->count(kernel);
    }
}

unsigned lm_case_flags(lm_kernel_id kernel, size_t index)
{
    return family_of(kernel)->flags(kernel, index);
}

static void reference(const lm_case *c, void *const *buffers)
{
    lm_kernel_get(c->kernel)->reference(&c->params, c->spec, buffers);
}

/* Row `index`, or `shape` where it is not NULL. */
static lm_status create(const lm_device *device, lm_kernel_id kernel, size_t index, const char *shape, uint64_t seed,
                        lm_case **out)
{
    *out = NULL;
    lm_case *c = calloc(1, sizeof *c);
    if (!c)
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "kernel case: out of memory");
    c->kernel = kernel;
    c->flags = shape ? LM_CASE_LARGE : lm_case_flags(kernel, index);
    c->reference = reference;
    /* Rows differ in their numbers though the seed is one. */
    lm_case_random random = {seed * 0x100000001b3u + (uint64_t)kernel * 4096 + index};
    lm_case_below(&random, 2);
    lm_status status = LM_OK;
    if (shape)
        status = family_of(kernel)->build_shape(c, device, shape, &random);
    else
        family_of(kernel)->build(c, device, index, &random);
    if (status == LM_OK && c->failed)
        status = lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "kernel case: out of memory");
    if (status == LM_OK)
        *out = c;
    else
        lm_case_destroy(&c);
    return status;
}

lm_status lm_case_create(const lm_device *device, lm_kernel_id kernel, size_t index, uint64_t seed, lm_case **out)
{
    *out = NULL;
    if (index >= lm_case_count(kernel))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "kernel %s has no case %zu", lm_kernel_get(kernel)->stem, index);
    return create(device, kernel, index, NULL, seed, out);
}

lm_status lm_case_create_shape(const lm_device *device, lm_kernel_id kernel, const char *shape, uint64_t seed, lm_case **out)
{
    return create(device, kernel, 0, shape, seed, out);
}

lm_status lm_case_create_named(const lm_device *device, const char *name, const char *shape, uint64_t seed, lm_case **out)
{
    *out = NULL;
    const bool product = strcmp(name, "product") == 0;
    for (int id = 0; id < LM_KERNEL_COUNT; id++) {
        if (strcmp(lm_kernel_get((lm_kernel_id)id)->stem, product ? "gemm" : name) != 0)
            continue;
        const lm_status status = lm_case_create_shape(device, (lm_kernel_id)id, shape, seed, out);
        if (status == LM_OK && product)
            (*out)->record = lm_case_record_product;
        return status;
    }
    return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "no kernel is called '%s'", name);
}

lm_status lm_case_parse(const char *shape, const lm_case_key *keys, size_t key_count, void *row)
{
    for (const char *at = shape + strspn(shape, " "); *at != '\0';) {
        const size_t length = strcspn(at, "= ");
        size_t key = 0;
        while (key < key_count && (strlen(keys[key].name) != length || strncmp(keys[key].name, at, length) != 0))
            key++;
        char *end = NULL;
        const long value = key < key_count && at[length] == '=' ? strtol(at + length + 1, &end, 10) : 0;
        if (value < 1 || value > 1 << 28 || (*end != ' ' && *end != '\0')) {
            char names[80] = "";
            for (size_t i = 0; i < key_count; i++)
                snprintf(names + strlen(names), sizeof names - strlen(names), " %s", keys[i].name);
            return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT,
                           "shape '%s': '%s' is not NAME=NUMBER with a number above 0 and one of%s", shape, at, names);
        }
        *(int *)(void *)((char *)row + keys[key].offset) = (int)value;
        at = end + strspn(end, " ");
    }
    return LM_OK;
}

void lm_case_destroy(lm_case **c)
{
    if (!c || !*c)
        return;
    for (size_t i = 0; i < (*c)->buffer_count; i++)
        free((*c)->buffers[i].words);
    free(*c);
    *c = NULL;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

void lm_case_gather(const lm_case_cut *cut, const uint32_t *from, uint32_t *to)
{
    for (size_t i = 0; i < cut->pieces; i++)
        memcpy(to + i * cut->piece, from + cut->first + i * cut->step, cut->piece * sizeof *to);
}

lm_status lm_case_part(const lm_case *c, unsigned index, lm_case **out, lm_case_cut cuts[LM_CASE_MAX_BUFFERS])
{
    *out = NULL;
    if (!c->cut)
        return lm_fail(NULL, LM_ERROR_UNSUPPORTED, "%s: has no parts", c->name);
    lm_case *part = malloc(sizeof *part);
    if (!part)
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "kernel case: out of memory");
    *part = *c;
    for (size_t i = 0; i < part->buffer_count; i++) {
        part->buffers[i].words = NULL;
        cuts[i] = (lm_case_cut){0, 0, 1, c->buffers[i].count};
    }
    c->cut(c, index, part, cuts);
    for (size_t i = 0; i < part->buffer_count && !part->failed; i++) {
        lm_case_buffer *buffer = &part->buffers[i];
        buffer->count = c->buffers[i].words ? cuts[i].pieces * cuts[i].piece : 0;
        if (buffer->count == 0)
            continue;
        buffer->words = malloc(buffer->count * sizeof *buffer->words);
        part->failed = !buffer->words;
        if (buffer->words)
            lm_case_gather(&cuts[i], c->buffers[i].words, buffer->words);
    }
    if (part->failed) {
        lm_case_destroy(&part);
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "kernel case: out of memory");
    }
    *out = part;
    return LM_OK;
}

size_t lm_case_part_first(unsigned index, size_t count, size_t size)
{
    return count <= size ? 0 : (count - size) * index / (LM_CASE_PARTS - 1);
}

/* ---- random numbers --------------------------------------------------------------------------------------------- */

/* splitmix64: the same on every machine. */
static uint64_t next(lm_case_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t lm_case_below(lm_case_random *random, uint32_t limit)
{
    return (uint32_t)((next(random) >> 32) * limit >> 32);
}

float lm_case_uniform(lm_case_random *random, double low, double high)
{
    return (float)(low + (high - low) * ((double)(next(random) >> 11) * 0x1p-53));
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

static lm_case_buffer *append(lm_case *c, const char *name, size_t count)
{
    if (c->buffer_count == LM_CASE_MAX_BUFFERS) {
        c->failed = true;
        return &c->buffers[0];
    }
    lm_case_buffer *buffer = &c->buffers[c->buffer_count++];
    *buffer = (lm_case_buffer){.name = name, .shared = -1, .count = count};
    if (count == 0)
        return buffer;
    buffer->words = malloc(count * sizeof *buffer->words);
    if (!buffer->words) {
        c->failed = true;
        buffer->count = 0;
        return buffer;
    }
    for (size_t i = 0; i < count; i++)
        buffer->words[i] = LM_CASE_POISON;
    return buffer;
}

lm_case_buffer *lm_case_input(lm_case *c, const char *name, size_t count)
{
    return append(c, name, count);
}

lm_case_buffer *lm_case_output(lm_case *c, const char *name, size_t count, double tolerance, double scale)
{
    lm_case_buffer *buffer = append(c, name, count);
    buffer->written = true;
    buffer->tolerance = tolerance;
    buffer->scale = scale;
    return buffer;
}

void lm_case_absent(lm_case *c, const char *name)
{
    append(c, name, 0);
}

void lm_case_shared(lm_case *c, const char *name, int with)
{
    append(c, name, 0)->shared = with;
}

void lm_case_fill(lm_case_buffer *buffer, lm_case_random *random, size_t rows, size_t stride, size_t offset, size_t cols,
                  double low, double high)
{
    enum { PERIOD = 1000003 }; /* a prime, so that no row of a large array is as another */
    float *values = lm_case_floats(buffer);
    const size_t total = rows * cols;
    if (stride == cols && total > 8 * PERIOD && offset + total <= buffer->count) {
        lm_case_fill(buffer, random, 1, 0, offset, PERIOD, low, high);
        for (size_t i = PERIOD; i < total; i += PERIOD)
            memcpy(values + offset + i, values + offset, (total - i < PERIOD ? total - i : PERIOD) * sizeof *values);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols && r * stride + offset + c < buffer->count; c++)
            values[r * stride + offset + c] = lm_case_uniform(random, low, high);
}

float *lm_case_floats(lm_case_buffer *buffer)
{
    return (float *)(void *)buffer->words;
}

int32_t *lm_case_ints(lm_case_buffer *buffer)
{
    return (int32_t *)(void *)buffer->words;
}

/* ---- row tables ------------------------------------------------------------------------------------------------- */

int lm_case_slots(int batch)
{
    return batch + 1;
}

size_t lm_case_row_table(lm_case *c, lm_case_random *random, int batch, int length, bool ragged, int rows_stride, int rings,
                         int ring)
{
    lm_case_buffer *table = lm_case_input(c, "rows", (size_t)batch * (size_t)rows_stride);
    if (c->failed)
        return 1;
    int32_t *rows = lm_case_ints(table);
    for (int b = 0; b < batch; b++) {
        int32_t *row = rows + (size_t)b * (size_t)rows_stride;
        row[LM_ROW_SLOT] = batch - b; /* slot 0 is the untouched one */
        row[LM_ROW_LENGTH] = b == 0 || !ragged ? length : b == 1 ? 0 : (int32_t)lm_case_below(random, (uint32_t)length + 1);
        /* A new sequence, one of few tokens, or (mostly) one whose past fills every ring. */
        const uint32_t past = lm_case_below(random, 4);
        row[LM_ROW_SEEN] = past == 0 ? 0 : past == 1 ? (int32_t)lm_case_below(random, (uint32_t)ring + 1) : 1 << 24;
        for (int r = 0; r < rings; r++)
            row[LM_ROW_HEADS + r] = ring > 1 ? (int32_t)lm_case_below(random, (uint32_t)ring) : 0;
    }
    /* Odd sequences lie first. */
    int32_t start = 0;
    for (int odd = 1; odd >= 0; odd--) {
        for (int b = odd; b < batch; b += 2) {
            rows[(size_t)b * (size_t)rows_stride + LM_ROW_START] = start;
            start += rows[(size_t)b * (size_t)rows_stride + LM_ROW_LENGTH];
        }
    }
    return (size_t)start;
}
