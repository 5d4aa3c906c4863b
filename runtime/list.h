/* runtime/list.h: command lists, recorded once and replayed. Internal to the library.
 *
 *     lm_list *list;
 *     lm_list_create(device, LM_TIMES_NONE, &list);
 *     lm_list_dispatch(list, LM_KERNEL_RMSNORM, spec, &params, sizeof params, views, 3, groups);
 *     lm_list_end(list);
 *     lm_list_run(list);            // any number of times
 *
 * The list remembers which bytes were read and written since the last barrier and puts barriers where they are needed:
 * callers never do. Buffers must outlive the list.
 */
#ifndef LM_LIST_H
#define LM_LIST_H

#include "runtime/backend.h"

/* A device without timestamps gives LM_TIMES_NONE instead. */
lm_status lm_list_create(lm_device *device, lm_list_times times, lm_list **list);
void lm_list_destroy(lm_list **list);

/* Builds the pipeline if it is new. `views` in the order of the kernel's bindings; absent ones have buffer NULL.
 * A dispatch with a group count of 0 is dropped. LM_ERROR_UNSUPPORTED when the device refuses the constants. */
lm_status lm_list_dispatch(lm_list *list, lm_kernel_id kernel, const int32_t *spec, const void *params,
                           size_t params_size, const lm_view *views, size_t view_count, const uint32_t groups[3]);
lm_status lm_list_copy(lm_list *list, lm_view to, lm_view from);
lm_status lm_list_fill(lm_list *list, lm_view to, uint32_t word);
lm_status lm_list_end(lm_list *list);
lm_status lm_list_submit(lm_list *list);
lm_status lm_list_wait(lm_list *list);
lm_status lm_list_run(lm_list *list); /* submit and wait */
double lm_list_time_ns(lm_list *list);
/* Times of the last run's commands, list->command_count of them as in list->commands; false, and nothing written, where the list
 * was not made for that or has not run. */
bool lm_list_command_times(lm_list *list, lm_command_time *times);

/* The whole buffer. */
lm_view lm_view_whole(lm_buffer *buffer);

#endif
