/* bench/probes.h: kernels of the bench's own, which measure a device's limits. They are built and dispatched by the library's
 * runtime as any other (their numbers follow those of kernels.def), but are part of this program only: the linker hands the
 * backends their sources from here (--wrap), as tests/test_mutants.c does. */
#ifndef LM_PROBES_H
#define LM_PROBES_H

#include "bench/probes/params.h"
#include "kernels/kernels.h"

enum { PROBE_COPY = LM_KERNEL_COUNT, PROBE_FMA, PROBE_EXP2, PROBE_TOUCH, PROBE_END };

#endif
