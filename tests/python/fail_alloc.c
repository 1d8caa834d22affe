/* SPDX-License-Identifier: Apache-2.0 */
/* fail_alloc.c - preloaded: allocations of one shared object fail on demand.
 *
 * Role:    stands between callers within an address range, the extension's
 *          code, and the allocator; counts what they own.
 * Thread:  any.
 * Memory:  a table of live blocks, which never grows. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLOCKS = 1 << 16, EARLY_BYTES = 1 << 16 };

static _Atomic(uintptr_t) low, high;
static atomic_long fail_in; /* 0: none */
static atomic_bool failed;

static atomic_flag lock = ATOMIC_FLAG_INIT;
static void *blocks[BLOCKS];
static char removed;
static long live;

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

/* dlsym() may allocate before it has found what allocates. */
static _Alignas(16) char early[EARLY_BYTES];
static size_t early_used;

void fail_alloc_watch(uintptr_t from, uintptr_t to);
void fail_alloc_arm(long nth);
int fail_alloc_failed(void);
long fail_alloc_live(void);

static void
find_next(void)
{
    static bool looking;

    if (looking || next_free != NULL) {
        return;
    }
    looking = true;
    next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    looking = false;
}

static void *
early_alloc(size_t size)
{
    size_t start = early_used;

    size = (size + 15) & ~(size_t)15;
    if (size > EARLY_BYTES - start) {
        return NULL;
    }
    early_used += size;
    return early + start;
}

static bool
is_early(const void *block)
{
    return (const char *)block >= early
           && (const char *)block < early + EARLY_BYTES;
}

static size_t
place_of(const void *block)
{
    return ((uintptr_t)block >> 4) * 0x9E3779B97F4A7C15u >> 48;
}

static void
note(void *block)
{
    size_t place = place_of(block);

    while (atomic_flag_test_and_set(&lock)) {
        continue;
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        void **entry = &blocks[(place + i) % BLOCKS];
        if (*entry == NULL || *entry == &removed) {
            *entry = block;
            live++;
            break;
        }
    }
    atomic_flag_clear(&lock);
}

static void
forget(const void *block)
{
    size_t place = place_of(block);

    if (atomic_load(&high) == 0) {
        return;
    }
    while (atomic_flag_test_and_set(&lock)) {
        continue;
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        void **entry = &blocks[(place + i) % BLOCKS];
        if (*entry == NULL) {
            break;
        }
        if (*entry == block) {
            *entry = &removed;
            live--;
            break;
        }
    }
    atomic_flag_clear(&lock);
}

static bool
is_watched(const void *caller)
{
    return (uintptr_t)caller >= atomic_load(&low)
           && (uintptr_t)caller < atomic_load(&high);
}

static bool
fails(void)
{
    if (atomic_load(&fail_in) == 0 || atomic_fetch_sub(&fail_in, 1) != 1) {
        return false;
    }
    atomic_store(&failed, true);
    errno = ENOMEM;
    return true;
}

void *
malloc(size_t size)
{
    const void *caller = __builtin_return_address(0);
    bool watched = is_watched(caller);
    void *block;

    find_next();
    if (next_malloc == NULL) {
        return early_alloc(size);
    }
    if (watched && fails()) {
        return NULL;
    }
    block = next_malloc(size);
    if (watched && block != NULL) {
        note(block);
    }
    return block;
}

void *
calloc(size_t count, size_t size)
{
    const void *caller = __builtin_return_address(0);
    bool watched = is_watched(caller);
    void *block;

    find_next();
    if (next_calloc == NULL) {
        return early_alloc(count * size); /* never used before: zeros */
    }
    if (watched && fails()) {
        return NULL;
    }
    block = next_calloc(count, size);
    if (watched && block != NULL) {
        note(block);
    }
    return block;
}

void *
realloc(void *old, size_t size)
{
    const void *caller = __builtin_return_address(0);
    bool watched = is_watched(caller);
    void *block;

    find_next();
    if (is_early(old)) {
        block = malloc(size);
        if (block != NULL) {
            memcpy(block, old, size);
        }
        return block;
    }
    if (watched && fails()) {
        return NULL;
    }
    forget(old);
    block = next_realloc(old, size);
    if (watched && block != NULL) {
        note(block);
    }
    return block;
}

void
free(void *block)
{
    if (block == NULL || is_early(block)) {
        return;
    }
    find_next();
    forget(block);
    next_free(block);
}

/* Callers from `from` to `to` are watched. */
void
fail_alloc_watch(uintptr_t from, uintptr_t to)
{
    atomic_store(&low, from);
    atomic_store(&high, to);
}

/* Their `nth` allocation from now on fails; 0: none does. */
void
fail_alloc_arm(long nth)
{
    atomic_store(&failed, false);
    atomic_store(&fail_in, nth);
}

int
fail_alloc_failed(void)
{
    return atomic_load(&failed);
}

/* How many blocks they have that nobody has freed. */
long
fail_alloc_live(void)
{
    return live;
}
