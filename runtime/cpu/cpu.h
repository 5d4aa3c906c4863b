/* runtime/cpu/cpu.h: what the files of the cpu and reference backends share. Internal. */
#ifndef LM_CPU_H
#define LM_CPU_H

#include "kernels/cpu/cpu.h"
#include "runtime/backend.h"
#include "runtime/cpu/team.h"

typedef struct cpu_device {
    lm_device base;
    const lm_cpu_level *level;     /* NULL: the reference */
    uint32_t threads;
    unsigned char *scratch;        /* a thread has scratch_stride bytes of it */
    size_t scratch_stride;
    lm_team *team;                 /* NULL: none yet */
    bool alone;                    /* and there will be none */
} cpu_device;

typedef enum cpu_command_kind { CPU_DISPATCH, CPU_COPY, CPU_FILL } cpu_command_kind;

typedef struct cpu_command {
    cpu_command_kind kind;
    uint32_t parts;                /* that threads may take, above 0 */
    const lm_pipeline *pipeline;
    const lm_cpu_kernel *native;   /* NULL: the reference runs */
    unsigned char params[LM_MAX_PARAMS];
    void *buffers[LM_MAX_BINDINGS]; /* copy: to, from; fill: to */
    uint64_t size;                 /* copy and fill */
    uint32_t word;
    bool goes_on;                  /* with the next one: both are one of the list's commands */
} cpu_command;

typedef struct cpu_list {
    lm_list base;
    cpu_command *commands;
    size_t count, capacity;
    double time_ns;
    double *ends;                  /* of LM_TIMES_EACH: when the last run's commands were done, in ns after it began; else NULL */
} cpu_list;

/* Runs all commands in order. */
void lm_cpu_run(cpu_list *list);

#endif
