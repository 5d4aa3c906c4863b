/* examples/hello.c: loads a language model, lets it go on with a prompt, prints each byte as it comes. */
#include <litemamba/litemamba.h>
#include <stdio.h>

static bool print_byte(void *user, int32_t token)
{
    (void)user;
    return putchar(token) != EOF && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    lm_context *context = NULL;
    lm_device *device = NULL;
    lm_model *model = NULL;
    const int32_t prompt[] = {'L', 'O', 'V', 'E', ',', ' ', 'n', '.', ' ', ' '};
    lm_generate_params params = {.prompt = prompt, .prompt_length = 10, .temperature = 0.7f, .on_token = print_byte};

    lm_status status = lm_context_create(NULL, &context);
    if (status == LM_OK) status = lm_device_open(context, NULL, NULL, &device); /* the best there is */
    if (status == LM_OK) status = lm_model_load(device, argc > 1 ? argv[1] : "models/jargon", NULL, &model);
    if (status == LM_OK) status = lm_generate(model, NULL, &params, NULL);
    if (status != LM_OK) fprintf(stderr, "%s: %s\n", lm_status_string(status), lm_last_error());

    lm_model_destroy(&model);
    lm_device_destroy(&device);
    lm_context_destroy(&context);
    return status != LM_OK;
}
