/* runtime/opencl/guard.c: puts back what drivers change in the process that loads them.
 *
 * PoCL, and LLVM below it, install handlers for some fifteen signals while the platforms are listed, and PoCL adds a
 * variable to the environment. All of that belongs to the application. What another thread changes between enter() and
 * leave() is lost: there is no way to tell whose change it was.
 */
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/opencl/opencl.h"

extern char **environ;

static void free_strings(char **strings)
{
    if (strings == NULL) return;
    for (size_t i = 0; strings[i] != NULL; i++) free(strings[i]);
    free(strings);
}

static char **copy_environment(void)
{
    size_t count = 0;
    while (environ != NULL && environ[count] != NULL) count++;
    char **copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = strdup(environ[i]);
        if (copy[i] == NULL) {
            free_strings(copy);
            return NULL;
        }
    }
    return copy;
}

static size_t name_length(const char *variable) { return strcspn(variable, "="); }

/* The string "NAME=value" with the name of `variable`, or NULL. */
static const char *find_variable(char *const *strings, const char *variable)
{
    const size_t length = name_length(variable);
    for (; *strings != NULL; strings++)
        if (strncmp(*strings, variable, length) == 0 && (*strings)[length] == '=') return *strings;
    return NULL;
}

static void remove_added(char *const *before)
{
    for (size_t i = 0; environ != NULL && environ[i] != NULL;) {
        const size_t length = name_length(environ[i]);
        char *name = length > 0 && find_variable(before, environ[i]) == NULL ? strndup(environ[i], length) : NULL;
        /* Unsetting moves the others down: the same index is looked at again. */
        if (name == NULL || unsetenv(name) != 0) i++;
        free(name);
    }
}

static void restore_changed(char **before)
{
    char *nothing[] = {NULL};
    for (size_t i = 0; before[i] != NULL; i++) {
        const char *now = find_variable(environ != NULL ? environ : nothing, before[i]);
        const size_t length = name_length(before[i]);
        if (before[i][length] == '\0' || (now != NULL && strcmp(now, before[i]) == 0)) continue;
        before[i][length] = '\0';
        setenv(before[i], before[i] + length + 1, 1);
        before[i][length] = '=';
    }
}

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
    if (((a->sa_flags ^ b->sa_flags) & SA_SIGINFO) != 0) return false;
    return (a->sa_flags & SA_SIGINFO) != 0 ? a->sa_sigaction == b->sa_sigaction : a->sa_handler == b->sa_handler;
}

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

void lm_opencl_guard_enter(lm_opencl_guard *guard, bool loading)
{
    pthread_mutex_lock(&one_at_a_time);
    memset(guard, 0, sizeof *guard);
    fegetenv(&guard->floating_point);
    /* The C library keeps two real-time signals to itself: asking about those fails. */
    for (int i = 1; i < LM_OPENCL_SIGNALS; i++) guard->known[i] = sigaction(i, NULL, &guard->actions[i]) == 0;
    if (!loading) return;
    const char *locale = setlocale(LC_ALL, NULL);
    guard->locale = locale != NULL ? strdup(locale) : NULL;
    guard->environment = copy_environment();
}

static void restore_locale(const char *before)
{
    const char *now = setlocale(LC_ALL, NULL);
    if (now == NULL || strcmp(now, before) != 0) setlocale(LC_ALL, before);
}

void lm_opencl_guard_leave(lm_opencl_guard *guard)
{
    for (int i = 1; i < LM_OPENCL_SIGNALS; i++) {
        struct sigaction now;
        if (guard->known[i] && sigaction(i, NULL, &now) == 0 && !same_action(&now, &guard->actions[i]))
            sigaction(i, &guard->actions[i], NULL);
    }
    if (guard->locale != NULL) restore_locale(guard->locale);
    if (guard->environment != NULL) {
        remove_added(guard->environment);
        restore_changed(guard->environment);
    }
    /* A library built with -ffast-math turns denormals off in the thread that loads it. */
    fesetenv(&guard->floating_point);
    free(guard->locale);
    free_strings(guard->environment);
    pthread_mutex_unlock(&one_at_a_time);
}
