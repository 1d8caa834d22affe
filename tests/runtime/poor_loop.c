/* SPDX-License-Identifier: Apache-2.0 */
#include "poor_loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <rsl/listener.h>
#include <rsl/resolver.h>

rsl_backend_kind poor_backend;
unsigned poor_loans;

static void
poor_loan_return(void *loan)
{
    (void)loan;
    poor_loans--;
}

static void
poor_emit(rsl_sink *sink, rsl_event event)
{
    poor_loop *loop =
        (poor_loop *)(void *)((char *)sink - offsetof(poor_loop, sink));

    assert_true(loop->count < POOR_EVENTS);
    loop->events[loop->count++] = event;
}

static void
poor_read(poor_loop *loop, rsl_conn *conn)
{
    uint8_t buf[4096];
    size_t got = 0;
    rsl_err err = {0};

    switch ((int)rsl_conn_recv(conn, buf, sizeof buf, &got, &err)) {
    case RSL_OK:
        loop->received += got;
        break;
    case RSL_EOF:
        loop->ends++;
        break;
    default:
        break;
    }
}

static void
poor_data(poor_loop *loop, rsl_conn *conn, rsl_chunk *chunk)
{
    if (conn != NULL) {
        rsl_conn_received(conn);
        for (rsl_chunk *each = chunk; each != NULL; each = each->next) {
            loop->received += each->len;
        }
    }
    rsl_chunk_release(loop->rt, chunk);
}

static void
poor_event(poor_loop *loop, rsl_event event)
{
    uint64_t id = rsl_tag_id(event.tag);
    rsl_conn *conn = rsl_conn_find(loop->rt, id);
    rsl_err err = {0};

    switch ((int)rsl_tag_kind(event.tag)) {
    case RSL_EV_READABLE:
        if (conn != NULL) {
            poor_read(loop, conn);
        }
        break;
    case RSL_EV_DATA:
        poor_data(loop, conn, event.u.ptr);
        break;
    case RSL_EV_EOF:
        loop->ends++;
        break;
    case RSL_EV_WRITABLE:
        if (conn != NULL) {
            (void)rsl_conn_flush(conn, &err); /* the peer says what came */
        }
        break;
    case RSL_EV_ACCEPTABLE: {
        rsl_listener *listener = rsl_listener_find(loop->rt, id);
        rsl_addr peer;
        int fd;

        if (listener != NULL
            && rsl_listener_accept(listener, &fd, &peer, &err) == RSL_OK) {
            loop->accepts++;
            close(fd);
        }
        break;
    }
    case RSL_EV_DGRAM:
        loop->datagrams++;
        break;
    case RSL_EV_WATCH:
        loop->watched++;
        break;
    case RSL_EV_MESSAGE:
        loop->messages++;
        (void)rsl_lookup_claim(event.u.ptr);
        rsl_lookup_free(event.u.ptr);
        break;
    default:
        break;
    }
}

void
poor_turn(poor_loop *loop)
{
    rsl_err err = {0};

    rsl_runtime_drain(loop->rt, &loop->sink);
    assert_int_equal(rsl_runtime_acquire(loop->rt, &loop->sink), RSL_OK);
    assert_int_equal(
        rsl_runtime_wait(loop->rt, loop->count > 0 ? 0 : POOR_TURN_NS, &err),
        RSL_OK);
    rsl_runtime_collect(loop->rt, &loop->sink);
    rsl_runtime_release(loop->rt, 0);
    for (unsigned i = 0; i < loop->count; i++) {
        poor_event(loop, loop->events[i]);
    }
    loop->count = 0;
    rsl_runtime_flush(loop->rt, &loop->sink);
}

bool
poor_begin(poor_loop *loop)
{
    rsl_config config = {.backend = poor_backend,
                         .takeover = RSL_TAKEOVER_NEVER,
                         .hooks = {.loan_return = poor_loan_return}};
    rsl_err err = {0};
    rsl_status status;

    memset(loop, 0, sizeof *loop);
    loop->sink.emit = poor_emit;
    status = rsl_runtime_new(&config, &loop->rt, &err);
    if (status != RSL_OK) {
        assert_int_equal(status, RSL_NOMEM);
        return false;
    }
    status = rsl_runtime_enter(loop->rt, &err);
    if (status != RSL_OK) {
        assert_true(status == RSL_NOMEM || err.code == ENOMEM);
        rsl_runtime_free(loop->rt);
        return false;
    }
    return true;
}

void
poor_end(poor_loop *loop)
{
    rsl_runtime_leave(loop->rt);
    rsl_runtime_free(loop->rt);
}
