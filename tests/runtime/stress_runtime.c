/* SPDX-License-Identifier: Apache-2.0 */
/* stress_runtime.c - the real runtime thread at every tick, ten producers, and
 * feeders of a dozen streams, against one loop thread that sleeps when it can.
 *
 * Streams carry counting bytes: one that is lost, doubled or out of order shows
 * at once. A lost wake-up shows as a hang, which alarm() ends. */
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_backend.h"
#include "fake_loop.h"

enum { PRODUCERS = 10, STREAMS = 12, FEEDERS = 2, HANG_SECONDS = 60 };

typedef struct note {
    rsl_msg msg;
    unsigned producer;
    unsigned number;
} note;

static rsl_runtime *rt;
static rsl_conn *conns[STREAMS];
static fake_reader readers[STREAMS];
static unsigned next_number[PRODUCERS];
static unsigned messages = 5000; /* of each producer */
static size_t stream_bytes = 20000;

static void
note_discard(rsl_msg *msg)
{
    free(msg);
}

static void *
producer_main(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < messages; i++) {
        note *mine = malloc(sizeof *mine);

        assert(mine != NULL);
        mine->msg.event =
            (rsl_event){.tag = rsl_tag(RSL_EV_CALL, 0), .u.ptr = mine};
        mine->msg.discard = note_discard;
        mine->producer = me;
        mine->number = i;
        rsl_runtime_post(rt, &mine->msg);
        if (i % 32 == me) {
            usleep(200);
        }
    }
    return NULL;
}

static void
note_arrived(void *ptr)
{
    note *its = ptr;

    if (its->number != next_number[its->producer]) {
        fprintf(stderr, "producer %u out of order\n", its->producer);
        abort();
    }
    next_number[its->producer]++;
    free(its);
}

/* Feeds every second stream. */
static void *
feeder_main(void *arg)
{
    size_t first = (size_t)(uintptr_t)arg;
    unsigned random = (unsigned)first + 1;
    size_t sent = 0;

    while (sent < stream_bytes) {
        uint8_t bytes[64];
        size_t len = 1 + (size_t)rand_r(&random) % sizeof bytes;

        len = len < stream_bytes - sent ? len : stream_bytes - sent;
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(sent + i);
        }
        for (size_t i = first; i < STREAMS; i += FEEDERS) {
            fake_feed(fake_of(rt), conns[i], bytes, len);
        }
        sent += len;
        if (rand_r(&random) % 2 == 0) {
            usleep(100); /* both threads get a share of what comes */
        }
    }
    for (size_t i = first; i < STREAMS; i += FEEDERS) {
        fake_feed_eof(fake_of(rt), conns[i]);
    }
    return NULL;
}

static bool
all_arrived(void)
{
    for (int i = 0; i < PRODUCERS; i++) {
        if (next_number[i] < messages) {
            return false;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        if (readers[i].eofs == 0) {
            return false;
        }
    }
    return true;
}

static void
check_streams(void)
{
    for (int i = 0; i < STREAMS; i++) {
        if (readers[i].len != stream_bytes || readers[i].eofs != 1) {
            fprintf(stderr, "stream %d: %zu bytes, %u ends\n", i,
                    readers[i].len, readers[i].eofs);
            abort();
        }
        for (size_t at = 0; at < stream_bytes; at++) {
            if (readers[i].bytes[at] != (uint8_t)at) {
                fprintf(stderr, "stream %d: wrong byte at %zu\n", i, at);
                abort();
            }
        }
    }
}

/* What callbacks do: pause and resume, open and close. */
static void
loop_meddle(fake_loop *loop, unsigned turn)
{
    static fake_reader passing;
    int i = rand() % STREAMS;
    int peer;

    if (readers[i].paused) {
        fake_resume(rt, conns[i]);
    } else if (turn % 7 == 0) {
        fake_pause(conns[i]);
    }
    if (turn % 5 == 0) {
        rsl_conn *conn = fake_conn(rt, &passing, &peer);

        if (rsl_conn_read_start(conn) != RSL_OK) {
            abort();
        }
        fake_feed(fake_of(rt), conn, "gone", 4);
        fake_loop_turn(loop, 0);
        rsl_conn_close(conn);
        close(peer);
        fake_reader_fini(&passing);
    }
}

static void
stress(bool completions)
{
    static fake_loop loop;
    pthread_t threads[PRODUCERS + FEEDERS];
    int peers[STREAMS];
    rsl_info info;
    rsl_err err;
    unsigned turn = 0;

    rt = fake_runtime(RSL_TAKEOVER_ALWAYS, NULL);
    fake_loop_init(&loop, rt);
    loop.call = note_arrived;
    if (completions) {
        fake_use_completions(fake_of(rt));
    }
    fake_disturb(fake_of(rt), 42, 48);
    memset(next_number, 0, sizeof next_number);
    for (int i = 0; i < STREAMS; i++) {
        conns[i] = fake_conn(rt, &readers[i], &peers[i]);
        if (rsl_conn_read_start(conns[i]) != RSL_OK) {
            abort();
        }
    }
    for (uintptr_t i = 0; i < PRODUCERS + FEEDERS; i++) {
        bool feeds = i >= PRODUCERS;

        if (pthread_create(&threads[i], NULL,
                           feeds ? feeder_main : producer_main,
                           (void *)(feeds ? i - PRODUCERS : i))
            != 0) {
            abort();
        }
    }
    while (!all_arrived()) {
        fake_loop_turn(&loop, -1);
        loop_meddle(&loop, ++turn);
        if (turn % 500 == 0) { /* stop and run again */
            rsl_runtime_leave(rt);
            if (rsl_runtime_enter(rt, &err) != RSL_OK) {
                abort();
            }
        }
    }
    for (int i = 0; i < PRODUCERS + FEEDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    check_streams();
    rsl_runtime_info(rt, &info);
    printf("%s: %u turns, %llu takeovers, %llu of %zu bytes stolen\n",
           completions ? "completions" : "readiness", turn,
           (unsigned long long)info.takeovers,
           (unsigned long long)info.stolen_bytes, STREAMS * stream_bytes);
    fake_loop_fini(&loop);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
    for (int i = 0; i < STREAMS; i++) {
        fake_reader_fini(&readers[i]);
        close(peers[i]);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) { /* how many times as long */
        unsigned times = (unsigned)strtoul(argv[1], NULL, 10);
        messages *= times;
        stream_bytes *= times;
    }
    alarm(HANG_SECONDS);
    stress(false);
    stress(true);
    return 0;
}
