/* examples/stream.c: a bare block as a streaming filter. Makes a small block, runs a batch of two sequences through it at
 * once and then again one time step after another with a carried state, and shows that both give the same.
 *
 *     stream FOLDER      FOLDER is made, and must not hold a model yet
 */
#include <litemamba/litemamba.h>
#include <math.h>
#include <stdio.h>

enum { BATCH = 2, LENGTH = 100, D_MODEL = 24 };

static float x[BATCH][LENGTH][D_MODEL], whole[BATCH][LENGTH][D_MODEL];

/* Feeds both sequences one time step a call, and returns the largest difference from `whole`. */
static lm_status run_steps(lm_model *model, double *difference)
{
    lm_state *state = NULL;
    lm_status status = lm_state_create(model, BATCH, &state);
    for (int t = 0; status == LM_OK && t < LENGTH; t++) {
        float in[BATCH][D_MODEL], out[BATCH][D_MODEL];
        for (int b = 0; b < BATCH; b++)
            for (int c = 0; c < D_MODEL; c++) in[b][c] = x[b][t][c];
        status = lm_block_forward(model, state, BATCH, 1, in[0], out[0]);
        for (int b = 0; status == LM_OK && b < BATCH; b++)
            for (int c = 0; c < D_MODEL; c++) *difference = fmax(*difference, fabs(out[b][c] - whole[b][t][c]));
    }
    lm_state_destroy(&state);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: stream FOLDER\n");
        return 2;
    }
    lm_context *context = NULL;
    lm_device *device = NULL;
    lm_model *model = NULL;
    double difference = 0;
    lm_config config = {.variant = LM_VARIANT_PTCN, .d_model = D_MODEL, .branches = 3, .dilations = {1, 2, 4}};
    for (int b = 0; b < BATCH; b++)
        for (int t = 0; t < LENGTH; t++)
            for (int c = 0; c < D_MODEL; c++) x[b][t][c] = sinf(0.1f * (float)(t * (c + 1) + 7 * b));

    lm_status status = lm_config_complete(&config);
    if (status == LM_OK) status = lm_model_init(argv[1], &config, NULL);
    if (status == LM_OK) status = lm_context_create(NULL, &context);
    if (status == LM_OK) status = lm_device_open(context, NULL, NULL, &device);
    if (status == LM_OK) status = lm_model_load(device, argv[1], NULL, &model);
    if (status == LM_OK) status = lm_block_forward(model, NULL, BATCH, LENGTH, x[0][0], whole[0][0]);
    if (status == LM_OK) status = run_steps(model, &difference);
    if (status == LM_OK)
        printf("%s: largest difference between one call and %d steps: %.1e\n", lm_device_get_info(device)->name, LENGTH,
               difference);
    else
        fprintf(stderr, "%s: %s\n", lm_status_string(status), lm_last_error());

    lm_model_destroy(&model);
    lm_device_destroy(&device);
    lm_context_destroy(&context);
    return status != LM_OK || !(difference < 1e-5);
}
