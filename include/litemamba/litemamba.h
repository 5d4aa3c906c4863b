/* litemamba/litemamba.h: load, make and run Mamba models with lite-mamba's blocks on any device.
 *
 *     lm_context *context;  lm_device *device;  lm_model *model;
 *     lm_context_create(NULL, &context);
 *     lm_device_open(context, NULL, NULL, &device);          // the best there is
 *     lm_model_load(device, "models/jargon", NULL, &model);
 *
 * Shapes: B sequences, L tokens, Dm d_model, Di d_inner, N d_state, K d_conv, V vocabulary. Arrays are row-major float32,
 * channel-last, in host memory. Errors, threading and parameters: litemamba/runtime.h. A model and its states belong to
 * their device and, like it, to one thread at a time.
 */
#ifndef LITEMAMBA_H
#define LITEMAMBA_H

#include "litemamba/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- configuration ---------------------------------------------------------------------------------------------- */

typedef enum lm_variant {
    LM_VARIANT_BASELINE = 0, /* one causal depthwise convolution, dilation 1 */
    LM_VARIANT_PTCN = 1,     /* parallel branches, gated sum */
    LM_VARIANT_STCN = 2,     /* stacked branches */
    LM_VARIANT_DPWC = 3,     /* parallel branches, each with a pointwise product, gated sum */
} lm_variant;

/* "baseline", "ptcn", "stcn", "dpwc". */
LM_API const char *lm_variant_name(lm_variant variant);

enum { LM_MAX_BRANCHES = 32, LM_MAX_STATE = 256 };

/* What config.json says. Zero means the default in brackets, except where noted. */
typedef struct lm_config {
    lm_variant variant;
    uint32_t d_model;                     /* 1 … 65536, no default */
    uint32_t d_state;                     /* 1 … 256 [16] */
    uint32_t d_conv;                      /* 1 … 65536 [4] */
    uint32_t branches;                    /* 1 … 32 [1]; baseline has 1 */
    uint32_t dilations[LM_MAX_BRANCHES];  /* 1 … 65536 each, (d_conv − 1) · dilation at most 2^24 [1]; baseline has 1 */
    double expand;                        /* d_inner = (uint32_t)(expand · d_model), 1 … 2^20 [2] */
    uint32_t dt_rank;                     /* 1 … 65536 [ceil(d_model / 16)] */
    bool no_conv_bias;
    bool bias;                            /* in_proj and out_proj have biases */
    /* language models only; layers 0 is a bare block */
    uint32_t layers;                      /* 0 … 4096 */
    uint32_t vocab_size;                  /* 1 … 2^24, no default */
    double norm_epsilon;                  /* above 0, up to 1 [1e-5] */
    bool untied;                          /* lm_head.weight is separate from the embeddings */
    bool byte_tokens;                     /* "tokenizer_class": "bytes" */
} lm_config;

/* Fills defaults in and checks ranges. LM_ERROR_INVALID_ARGUMENT says which field. */
LM_API lm_status lm_config_complete(lm_config *config);

/* Di of a completed configuration. */
LM_API uint32_t lm_config_d_inner(const lm_config *config);

/* ---- models ----------------------------------------------------------------------------------------------------- */

/* Weights on a device: a bare block or a language model. Destroy its states first, then it, then the device. */
typedef struct lm_model lm_model;

typedef struct lm_model_params {
    uint64_t workspace_bytes; /* most device memory for activations of one pass; longer inputs are cut into passes, which
                               * changes nothing in the result beyond rounding [256 MiB; of a discrete GPU's memory 1/16,
                               * if that is more, up to 2 GiB] */
    bool deterministic;       /* a token's result is the same, bit for bit, however its sequence is cut into calls, and whatever
                               * else is in the batch (on `reference` only the latter: its state is float64 in a call);
                               * slower on long inputs (README, "Bit for bit") */
    bool device_times;        /* measure lm_model_device_seconds; costs a little on every call */
    bool untuned;             /* lm_model_load does not look for what lm_tune found on this device */
} lm_model_params;

/* Loads `folder`/config.json and `folder`/model.safetensors. LM_ERROR_IO, LM_ERROR_FORMAT with the file, tensor and cause. */
LM_API lm_status lm_model_load(lm_device *device, const char *folder, const lm_model_params *params, lm_model **model);

/* How a fresh block starts; zero means the default in brackets. */
typedef struct lm_init_params {
    uint64_t seed;
    double dt_min;        /* [1e-3] */
    double dt_max;        /* [1e-1] */
    bool dt_constant;     /* dt_proj.weight constant instead of uniform */
    double dt_scale;      /* [1] */
    double dt_init_floor; /* [1e-4] */
} lm_init_params;

/* Writes a folder with a freshly initialised model: the same bytes for the same seed on every machine. The folder is made
 * if it is missing; LM_ERROR_IO when it has a config.json or model.safetensors already. */
LM_API lm_status lm_model_init(const char *folder, const lm_config *config, const lm_init_params *params);

LM_API void lm_model_destroy(lm_model **model);
LM_API const lm_config *lm_model_get_config(const lm_model *model);

/* Reads a folder's configuration, and counts its parameters and weight bytes, without a device. Either may be NULL. */
typedef struct lm_model_info {
    lm_config config;
    uint64_t parameters;
    uint64_t file_bytes;     /* tensor bytes in model.safetensors */
    uint64_t device_bytes;   /* of weights once loaded */
    uint64_t state_bytes;    /* of one sequence's state */
    uint64_t tensors;
    char types[64];          /* e.g. "F16 F32" */
} lm_model_info;
LM_API lm_status lm_model_inspect(const char *folder, lm_model_info *info);

/* ---- state ------------------------------------------------------------------------------------------------------ */

/* The past of `slots` sequences: what a model needs to go on. On the device; lm_state_slot_bytes of them a slot,
 * however long it gets. After an error of any call other than LM_ERROR_DEVICE_LOST every slot is as it was. */
typedef struct lm_state lm_state;

enum { LM_MAX_ROLLBACK = 256 };

typedef struct lm_state_params {
    uint32_t slots;    /* at least 1 */
    uint32_t rollback; /* tokens that lm_state_rollback can take back: 0 … 256 [0]. Each costs a slot one more scan state and input a
                        * block (lm_state_slot_bytes), and each of the last ones of a call a scan of its own */
} lm_state_params;

/* All slots start empty. The state must be destroyed before its model. Slots cost their bytes on the device and nothing else,
 * however many there are: those over a device's limit on bindings are run in passes of their own.
 * LM_ERROR_OUT_OF_DEVICE_MEMORY says how many the device's memory holds. */
LM_API lm_status lm_state_create(lm_model *model, uint32_t slots, lm_state **state);
LM_API lm_status lm_state_create_with(lm_model *model, const lm_state_params *params, lm_state **state);
LM_API void lm_state_destroy(lm_state **state);
/* Forgets every slot's past, or one slot's. Nothing is done on the device. */
LM_API lm_status lm_state_reset(lm_state *state);
LM_API lm_status lm_state_reset_slot(lm_state *state, uint32_t slot);
/* Makes the slot what it was `tokens` tokens ago, bit for bit, as for speculative decoding: nothing is done on the device. A slot can
 * go back by as many tokens as it has run since it was empty, loaded, or last rolled back and then before, up to `rollback`; a fork
 * by as many as both can. More is refused and changes nothing. Inside a call that ran several tokens the slot becomes what a call
 * that ends there leaves: to the bit in a deterministic model, else but for rounding. */
LM_API lm_status lm_state_rollback(lm_state *state, uint32_t slot, uint32_t tokens);
/* Makes slot `to` continue as slot `from` would, of the same or another state of the same model: a copy on the device. */
LM_API lm_status lm_state_copy(lm_state *to_state, uint32_t to, const lm_state *from_state, uint32_t from);
/* For pools: takes a slot that is not taken, empty; gives it back. LM_ERROR_OUT_OF_DEVICE_MEMORY when all are taken. Slots may
 * also be used without this. */
LM_API lm_status lm_state_acquire(lm_state *state, uint32_t *slot);
LM_API lm_status lm_state_release(lm_state *state, uint32_t slot);
/* Writes a slot's past as safetensors in lite-mamba's layout: `conv_state.k` (1, d_inner, S_k), oldest first, and `ssm_state`
 * (1, d_inner, d_state), with `layers.N.` before them in a language model. Reads one: a file that names another model's
 * configuration, or whose tensors do not fit, is refused and changes nothing. Tensors written by lite-mamba are accepted. */
LM_API lm_status lm_state_save(const lm_state *state, uint32_t slot, const char *path);
LM_API lm_status lm_state_load(lm_state *state, uint32_t slot, const char *path);
/* The same for `count` slots, which become the sequences of one file, (count, d_inner, …); and for as many of a file's sequences from
 * `first` on, each into its slot, none twice. lm_state_load wants a file of one. lm_state_inspect: how many a file has. */
LM_API lm_status lm_state_save_slots(const lm_state *state, uint32_t count, const uint32_t *slots, const char *path);
LM_API lm_status lm_state_load_slots(lm_state *state, uint32_t count, const uint32_t *slots, uint32_t first, const char *path);
LM_API lm_status lm_state_inspect(const char *path, uint32_t *sequences);
/* Bytes of one slot; tokens that a slot has seen. */
LM_API uint64_t lm_state_slot_bytes(const lm_state *state);
LM_API uint64_t lm_state_position(const lm_state *state, uint32_t slot);

/* ---- sequences ------------------------------------------------------------------------------------------------------ */

/* The sequences of one call, packed end to end without padding: sequence i has rows offsets[i] … offsets[i+1]−1 of the arrays
 * of the call (tokens, inputs, outputs by row). Sequences may have any lengths, 0 too. */
typedef struct lm_sequences {
    uint32_t count;
    const uint32_t *offsets; /* count + 1 of them, from 0 on, none smaller than the one before */
    const uint32_t *slots;   /* each one's slot in the state, none twice; NULL: sequence i has slot i */
} lm_sequences;

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* A bare block: y = block(x), both (B, L, Dm). `state`, with B slots, is read and moved on by L tokens; NULL starts from
 * nothing and keeps nothing. L may be 0. x and y may be the same array. A call with L = 1 and a state is a streaming step and,
 * once it is recorded, allocates nothing; a model keeps its last 32 calls of different states, shapes and outputs. After an
 * error other than LM_ERROR_DEVICE_LOST the state is as it was. */
LM_API lm_status lm_block_forward(lm_model *model, lm_state *state, uint32_t batch, uint32_t length, const float *x, float *y);

/* The same for packed sequences of different lengths, each with its slot: x and y are (offsets[count], Dm). */
LM_API lm_status lm_block_forward_packed(lm_model *model, lm_state *state, const lm_sequences *sequences, const float *x,
                                         float *y);

typedef enum lm_output {
    LM_OUTPUT_NONE = 0,   /* only move the state on */
    LM_OUTPUT_LAST = 1,   /* logits of each sequence's last token: (B, V) */
    LM_OUTPUT_ALL = 2,    /* logits of every token: (B, L, V) */
    LM_OUTPUT_ARGMAX = 3, /* the likeliest next token of each sequence, found on the device: int32 (B) */
    LM_OUTPUT_LOSS = 4,   /* −ln p(target) of every token: float (B, L); `targets` is needed */
} lm_output;

/* A language model: tokens (B, L) int32, each below V. `output` points at what `kind` says (NULL for NONE). L = 0 writes
 * nothing for ALL and LOSS and is refused for LAST and ARGMAX. */
typedef struct lm_run_params {
    uint32_t batch, length;        /* batch sequences of length tokens, in slots 0 … batch−1 of a state of batch slots; … */
    const lm_sequences *sequences; /* … unless this is not NULL: then these, and (B, L) stands for their packed rows */
    const int32_t *tokens;
    const int32_t *targets; /* LM_OUTPUT_LOSS: (B, L), else NULL */
    lm_output kind;
    void *output;
} lm_run_params;
LM_API lm_status lm_model_run(lm_model *model, lm_state *state, const lm_run_params *params);

/* Device time of the last call of this model, in seconds; 0 without device_times or where the device has no timestamps. */
LM_API double lm_model_device_seconds(const lm_model *model);

/* ---- generation --------------------------------------------------------------------------------------------------- */

/* Called for each new token, on the calling thread. Return false to end its text: generate then returns LM_OK. */
typedef bool (*lm_token_callback)(void *user, int32_t token);

/* Tokens that end a text when they are generated one after the other, wherever the model's steps cut them. */
typedef struct lm_stop {
    const int32_t *tokens; /* at least 1 */
    uint32_t length;
} lm_stop;

typedef struct lm_generate_params {
    const int32_t *prompt;   /* at least 1 token */
    uint32_t prompt_length;
    uint32_t max_tokens;     /* new tokens [200] */
    float temperature;       /* 0 is greedy */
    uint32_t top_k;          /* keep the k likeliest; 0 keeps all */
    float top_p;             /* keep the likeliest until their probability reaches p; 0 or 1 keeps all */
    uint64_t seed;
    lm_token_callback on_token;
    void *user;
    /* A stop sequence is looked for in the new tokens, not in the prompt, and is not given to on_token: tokens that may begin
     * one are held back until it is clear that they do not. Where several end at one token, the longest counts. */
    const lm_stop *stops;
    uint32_t stop_count;
} lm_generate_params;

typedef enum lm_finish {
    LM_FINISH_NONE = 0,     /* not at all: the call was cancelled or failed before */
    LM_FINISH_LENGTH = 1,   /* max_tokens */
    LM_FINISH_STOP = 2,     /* a stop sequence */
    LM_FINISH_CALLBACK = 3, /* on_token returned false; what was held back is dropped */
} lm_finish;

/* What a text took; seconds by the host's clock. */
typedef struct lm_generate_stats {
    uint32_t prompt_tokens;
    uint32_t new_tokens;     /* chosen, those of the stop sequence too */
    double prompt_seconds;   /* from when its prompt was taken up to the first new token */
    double new_seconds;      /* the rest */
    lm_finish finish;
} lm_generate_stats;

/* Goes on from `state` (1 slot) with the prompt, or from nothing where it is NULL. The last new token has not been run: a call
 * that goes on from there begins its prompt with it. `stats` may be NULL. */
LM_API lm_status lm_generate(lm_model *model, lm_state *state, const lm_generate_params *params, lm_generate_stats *stats);

/* Many texts. Callbacks are on the calling thread, and may be NULL. */
typedef struct lm_generate_batch_params {
    uint32_t count;
    const lm_generate_params *texts; /* count of them, each with a prompt, a length, a way to choose and callbacks of its own */
    uint32_t slots;                  /* most texts at a time [8] */
    uint32_t chunk;                  /* most tokens of prompts in a step, of all texts together: others wait no longer [512] */
    bool (*on_step)(void *user);     /* before each step; false cancels: LM_ERROR_CANCELLED */
    void (*on_finish)(void *user, uint32_t text, const lm_generate_stats *stats);
    void *user;
} lm_generate_batch_params;

/* Generates all texts, each from nothing, `slots` at a time: a step runs one token of every text that is under way and up to `chunk`
 * tokens of the prompts of those that were taken up, the first ones first, in one packed lm_model_run, and a text that ends gives its
 * slot to the next one in the same step. Texts are taken up in their order and end in any. A text is what lm_generate alone would make of it: in a
 * deterministic model to the bit, else but for rounding, as the last bits of logits differ with what else is in the batch. All
 * texts are checked before anything runs. `stats` has `count` entries or is NULL. After the start nothing is allocated but what
 * lm_model_run records for a new shape. */
LM_API lm_status lm_generate_batch(lm_model *model, const lm_generate_batch_params *params, lm_generate_stats *stats);

/* ---- tuning ------------------------------------------------------------------------------------------------------- */

/* What was found about one choice, such as the size of a tile. */
typedef struct lm_tune_result {
    const char *name, *what; /* "row_lanes", and what it chooses */
    int32_t before, chosen;  /* 0: by the library's rules, which go by what a device says of itself */
    double gain;             /* 0.1: with `chosen` its kernels do 10 % more in the same time, in the mean over the cases measured */
    uint32_t cases;          /* how many; 0: none that makes a difference on this device, or the time was over */
    uint32_t done, total;
} lm_tune_result;
typedef void (*lm_tune_callback)(void *user, const lm_tune_result *result);

typedef struct lm_tune_params {
    double seconds;          /* about the most to take [100] */
    bool no_save;            /* for this device object only */
    lm_tune_callback callback;
    void *user;
} lm_tune_params;

/* Measures the candidates of every choice on the device, each checked before it is timed, and uses what wins from then on; what
 * was recorded before stays as it is. Results differ from those before within the tolerance of lm_verify. What wins is kept in
 * lm_tune_path, from where lm_model_load and lm_verify take it, once for a device object: the first model decides, and its `untuned`
 * or LITEMAMBA_TUNING=off in the environment says no. The file is not trusted: it can only choose among the candidates. */
LM_API lm_status lm_tune(lm_device *device, const lm_tune_params *params);

/* The file for this device, its driver and this version of the library, whether it is there or not: litemamba/tuning-….json in
 * $XDG_CACHE_HOME or ~/.cache. LM_ERROR_IO where there is neither, or `size` bytes are too few. */
LM_API lm_status lm_tune_path(const lm_device *device, char *path, size_t size);

/* ---- verification ------------------------------------------------------------------------------------------------- */

/* One line of a verification, as it is done. `error` and `tolerance` are relative to max|reference|. */
typedef struct lm_verify_result {
    const char *name;        /* e.g. "scan batch=2 length=65 channels=33 d_state=16" */
    bool passed;
    double error, tolerance;
    uint32_t done, total;
} lm_verify_result;
typedef void (*lm_verify_callback)(void *user, const lm_verify_result *result);

/* Runs every kernel and every block variant on the device and compares them with the float64 reference. *failures counts what
 * did not pass. LM_OK means that all was run, not that all passed. */
LM_API lm_status lm_verify(lm_device *device, lm_verify_callback callback, void *user, uint32_t *failures);

/* Measures a language model folder's error on `model` against the float64 reference computed from the same folder:
 * max|logits − reference| over the tokens given, absolute. */
LM_API lm_status lm_verify_model(lm_model *model, const char *folder, const int32_t *tokens, uint32_t length, double *error);

#ifdef __cplusplus
}
#endif
#endif
