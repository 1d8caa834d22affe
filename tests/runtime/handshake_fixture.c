/* SPDX-License-Identifier: Apache-2.0 */
#include "handshake_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef __SANITIZE_THREAD__
/* A certificate of a shared SSL_CTX is decoded by whoever comes first, under
 * atomics of libcrypto's own, which is not built with the sanitizer. */
__attribute__((visibility("default"))) const char *
__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
    return "race:libcrypto.so\nrace:libssl.so\n";
}
#endif

static void
loop_emit(rsl_sink *sink, rsl_event event)
{
    test_loop *loop =
        (test_loop *)(void *)((char *)sink - offsetof(test_loop, sink));

    assert_int_equal(rsl_tag_kind(event.tag), RSL_EV_MESSAGE);
    assert_int_equal(rsl_tag_id(event.tag), RSL_MSG_HANDSHAKE);
    assert_true(loop->count < sizeof loop->arrived / sizeof *loop->arrived);
    loop->arrived[loop->count++] = event.u.ptr;
}

void
loop_open(test_loop *loop)
{
    rsl_config config = {.backend = RSL_BACKEND_EPOLL,
                         .takeover = RSL_TAKEOVER_NEVER};
    rsl_err err;

    *loop = (test_loop){.sink.emit = loop_emit};
    assert_int_equal(rsl_runtime_new(&config, &loop->rt, &err), RSL_OK);
    assert_int_equal(rsl_runtime_enter(loop->rt, &err), RSL_OK);
}

void
loop_close(test_loop *loop)
{
    rsl_runtime_leave(loop->rt);
    rsl_runtime_close(loop->rt);
    rsl_runtime_drain(loop->rt, &loop->sink);
    for (unsigned i = 0; i < loop->count; i++) {
        loop->arrived[i]->discard(loop->arrived[i]);
    }
    rsl_runtime_free(loop->rt);
}

int
loop_turn(test_loop *loop)
{
    rsl_msg *arrived[4 * PAIRS];
    unsigned count;
    int status = 0;
    rsl_err err;

    rsl_runtime_drain(loop->rt, &loop->sink);
    while (loop->count == 0) {
        assert_int_equal(rsl_runtime_sleep(loop->rt, -1, &err), RSL_OK);
        rsl_runtime_drain(loop->rt, &loop->sink);
    }
    count = loop->count;
    for (unsigned i = 0; i < count; i++) {
        arrived[i] = loop->arrived[i];
    }
    loop->count = 0; /* done() may post again */
    for (unsigned i = 0; i < count; i++) {
        status |= rsl_handshake_deliver(arrived[i]);
    }
    return status;
}

/* --- A side --- */

void
side_post(side *s)
{
    rsl_handshake_owner owner = {s, side_done, side_abandon};
    rsl_err err;

    assert_false(s->posted);
    s->posted = true;
    s->steps++;
    assert_int_equal(rsl_handshake_post(s->loop->rt, s->end->tls, owner, &err),
                     RSL_OK);
}

void
side_abandon(void *object)
{
    side *s = object;

    assert_true(s->posted);
    s->posted = false;
    s->abandoned++;
}

int
side_done(void *object, rsl_tls_status status)
{
    side *s = object;

    assert_true(s->posted);
    s->posted = false;
    s->done++;
    s->status = status;
    return 0;
}

/* Carry what `from` has said to its peer, whose engine must be at home, and
 * let the pool go on with it. */
static void
side_answer(side *from, side *to)
{
    size_t len;
    uint8_t *said = tls_end_take(from->end, &len);

    if (len > 0) {
        rsl_tls_feed(to->end->tls, said, len);
        assert_int_equal(rsl_tls_keep(to->end->tls), RSL_OK);
    }
    free(said);
    if (len > 0 && rsl_tls_state_now(to->end->tls) == RSL_TLS_STATE_HANDSHAKE) {
        side_post(to);
    }
}

void
shake_open(shake *s, test_loop *loop, tls_library client, tls_library server)
{
    tls_settings client_settings = {.library = client};
    tls_settings server_settings = {.library = server, .server = true};

    tls_pair_open(&s->pair, &client_settings, &server_settings, "localhost");
    s->client = (side){.end = &s->pair.client, .loop = loop};
    s->server = (side){.end = &s->pair.server, .loop = loop};
}

void
shake_share(shake *s, const shake *other)
{
    rsl_tls_free(s->pair.client.tls);
    rsl_tls_free(s->pair.server.tls);
    s->pair.client.tls =
        tls_context_open(other->pair.client.context, "localhost");
    s->pair.server.tls = tls_context_open(other->pair.server.context, NULL);
    assert_non_null(s->pair.client.tls);
    assert_non_null(s->pair.server.tls);
}

static bool
shake_is_over(const shake *s)
{
    return rsl_tls_state_now(s->pair.client.tls) != RSL_TLS_STATE_HANDSHAKE
           && rsl_tls_state_now(s->pair.server.tls) != RSL_TLS_STATE_HANDSHAKE;
}

bool
shake_go_on(shake *s)
{
    if (s->client.posted || s->server.posted) {
        return true;
    }
    if (shake_is_over(s)) {
        return false;
    }
    side_answer(&s->client, &s->server);
    if (!s->server.posted) {
        side_answer(&s->server, &s->client);
    }
    assert_true(s->client.posted || s->server.posted || shake_is_over(s));
    return s->client.posted || s->server.posted;
}
