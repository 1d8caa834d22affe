/* SPDX-License-Identifier: Apache-2.0 */
/* prof.c - the rings, and how a profile begins and ends.
 *
 * Only its thread writes to a ring. A ring is never given back while its thread
 * lives, so that records which were begun before the end of the profile may be
 * written after it: into the ring's oldest places, which ring_copy() leaves. */
#include <rsl/prof.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rsl/runtime.h>

typedef struct prof_ring {
    struct prof_ring *next;
    rsl_prof_record *records; /* mapped; replaced by its thread under lock */
    size_t capacity;          /* the same */
    atomic_uint_fast64_t count;
    atomic_uint session; /* in which it was begun */
    int tid;             /* [K] */
    char name[16];       /* [K] */
    bool dead;           /* under the lock: its thread has ended */
} prof_ring;

atomic_bool rsl_prof_on;

static struct {
    pthread_mutex_t lock; /* the list, start and stop */
    prof_ring *rings;
    size_t capacity;
    atomic_uint session;
    pthread_once_t once;
    pthread_key_t key; /* for its destructor */
} prof = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

static _Thread_local prof_ring *prof_mine;

int64_t
rsl_prof_now_ns(void)
{
    return rsl_clock_now_ns();
}

static void
ring_free(prof_ring *ring)
{
    if (ring->records != NULL) {
        munmap(ring->records, ring->capacity * sizeof *ring->records);
    }
    free(ring);
}

/* Lock held. */
static void
prof_free_dead(void)
{
    prof_ring **link = &prof.rings;

    while (*link != NULL) {
        prof_ring *ring = *link;

        if (ring->dead) {
            *link = ring->next;
            ring_free(ring);
        } else {
            link = &ring->next;
        }
    }
}

static void
prof_thread_ends(void *arg)
{
    prof_ring *ring = arg;

    prof_mine = NULL;
    pthread_mutex_lock(&prof.lock);
    ring->dead = true;
    if (!atomic_load(&rsl_prof_on)) {
        prof_free_dead();
    }
    pthread_mutex_unlock(&prof.lock);
}

static void
prof_before_fork(void)
{
    pthread_mutex_lock(&prof.lock);
}

static void
prof_after_fork(void)
{
    pthread_mutex_unlock(&prof.lock);
}

static void
prof_prepare(void)
{
    pthread_key_create(&prof.key, prof_thread_ends);
    pthread_atfork(prof_before_fork, prof_after_fork, prof_after_fork);
}

static prof_ring *
ring_new(void)
{
    prof_ring *ring = calloc(1, sizeof *ring);

    if (ring == NULL) {
        return NULL;
    }
    ring->tid = (int)gettid();
    (void)pthread_getname_np(pthread_self(), ring->name, sizeof ring->name);
    if (pthread_setspecific(prof.key, ring) != 0) {
        free(ring);
        return NULL;
    }
    ring->next = prof.rings;
    prof.rings = ring;
    prof_mine = ring;
    return ring;
}

static bool
ring_resize(prof_ring *ring, size_t capacity)
{
    void *records;

    if (ring->capacity == capacity) {
        return true;
    }
    records = mmap(NULL, capacity * sizeof *ring->records,
                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (records == MAP_FAILED) {
        return false;
    }
    if (ring->records != NULL) {
        munmap(ring->records, ring->capacity * sizeof *ring->records);
    }
    ring->records = records;
    ring->capacity = capacity;
    return true;
}

/* This thread's first record of the session. */
static prof_ring *
prof_join(void)
{
    prof_ring *ring;

    pthread_mutex_lock(&prof.lock);
    ring = prof_mine != NULL ? prof_mine : ring_new();
    if (!atomic_load(&rsl_prof_on)
        || (ring != NULL && !ring_resize(ring, prof.capacity))) {
        ring = NULL;
    }
    if (ring != NULL) {
        atomic_store(&ring->count, 0);
        atomic_store(&ring->session, atomic_load(&prof.session));
    }
    pthread_mutex_unlock(&prof.lock);
    return ring;
}

void
rsl_prof_add(const rsl_prof_record *record)
{
    prof_ring *ring = prof_mine;
    uint64_t count;

    if (!rsl_prof_is_on()) {
        return;
    }
    if (ring == NULL
        || atomic_load_explicit(&ring->session, memory_order_relaxed)
               != atomic_load_explicit(&prof.session, memory_order_relaxed)) {
        ring = prof_join();
        if (ring == NULL) {
            return;
        }
    }
    /* Acquire keeps the record behind it: who sees that in ring_copy_settle()
     * sees this count. */
    count = atomic_load_explicit(&ring->count, memory_order_acquire);
    ring->records[count & (ring->capacity - 1)] = *record;
    /* Pairs with ring_copy(): who sees the count sees the record. */
    atomic_store_explicit(&ring->count, count + 1, memory_order_release);
}

rsl_status
rsl_prof_start(size_t records)
{
    rsl_status status = RSL_BUSY;

    pthread_once(&prof.once, prof_prepare);
    pthread_mutex_lock(&prof.lock);
    if (!atomic_load(&rsl_prof_on)) {
        prof_free_dead();
        prof.capacity = records;
        atomic_fetch_add(&prof.session, 1);
        atomic_store(&rsl_prof_on, true);
        status = RSL_OK;
    }
    pthread_mutex_unlock(&prof.lock);
    return status;
}

/* The oldest record of a full ring is left: one that was begun before the end
 * may be on its way to that place. */
static uint64_t
ring_begin(const prof_ring *ring, uint64_t end)
{
    return end >= ring->capacity ? end - ring->capacity + 1 : 0;
}

/* Several may be: a writer's processor can have taken a few records into its
 * store buffer before it saw the end. What they may have overwritten while it
 * was copied goes. */
static void
ring_copy_settle(prof_ring *ring, rsl_prof_thread *copy)
{
    /* An addition, of nothing, because a load could come before the copy. */
    uint64_t begin = ring_begin(
        ring, atomic_fetch_add_explicit(&ring->count, 0, memory_order_acq_rel));
    size_t gone = begin > copy->lost ? (size_t)(begin - copy->lost) : 0;
    gone = gone < copy->count ? gone : copy->count;
    copy->lost += gone;
    copy->count -= gone;
    memmove(copy->records, copy->records + gone,
            copy->count * sizeof *copy->records);
}

static rsl_prof_thread *
ring_copy(prof_ring *ring)
{
    uint64_t end = atomic_load_explicit(&ring->count, memory_order_acquire);
    uint64_t begin = ring_begin(ring, end);
    size_t count = (size_t)(end - begin);
    rsl_prof_thread *copy =
        malloc(sizeof *copy + count * sizeof *copy->records);

    if (copy == NULL) {
        return NULL;
    }
    copy->tid = ring->tid;
    memcpy(copy->name, ring->name, sizeof copy->name);
    copy->lost = begin;
    copy->count = count;
    for (size_t i = 0; i < count; i++) {
        copy->records[i] = ring->records[(begin + i) & (ring->capacity - 1)];
    }
    ring_copy_settle(ring, copy);
    return copy;
}

bool
rsl_prof_stop(rsl_prof_thread **out)
{
    bool was_on;

    *out = NULL;
    pthread_once(&prof.once, prof_prepare);
    pthread_mutex_lock(&prof.lock);
    was_on = atomic_exchange(&rsl_prof_on, false);
    for (prof_ring *ring = prof.rings; was_on && ring != NULL;
         ring = ring->next) {
        rsl_prof_thread *copy;

        if (atomic_load(&ring->session) != atomic_load(&prof.session)) {
            continue;
        }
        copy = ring_copy(ring);
        if (copy != NULL) {
            copy->next = *out;
            *out = copy;
        }
        /* What its thread may still write makes a page anew. */
        (void)madvise(ring->records, ring->capacity * sizeof *ring->records,
                      MADV_DONTNEED);
    }
    prof_free_dead();
    pthread_mutex_unlock(&prof.lock);
    return was_on;
}

void
rsl_prof_free(rsl_prof_thread *threads)
{
    while (threads != NULL) {
        rsl_prof_thread *next = threads->next;

        free(threads);
        threads = next;
    }
}
