/* runtime/context.h: what the public layer's files share. Internal. */
#ifndef LM_CONTEXT_H
#define LM_CONTEXT_H

#include "runtime/backend.h"

enum { LM_BACKEND_COUNT = 4 };

struct lm_context {
    lm_log_callback log;
    void *log_user;
    lm_log_level log_level;
    lm_driver *drivers[LM_BACKEND_COUNT];
    size_t driver_count;
    long process;
    uint32_t validation_messages; /* that a validation layer has given so far */
};

/* Bytes that one access of a list touches. */
typedef struct lm_access {
    lm_buffer *buffer;
    uint64_t begin, end;
    bool write;
} lm_access;

/* LM_OK, or LM_ERROR_DEVICE_LOST with its message for a device that is lost or was opened before a fork(). */
lm_status lm_device_check(lm_device *device);


/* Refuses an argument; the message is the failed expression. */
#define LM_REQUIRE(context, expression)                                                                              \
    do {                                                                                                             \
        if (!(expression))                                                                                           \
            return lm_fail((context), LM_ERROR_INVALID_ARGUMENT, "%s: requires %s", __func__, #expression);          \
    } while (0)

#endif
