/* runtime/cpu/run.c: runs a list. Commands of several parts are shared with the device's team (team.h). A list that is run while
 * another thread of the application's runs one does without: the processor is taken. No result depends on it
 * (kernels/cpu/cpu.h). */
#include "runtime/cpu/cpu.h"

#include <stdatomic.h>
#include <string.h>

#include "runtime/clock.h"

static atomic_bool taken;      /* a list of this process has helpers */

typedef struct command_run {
    const cpu_device *device;
    const cpu_command *command;
} command_run;

static void run_part(void *user, uint32_t part, uint32_t thread)
{
    const command_run *run = user;
    const cpu_device *device = run->device;
    const cpu_command *c = run->command;
    switch (c->kind) {
    case CPU_DISPATCH:
        if (c->native != NULL)
            c->native->run(&(lm_cpu_call){c->params, c->pipeline->spec, c->buffers, device->threads,
                                          device->scratch + thread * device->scratch_stride}, part);
        else
            lm_kernel_get(c->pipeline->kernel)->reference(c->params, c->pipeline->spec, c->buffers);
        break;
    case CPU_COPY: memcpy(c->buffers[0], c->buffers[1], (size_t)c->size); break;
    case CPU_FILL:
        for (uint64_t i = 0; i < c->size / 4; i++) ((uint32_t *)c->buffers[0])[i] = c->word;
        break;
    }
}

/* The device's team; made when it is first needed, and never again where that fails. */
static lm_team *team_of(cpu_device *device)
{
    if (device->team == NULL && device->threads > 1 && !device->alone) {
        device->team = lm_team_create(device->threads);
        device->alone = device->team == NULL;
    }
    return device->team;
}

void lm_cpu_run(cpu_list *list)
{
    cpu_device *device = (cpu_device *)list->base.device;
    const double start = lm_clock();
    bool untaken = false, shares = false;
    size_t done = 0;
    for (size_t i = 0; i < list->count && !shares; i++) shares = list->commands[i].parts > 1;
    lm_team *team = shares ? team_of(device) : NULL;
    if (team != NULL && !atomic_compare_exchange_strong(&taken, &untaken, true)) team = NULL;
    for (size_t i = 0; i < list->count; i++) {
        command_run run = {device, &list->commands[i]};
        if (team != NULL && run.command->parts > 1)
            lm_team_run(team, run.command->parts, run_part, &run);
        else
            for (uint32_t part = 0; part < run.command->parts; part++) run_part(&run, part, 0);
        if (list->ends != NULL && !run.command->goes_on) list->ends[done++] = 1e9 * (lm_clock() - start);
    }
    if (team != NULL) atomic_store(&taken, false);
    list->time_ns = 1e9 * (lm_clock() - start);
}
