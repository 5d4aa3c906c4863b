/* host/init.c: fresh weights from a seed, as lite-mamba initialises them; the same bits on every machine.
 *
 * Only additions, multiplications, divisions and square roots of doubles are used, which IEEE 754 defines exactly; exp and log
 * are series of these, since those of C libraries differ in their last bit. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/config.h"
#include "host/model.h"
#include "host/random.h"
#include "runtime/backend.h"

/* e^x by Taylor's series on [−ln2/2, ln2/2]; |x| < 700. */
static double exact_exp(double x)
{
    const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45, k = floor(x * 0x1.71547652b82fep0 + 0.5);
    const double r = (x - k * ln2_high) - k * ln2_low;
    double sum = 1.0;
    for (int i = 22; i > 0; i--) sum = 1.0 + sum * r / i;
    return ldexp(sum, (int)k);
}

/* ln x = 2·artanh((m−1)/(m+1)) + e·ln2 with x = m·2^e, m in [√½, √2). */
static double exact_log(double x)
{
    int e = 0;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2.0;
        e--;
    }
    const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
    double sum = 0.0;
    for (int i = 41; i > 0; i -= 2) sum = 1.0 / i + sum * s2;
    return 2.0 * s * sum + e * 0x1.62e42fefa39efp-1;
}

typedef struct initialiser {
    const lm_config *config;
    lm_init_params params;
    lm_tensor_set *set;
    char prefix[64];
} initialiser;

/* Appends a tensor with room for its values. */
static lm_status append(initialiser *in, const char *name, uint32_t rank, const uint64_t *shape, float **data)
{
    lm_tensor_set *set = in->set;
    *data = NULL;
    if (set->count == set->capacity) {
        size_t capacity = set->capacity == 0 ? 32 : 2 * set->capacity;
        lm_tensor *grown = realloc(set->tensors, capacity * sizeof *grown);
        if (grown == NULL) return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "a fresh model: out of memory");
        set->tensors = grown;
        set->capacity = capacity;
    }
    char full[128];
    snprintf(full, sizeof full, "%s%s", in->prefix, name);
    lm_tensor tensor = {.name = strdup(full), .dtype = LM_DTYPE_F32, .rank = rank, .count = 1};
    for (uint32_t i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
        tensor.count *= shape[i]; /* d_inner and vocab_size are below 2^21, so this stays below 2^63 */
    }
    tensor.nbytes = tensor.count * sizeof(float);
    *data = tensor.nbytes <= SIZE_MAX ? malloc((size_t)tensor.nbytes) : NULL;
    tensor.data = *data;
    if (tensor.name == NULL || *data == NULL) {
        free((char *)tensor.name);
        free(*data);
        *data = NULL;
        return lm_fail(NULL, LM_ERROR_OUT_OF_MEMORY, "a fresh model: out of memory for tensor '%s'", full);
    }
    set->tensors[set->count++] = tensor;
    return LM_OK;
}

static lm_random stream(const initialiser *in)
{
    return lm_random_stream(in->params.seed, in->set->tensors[in->set->count - 1].name);
}

/* Uniform in ±bound. */
static lm_status uniform(initialiser *in, const char *name, uint32_t rank, const uint64_t *shape, double bound)
{
    float *data;
    lm_status status = append(in, name, rank, shape, &data);
    if (status != LM_OK) return status;
    lm_random random = stream(in);
    const uint64_t count = in->set->tensors[in->set->count - 1].count;
    for (uint64_t i = 0; i < count; i++) data[i] = (float)((2.0 * lm_random_uniform(&random) - 1.0) * bound);
    return LM_OK;
}

static lm_status uniform1(initialiser *in, const char *name, uint64_t a, double bound)
{
    return uniform(in, name, 1, (const uint64_t[]){a}, bound);
}

static lm_status uniform2(initialiser *in, const char *name, uint64_t a, uint64_t b, double bound)
{
    return uniform(in, name, 2, (const uint64_t[]){a, b}, bound);
}

static lm_status constant(initialiser *in, const char *name, uint32_t rank, const uint64_t *shape, double value)
{
    float *data;
    lm_status status = append(in, name, rank, shape, &data);
    if (status != LM_OK) return status;
    const uint64_t count = in->set->tensors[in->set->count - 1].count;
    for (uint64_t i = 0; i < count; i++) data[i] = (float)value;
    return LM_OK;
}

/* About normal, by the sum of twelve uniforms. */
static lm_status normal2(initialiser *in, const char *name, uint64_t a, uint64_t b, double deviation)
{
    float *data;
    lm_status status = append(in, name, 2, (const uint64_t[]){a, b}, &data);
    if (status != LM_OK) return status;
    lm_random random = stream(in);
    for (uint64_t i = 0; i < a * b; i++) {
        double sum = -6.0;
        for (int j = 0; j < 12; j++) sum += lm_random_uniform(&random);
        data[i] = (float)(sum * deviation);
    }
    return LM_OK;
}

/* 1 − e^−x for x > 0; of a small x, where the difference would cancel, the series. */
static double exact_saturation(double x) { return x < 1e-5 ? x - x * x / 2.0 + x * x * x / 6.0 : 1.0 - exact_exp(-x); }

/* Δ's bias: the inverse of softplus of a log-uniform step between dt_min and dt_max. */
static lm_status delta_bias(initialiser *in, uint64_t channels)
{
    float *data;
    lm_status status = append(in, "dt_proj.bias", 1, (const uint64_t[]){channels}, &data);
    if (status != LM_OK) return status;
    lm_random random = stream(in);
    const lm_init_params *p = &in->params;
    const double low = exact_log(p->dt_min), high = exact_log(p->dt_max);
    for (uint64_t i = 0; i < channels; i++) {
        double dt = exact_exp(lm_random_uniform(&random) * (high - low) + low);
        if (dt < p->dt_init_floor) dt = p->dt_init_floor;
        data[i] = (float)(dt + exact_log(exact_saturation(dt)));
    }
    return LM_OK;
}

/* A_log[c, n] = ln(n+1). */
static lm_status decay(initialiser *in, uint64_t channels, uint64_t states)
{
    float *data;
    lm_status status = append(in, "A_log", 2, (const uint64_t[]){channels, states}, &data);
    if (status != LM_OK) return status;
    for (uint64_t n = 0; n < states; n++) {
        const float value = (float)exact_log((double)n + 1.0);
        for (uint64_t c = 0; c < channels; c++) data[c * states + n] = value;
    }
    return LM_OK;
}

static lm_status branch(initialiser *in, uint32_t index, uint64_t di)
{
    const lm_config *c = in->config;
    const double bound = 1.0 / sqrt(c->d_conv), wide = 1.0 / sqrt((double)di);
    const uint64_t taps[3] = {di, 1, c->d_conv}, square[3] = {di, di, 1};
    char name[64], stem[48];
    if (c->variant == LM_VARIANT_BASELINE)
        snprintf(stem, sizeof stem, "conv1d");
    else
        snprintf(stem, sizeof stem, "%sconv1d_layers.%u", c->variant == LM_VARIANT_DPWC ? "dw_" : "", index);
    snprintf(name, sizeof name, "%s.weight", stem);
    lm_status status = uniform(in, name, 3, taps, bound);
    snprintf(name, sizeof name, "%s.bias", stem);
    if (status == LM_OK && !c->no_conv_bias) status = uniform1(in, name, di, bound);
    if (status != LM_OK || c->variant != LM_VARIANT_DPWC) return status;
    snprintf(name, sizeof name, "pw_conv1d_layers.%u.weight", index);
    status = uniform(in, name, 3, square, wide);
    snprintf(name, sizeof name, "pw_conv1d_layers.%u.bias", index);
    return status == LM_OK ? uniform1(in, name, di, wide) : status;
}

static lm_status block(initialiser *in)
{
    const lm_config *c = in->config;
    const uint64_t di = lm_config_d_inner(c), dm = c->d_model, n = c->d_state, r = c->dt_rank;
    const double in_bound = 1.0 / sqrt((double)dm), out_bound = 1.0 / sqrt((double)di), dt_bound = in->params.dt_scale / sqrt((double)r);
    lm_status status = decay(in, di, n);
    if (status == LM_OK) status = constant(in, "D", 1, (const uint64_t[]){di}, 1.0);
    if (status == LM_OK) status = uniform2(in, "in_proj.weight", 2 * di, dm, in_bound);
    if (status == LM_OK && c->bias) status = uniform1(in, "in_proj.bias", 2 * di, in_bound);
    if (status == LM_OK && (c->variant == LM_VARIANT_PTCN || c->variant == LM_VARIANT_DPWC))
        status = constant(in, "conv_gates", 1, (const uint64_t[]){c->branches}, 1.0);
    for (uint32_t i = 0; i < c->branches && status == LM_OK; i++) status = branch(in, i, di);
    if (status == LM_OK) status = uniform2(in, "x_proj.weight", r + 2 * n, di, out_bound);
    if (status == LM_OK)
        status = in->params.dt_constant ? constant(in, "dt_proj.weight", 2, (const uint64_t[]){di, r}, dt_bound)
                                        : uniform2(in, "dt_proj.weight", di, r, dt_bound);
    if (status == LM_OK) status = delta_bias(in, di);
    if (status == LM_OK) status = uniform2(in, "out_proj.weight", dm, di, out_bound);
    if (status == LM_OK && c->bias) status = uniform1(in, "out_proj.bias", dm, out_bound);
    return status;
}

static lm_status language_model(initialiser *in)
{
    const lm_config *c = in->config;
    const uint64_t width[1] = {c->d_model};
    lm_status status = normal2(in, "backbone.embeddings.weight", c->vocab_size, c->d_model, 0.02);
    for (uint32_t i = 0; i < c->layers && status == LM_OK; i++) {
        snprintf(in->prefix, sizeof in->prefix, "backbone.layers.%u.", i);
        status = constant(in, "norm.weight", 1, width, 1.0);
        snprintf(in->prefix, sizeof in->prefix, "backbone.layers.%u.mixer.", i);
        if (status == LM_OK) status = block(in);
    }
    in->prefix[0] = '\0';
    if (status == LM_OK) status = constant(in, "backbone.norm_f.weight", 1, width, 1.0);
    if (status == LM_OK && c->untied)
        status = uniform2(in, "lm_head.weight", c->vocab_size, c->d_model, 1.0 / sqrt((double)c->d_model));
    return status;
}

lm_status lm_init_tensors(const lm_config *config, const lm_init_params *params, lm_tensor_set *set)
{
    static const lm_init_params zero;
    initialiser in = {.config = config, .params = params != NULL ? *params : zero, .set = set};
    lm_init_params *p = &in.params;
    if (p->dt_min == 0.0) p->dt_min = 1e-3;
    if (p->dt_max == 0.0) p->dt_max = 1e-1;
    if (p->dt_scale == 0.0) p->dt_scale = 1.0;
    if (p->dt_init_floor == 0.0) p->dt_init_floor = 1e-4;
    if (!(p->dt_min > 0.0 && p->dt_max >= p->dt_min && p->dt_max < 100.0 && p->dt_init_floor > 0.0 && p->dt_init_floor < 100.0 &&
          isfinite(p->dt_scale)))
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT,
                       "a fresh model: requires 0 < dt_min <= dt_max < 100, 0 < dt_init_floor < 100 and a finite dt_scale");
    set->path = "a fresh model";
    return config->layers > 0 ? language_model(&in) : block(&in);
}

/* ---- writing a folder --------------------------------------------------------------------------------------------------- */

static bool exists(const char *folder, const char *name)
{
    char path[4096];
    struct stat status;
    return (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path && lstat(path, &status) == 0;
}

lm_status lm_model_init(const char *folder, const lm_config *config, const lm_init_params *params)
{
    if (folder == NULL || config == NULL)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_init: requires a folder and a configuration");
    lm_config complete = *config;
    lm_status status = lm_config_complete(&complete);
    if (status != LM_OK) return status;
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", folder) >= sizeof path)
        return lm_fail(NULL, LM_ERROR_INVALID_ARGUMENT, "lm_model_init: the folder's name is too long");
    const bool made = mkdir(folder, 0777) == 0;
    if (!made && errno != EEXIST) return lm_fail(NULL, LM_ERROR_IO, "%s: cannot be made: %s", folder, strerror(errno));
    if (exists(folder, "config.json") || exists(folder, "model.safetensors"))
        return lm_fail(NULL, LM_ERROR_IO, "%s: has a config.json or model.safetensors already", folder);
    lm_tensor_set set = {0};
    status = lm_init_tensors(&complete, params, &set);
    if (status == LM_OK) status = lm_safetensors_write(path, set.tensors, set.count, NULL, 0);
    if (status == LM_OK) {
        status = lm_config_write(folder, &complete);
        if (status != LM_OK) unlink(path); /* half a model would stand in the way of the next attempt */
    }
    if (status != LM_OK && made) rmdir(folder);
    lm_tensor_set_free(&set);
    return status;
}
