/* host/model.h: what the files of host/ share: weights on a device, states, and recorded passes. Internal.
 *
 * weights.c  tensors → buffers           init.c   fresh tensors from a seed
 * state.c    the past of sequences       block.c  records one block
 * step.c     records one block's step    pass.c   records and runs one pass
 * model.c    cuts calls into passes
 */
#ifndef LM_MODEL_H
#define LM_MODEL_H

#include "host/safetensors.h"
#include "kernels/launch.h"
#include "litemamba/litemamba.h"
#include "runtime/list.h"

static inline uint64_t lm_align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

/* ---- tensors by name -------------------------------------------------------------------------------------------- */

/* Where weights come from: an opened file, or tensors in memory (then owned: names and data are malloc'd). */
typedef struct lm_tensor_set {
    lm_safetensors *file;
    lm_tensor *tensors;
    size_t count, capacity;
    const char *path; /* for messages */
} lm_tensor_set;

void lm_tensor_set_free(lm_tensor_set *set);
size_t lm_tensor_set_count(const lm_tensor_set *set);
const lm_tensor *lm_tensor_set_at(const lm_tensor_set *set, size_t index);
const lm_tensor *lm_tensor_set_find(const lm_tensor_set *set, const char *name);

/* Opens `folder`/model.safetensors. */
lm_status lm_tensor_set_open(const char *folder, lm_tensor_set *set);

/* Makes every tensor of a fresh model. `set` is empty before and is freed by the caller also after a failure. */
lm_status lm_init_tensors(const lm_config *config, const lm_init_params *params, lm_tensor_set *set);

/* ---- the tensors of a block, by role ------------------------------------------------------------------------------ */

/* Absent ones are NULL. Shapes are checked. */
typedef struct lm_block_tensors {
    const lm_tensor *in_proj_weight, *in_proj_bias, *x_proj_weight, *dt_proj_weight, *dt_proj_bias, *out_proj_weight,
        *out_proj_bias, *a_log, *d, *conv_gates;
    const lm_tensor *conv_weight[LM_MAX_BRANCHES], *conv_bias[LM_MAX_BRANCHES];
    const lm_tensor *pw_weight[LM_MAX_BRANCHES], *pw_bias[LM_MAX_BRANCHES];
} lm_block_tensors;

typedef struct lm_model_tensors {
    lm_block_tensors *blocks; /* one a layer; a bare block has one */
    const lm_tensor **norms;  /* one a layer */
    const lm_tensor *embeddings, *norm_f, *head; /* head NULL when tied */
} lm_model_tensors;

/* Finds all tensors, checks shapes, aliases of branch 0, and that nothing is missing or left over. */
lm_status lm_model_tensors_find(const lm_tensor_set *set, const lm_config *config, lm_model_tensors *tensors);
void lm_model_tensors_free(lm_model_tensors *tensors);

/* The whole tensor as float32. `out` has tensor->count elements. */
lm_status lm_tensor_read(const lm_tensor *tensor, float *out);

/* ---- weights on the device -------------------------------------------------------------------------------------- */

/* Some output channels of a linear layer: `count` from `first` on, stored (in, count), or (count, in) when trans. */
typedef struct lm_matrix_piece {
    lm_view view;
    uint32_t first, count;
} lm_matrix_piece;

/* y = x·Wᵀ with W (out, in), in as many pieces as one binding's limit needs. */
typedef struct lm_matrix {
    uint32_t in, out;
    bool trans;
    lm_matrix_piece *pieces;
    size_t piece_count;
} lm_matrix;

typedef struct lm_block {
    lm_matrix in_proj, x_proj, dt_proj, out_proj;
    lm_matrix pointwise;           /* dpwc: all branches side by side, scaled by their gates: (d_inner, branches·d_inner) */
    lm_view in_bias, out_bias, dt_bias, pointwise_bias;
    lm_view conv;                  /* all of the convolutions, as step_in wants it; of which parts are: */
    lm_view conv_weight;           /* (branches, d_conv, d_inner) */
    lm_view conv_bias;             /* (branches, d_inner) */
    lm_view conv_gates;            /* (branches) after softmax; absent with one branch, stcn and dpwc */
    lm_view a;                     /* (d_state, d_inner), negative */
    lm_view d;                     /* (d_inner) */
    lm_view norm;                  /* (d_model), language models */
} lm_block;

typedef struct lm_pass lm_pass;
typedef struct lm_piece lm_piece;

enum { LM_PASS_CACHE = 32 }; /* as litemamba.h says of lm_block_forward */

struct lm_model {
    lm_device *device;
    lm_config config;
    uint32_t d_inner;
    uint32_t rings;                /* histories a block has: branches for stcn, else 1 */
    uint32_t ring_length[LM_MAX_BRANCHES];
    lm_block *blocks;
    uint32_t block_count;
    lm_view dilations;             /* int (branches) */
    lm_matrix embeddings;          /* trans, (vocab, d_model) */
    lm_matrix head;                /* trans; of a tied model its pieces are the embeddings' */
    lm_view norm_f;
    lm_buffer **buffers;           /* what the views above are parts of */
    size_t buffer_count, buffer_capacity;
    uint64_t workspace_limit;
    bool timed, deterministic;
    /* Called after each pass, where set before the pass is recorded: its list then knows the time of each command. The bench's. */
    void (*profile)(void *user, lm_list *list);
    void *profile_user;

    lm_buffer *workspace;          /* shared by all passes */
    lm_pass *passes[LM_PASS_CACHE]; /* most recently used first */
    lm_piece *pieces;              /* of the pass that is being put together */
    uint32_t piece_capacity;
    lm_state *scratch;             /* of calls without a state */
    double device_seconds;
    uint32_t state_count;
};

/* Uploads everything. `model` has device, config and d_inner. */
lm_status lm_weights_upload(lm_model *model, const lm_model_tensors *tensors);
void lm_weights_free(lm_model *model);

/* A model straight from tensors in memory: for verification and tests. */
lm_status lm_model_create(lm_device *device, const lm_config *config, const lm_tensor_set *set, const lm_model_params *params,
                          lm_model **model);

/* ---- state ------------------------------------------------------------------------------------------------------ */

struct lm_state {
    lm_model *model;
    uint32_t slots, rollback;
    uint32_t ring_length[LM_MAX_BRANCHES]; /* the model's, and `rollback` entries more */
    uint32_t bank_slots, bank_count; /* slots of a bank, but for the last one, which has what is left */
    uint64_t *positions;           /* tokens seen, a slot; what lies in the slot's memory before the first is never read */
    uint32_t *kept;                /* tokens that a slot can be rolled back, at most `rollback` */
    uint32_t *marks, mark;         /* marks[slot] == mark: named by the call that is being checked */
    uint32_t *free_slots;          /* a stack of those that lm_state_acquire may give */
    uint32_t free_count;
    bool *acquired;                /* a slot */
    lm_buffer **layers;            /* [bank·blocks + block]: one buffer a block of a bank */
    lm_view *history;              /* [(bank·blocks + block)·rings + ring]: (slots of the bank, ring_length, d_inner) */
    lm_view *scan;                 /* [bank·blocks + block]: (slots of the bank, rollback + 1, d_state, d_inner) */
};

/* Slots that one bank can have within the device's limits on bindings and allocations; 0 when not even one fits. */
uint32_t lm_state_bank_slots(const lm_model *model, uint32_t rollback);
/* Where a bank's block is in lm_state.layers and scan, and, times rings, in history. */
static inline size_t lm_state_layer(const lm_model *model, uint32_t bank, uint32_t block)
{
    return (size_t)bank * model->block_count + block;
}
/* One slot's ring (ring_length, d_inner), and its scan states (rollback + 1, d_state, d_inner). Not aligned for bindings. */
lm_view lm_state_history(const lm_state *state, uint32_t block, uint32_t ring, uint32_t slot);
lm_view lm_state_scans(const lm_state *state, uint32_t block, uint32_t slot);
/* The one of them after `position` tokens of the slot. */
lm_view lm_state_scan(const lm_state *state, uint32_t block, uint32_t slot, uint64_t position);
/* Bytes of one slot in all blocks. */
uint64_t lm_state_model_bytes(const lm_model *model, uint32_t rollback);
/* A slot has seen `position` tokens in all, of which `kept` can be rolled back; `tokens` more. */
void lm_state_place(lm_state *state, uint32_t slot, uint64_t position, uint32_t kept);
void lm_state_advance(lm_state *state, uint32_t slot, uint32_t tokens);
/* Begins to mark the slots that a call names; marks one, false when it was already. */
void lm_state_mark(lm_state *state);
bool lm_state_mark_slot(lm_state *state, uint32_t slot);
/* After a failure that left slots changed in part: the device is lost, as nobody may go on from them. */
lm_status lm_state_spoilt(const lm_state *state, const char *what);

/* ---- passes ------------------------------------------------------------------------------------------------------- */

/* Some tokens of one sequence, run in one pass. */
struct lm_piece {
    uint32_t slot;
    uint32_t sequence;             /* which of the call: where a sequence's own output goes */
    uint32_t length;               /* tokens, above 0 */
    uint64_t row;                  /* the first of them in the caller's packed arrays */
    bool ends;                     /* the sequence's last token of the call is among them */
};

/* What tells one recorded pass from another. */
typedef struct lm_pass_key {
    lm_state *state;
    uint32_t bank;                 /* of the state: that of all pieces' slots */
    uint32_t pieces, rows, longest; /* rows in all, and of the longest piece */
    lm_output kind;                /* of a language model */
} lm_pass_key;

/* What one pass may have: pieces, and pieces times the longest one's tokens. At least 1 each. `sequences` is the call's number
 * of them; `fresh`: a call without a state. */
void lm_pass_limits(const lm_model *model, lm_output kind, bool fresh, uint32_t sequences, uint32_t *pieces, uint32_t *rows);

/* The recorded pass for this key, from the cache or new. */
lm_status lm_pass_get(lm_model *model, const lm_pass_key *key, lm_pass **pass);

enum { LM_SCAN_ROW = LM_ROW_HEADS + 1 }; /* a row of the tables below: `from` is the entry with the state before */

/* How many scans follow each other in a pass over a state that can be rolled back, else 0: the last tokens run one by one, each into
 * the next entry of its slot, and what is before them in one scan. Each has a table of its own, one after the other in `all`. */
uint32_t lm_pass_scan_count(const lm_pass_key *key);
lm_view lm_pass_scan_rows(const lm_model *model, const lm_pass_key *key, lm_view all, uint32_t scan);

/* The caller's packed arrays; which of them are used depends on the model and kind. */
typedef struct lm_pass_io {
    const float *x;                /* bare block: in, d_model a row */
    float *y;                      /* out */
    const int32_t *tokens, *targets;
    void *output;                  /* by row, or by sequence for LAST and ARGMAX */
} lm_pass_io;

/* Runs the pass for these pieces, key.pieces of them, and moves their slots' positions on. *started becomes true once the device
 * has work that changes slots: after a failure they are as they were only if it is still false. */
lm_status lm_pass_run(lm_model *model, lm_pass *pass, const lm_piece *pieces, const lm_pass_io *io, bool *started);

/* Forgets recorded passes of a state (NULL: all). */
void lm_pass_forget(lm_model *model, const lm_state *state);

/* ---- recording ---------------------------------------------------------------------------------------------------- */

/* Workspace of one block for `rows` rows: bytes, and the views once there is a buffer. */
typedef struct lm_block_workspace {
    lm_view xz;       /* (rows, 2·d_inner) */
    lm_view conv[2];  /* (rows, d_inner): u, and stcn's other half */
    lm_view wide;     /* dpwc: (rows, branches·d_inner) */
    lm_view bcdt;     /* (rows, dt_rank + 2·d_state) */
    lm_view delta;    /* (rows, d_inner) */
    lm_view y;        /* (rows, d_inner) */
    lm_view summary, total;
    lm_view step;     /* of a step: all between in_proj and y */
} lm_block_workspace;

/* Lays views out from *offset on in `buffer` (NULL: only counts) and moves *offset on. */
void lm_block_plan(const lm_model *model, const lm_pass_key *key, lm_buffer *buffer, uint64_t *offset,
                   lm_block_workspace *workspace);

/* Part of the arena: `bytes` at the next aligned offset. */
lm_view lm_arena_take(const lm_model *model, lm_buffer *buffer, uint64_t *offset, uint64_t bytes);

/* out = block(x) (+ residual, which may be out's own buffer); in a language model of the normed x, for which there is room in
 * `normed`. x, normed, residual and out are (key->rows, d_model); `rows` is the row
 * table, `scans` has those of lm_pass_scan_rows. */
lm_status lm_block_record(const lm_model *model, uint32_t block, lm_list *list, const lm_block_workspace *workspace,
                          const lm_pass_key *key, lm_view rows, lm_view scans, lm_view x, lm_view normed, lm_view residual,
                          lm_view out);

/* Where the parts of a block's convolutions lie in lm_block.conv, in elements. */
typedef struct lm_conv_layout {
    uint64_t gates, bias, weight, size;
} lm_conv_layout;
lm_conv_layout lm_conv_layout_of(const lm_model *model);

/* step.c: a block of which every sequence has one token, in few dispatches. */
typedef struct lm_step {
    lm_step_in_params in;
    lm_step_scan_params scan;
    uint64_t wide_offset; /* dpwc: all branches, before the pointwise product */
    uint64_t bytes;       /* of lm_block_workspace.step */
} lm_step;
/* False where the general kernels are to run. */
bool lm_step_plan_block(const lm_model *model, const lm_pass_key *key, lm_step *step);
/* out = block(x) (+ residual), as lm_block_record. */
lm_status lm_step_record(const lm_model *model, uint32_t block, lm_list *list, const lm_block_workspace *workspace,
                         const lm_pass_key *key, const lm_step *step, lm_view rows, lm_view x, lm_view residual, lm_view out);

/* y[:, c_offset …] = x·Wᵀ, piece by piece. */
lm_status lm_matrix_record(lm_list *list, const lm_matrix *matrix, const lm_gemm_params *params, lm_view x, lm_view bias,
                           lm_view residual, lm_view y);

#endif
