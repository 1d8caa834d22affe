/* SPDX-License-Identifier: Apache-2.0 */
#include "wrap.h"

#include <pthread.h>
#include <stdlib.h>

static _Thread_local unsigned fail_in; /* allocations until the failure */
static _Thread_local bool failed;
static int create_code;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg);

void
wrap_fail_allocation(unsigned nth)
{
    fail_in = nth;
    failed = false;
}

bool
wrap_failed_allocation(void)
{
    return failed;
}

void
wrap_fail_pthread_create(int code)
{
    create_code = code;
}

static bool
allocation_fails(void)
{
    if (fail_in == 0 || --fail_in > 0) {
        return false;
    }
    failed = true;
    return true;
}

void *
__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

#ifdef WRAP_REALLOC
void *
__wrap_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}
#endif

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                      void *(*start)(void *), void *arg)
{
    if (create_code != 0) {
        return create_code;
    }
    return __real_pthread_create(thread, attr, start, arg);
}
