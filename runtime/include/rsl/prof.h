/* SPDX-License-Identifier: Apache-2.0 */
/* prof.h - what each thread was doing and for how long, while a profile is
 * taken.
 *
 * Role:    records of fixed size in a ring of each thread's own: writing one
 *          takes no lock and calls nobody. A ring that is full forgets its
 *          oldest. Off, it costs its users a look at rsl_prof_on.
 * Thread:  any; one profile at a time in the process.
 * Memory:  a ring is its thread's, until both it and the profile have ended. */
#ifndef RSL_PROF_H
#define RSL_PROF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/status.h>

typedef enum rsl_prof_kind {
    RSL_PROF_TURN = 0, /* amount: entries of the ready queue that ran */
    RSL_PROF_WAIT,     /* a poll that may sleep */
    RSL_PROF_GIL,      /* until the GIL was had again */
    RSL_PROF_LOOK,     /* a poll that does not sleep */
    RSL_PROF_COLLECT,  /* amount: events that a poll brought */
    RSL_PROF_DRAIN,    /* amount: messages of other threads */
    RSL_PROF_CALL,     /* a callback */
    RSL_PROF_TASK,     /* a step of a task */
    RSL_PROF_IO,       /* amount: the rsl_event_kind that a transport got */
    RSL_PROF_SEND,     /* amount: connections whose output was sent */
    RSL_PROF_KICK,     /* the loop thread asks the runtime thread for help */
    RSL_PROF_STEAL,    /* amount: bytes that the runtime thread read */
    RSL_PROF_TLS_HANDSHAKE,
    RSL_PROF_TLS_READ,  /* amount: bytes that were deciphered */
    RSL_PROF_TLS_WRITE, /* amount: bytes that were enciphered */
} rsl_prof_kind;

typedef struct rsl_prof_record {
    int64_t start_ns; /* CLOCK_MONOTONIC */
    int64_t end_ns;
    uint64_t amount;
    uint32_t kind; /* rsl_prof_kind */
    uint32_t name; /* what the writer means by it; 0: nothing */
} rsl_prof_record;

/* What one thread has written. */
typedef struct rsl_prof_thread {
    struct rsl_prof_thread *next;
    int tid;
    char name[16];
    uint64_t lost; /* records that a full ring forgot */
    size_t count;
    rsl_prof_record records[];
} rsl_prof_thread;

extern atomic_bool rsl_prof_on;

static inline bool
rsl_prof_is_on(void)
{
    return __builtin_expect(
        atomic_load_explicit(&rsl_prof_on, memory_order_relaxed), 0);
}

/* Begin a profile with rings of `records` (a power of two) for each thread.
 * RSL_BUSY: one is being taken. */
rsl_status rsl_prof_start(size_t records);

/* End it. The caller frees the threads by rsl_prof_free(). False when none is
 * being taken. Threads for which there was no memory are left out. */
bool rsl_prof_stop(rsl_prof_thread **out);
void rsl_prof_free(rsl_prof_thread *threads);

/* Write a record; nothing happens unless a profile is being taken. */
void rsl_prof_add(const rsl_prof_record *record);

int64_t rsl_prof_now_ns(void);

/* The start of a span, for rsl_prof_end(); 0 while no profile is taken. */
static inline int64_t
rsl_prof_begin(void)
{
    return rsl_prof_is_on() ? rsl_prof_now_ns() : 0;
}

static inline void
rsl_prof_end(rsl_prof_kind kind, int64_t start_ns, uint64_t amount)
{
    if (__builtin_expect(start_ns != 0, 0)) {
        rsl_prof_record record = {start_ns, rsl_prof_now_ns(), amount,
                                  (uint32_t)kind, 0};
        rsl_prof_add(&record);
    }
}

#endif
