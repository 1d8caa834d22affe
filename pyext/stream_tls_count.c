/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls_count.c - handshakes as stats() and limits count them. */
#include "limits.h"
#include "stream_tls.h"
#include "tls_engine.h"

/* One handshake more of those of its engine. */
static void
tls_count(const StreamTransport *self, rsl_stat stat)
{
    const TLSEngineObject *engine = (TLSEngineObject *)self->tls->engine;
    rsl_stat_add(self->loop->stats, rsl_stat_by_engine(stat, engine->kind), 1);
}

void
pyrsl_stream_tls_count_start(StreamTransport *self)
{
    self->tls->counted = true;
    tls_count(self, RSL_STAT_TLS_STARTED);
    if (self->tls->pending) {
        pyrsl_handshake_began(self->loop);
    }
}

static void
tls_count_end(const StreamTransport *self)
{
    if (self->tls->phase != STREAM_TLS_OPEN) {
        tls_count(self, RSL_STAT_TLS_FAILED);
        return;
    }
    rsl_tls_info info;
    rsl_tls_get_info(((TLSEngineObject *)self->tls->engine)->tls, &info);
    tls_count(self, RSL_STAT_TLS_FINISHED);
    if (info.resumed) {
        tls_count(self, RSL_STAT_TLS_RESUMED);
    }
}

int
pyrsl_stream_tls_settle(StreamTransport *self)
{
    if (self->tls == NULL) {
        return 0;
    }
    if (self->tls->counted) {
        self->tls->counted = false;
        tls_count_end(self);
    }
    if (!self->tls->pending) {
        return 0;
    }
    self->tls->pending = false;
    return pyrsl_handshake_ended(self->loop);
}
