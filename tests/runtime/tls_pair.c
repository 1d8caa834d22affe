/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint32_t
tls_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void
end_open(tls_end *end, const char *name)
{
    end->tls = tls_context_open(end->context, name);
    end->status = RSL_TLS_WANT_READ;
    end->got_len = 0;
    assert_non_null(end->tls);
}

void
tls_pair_open(tls_pair *pair, const tls_settings *client,
              const tls_settings *server, const char *name)
{
    memset(pair, 0, sizeof *pair);
    pair->seed = 20261;
    pair->client.context = tls_context_new(client);
    pair->server.context = tls_context_new(server);
    end_open(&pair->client, name);
    end_open(&pair->server, NULL);
}

void
tls_pair_again(tls_pair *pair, const char *name)
{
    rsl_tls_free(pair->client.tls);
    rsl_tls_free(pair->server.tls);
    end_open(&pair->client, name);
    end_open(&pair->server, NULL);
}

static void
end_close(tls_end *end)
{
    rsl_tls_free(end->tls);
    tls_context_free(end->context);
    free(end->got);
}

void
tls_pair_close(tls_pair *pair)
{
    end_close(&pair->client);
    end_close(&pair->server);
}

static void
end_read(tls_end *end)
{
    size_t some;

    do {
        if (end->got_cap - end->got_len < 1 << 16) {
            end->got_cap = end->got_cap * 2 + (1 << 17);
            end->got = realloc(end->got, end->got_cap);
            assert_non_null(end->got);
        }
        end->status =
            rsl_tls_read(end->tls, end->got + end->got_len, 1 << 16, &some);
        end->got_len += some;
    } while (end->status == RSL_TLS_DONE);
}

void
tls_end_step(tls_end *end)
{
    if (rsl_tls_state_now(end->tls) == RSL_TLS_STATE_HANDSHAKE) {
        end->status = rsl_tls_handshake(end->tls);
        if (end->status != RSL_TLS_DONE) {
            return;
        }
    }
    end_read(end);
}

void
tls_end_feed(tls_end *end, const uint8_t *data, size_t len)
{
    /* A block of its own, so that the sanitizer sees a look beyond it. */
    uint8_t *lent = malloc(len);

    assert_non_null(lent);
    memcpy(lent, data, len);
    rsl_tls_feed(end->tls, lent, len);
    tls_end_step(end);
    assert_int_equal(rsl_tls_keep(end->tls), RSL_OK);
    free(lent);
}

uint8_t *
tls_end_take(tls_end *end, size_t *len)
{
    size_t bytes = rsl_tls_output_bytes(end->tls), filled = 0;
    uint8_t *data = malloc(bytes + 1);

    assert_non_null(data);
    while (filled < bytes) {
        struct iovec iov[3];
        unsigned count = rsl_tls_output(end->tls, iov, 3);

        assert_in_range(count, 1, 3);
        for (unsigned i = 0; i < count; i++) {
            memcpy(data + filled, iov[i].iov_base, iov[i].iov_len);
            filled += iov[i].iov_len;
            rsl_tls_consume(end->tls, iov[i].iov_len);
        }
    }
    assert_int_equal(rsl_tls_output_bytes(end->tls), 0);
    *len = bytes;
    return data;
}

size_t
tls_pair_carry(tls_pair *pair, tls_end *from, tls_end *to)
{
    size_t len;
    uint8_t *data = tls_end_take(from, &len);

    for (size_t done = 0; done < len;) {
        size_t part = len - done;

        if (pair->cut == TLS_BYTES) {
            part = 1;
        } else if (pair->cut == TLS_RANDOM && part > 1) {
            part = 1 + tls_random(&pair->seed) % (part < 3000 ? part : 3000);
        }
        tls_end_feed(to, data + done, part);
        done += part;
    }
    free(data);
    return len;
}

void
tls_pair_run(tls_pair *pair)
{
    size_t moved;

    tls_end_step(&pair->client);
    do {
        moved = tls_pair_carry(pair, &pair->client, &pair->server);
        moved += tls_pair_carry(pair, &pair->server, &pair->client);
    } while (moved > 0);
}

void
tls_pair_shake(tls_pair *pair)
{
    tls_pair_run(pair);
    if (rsl_tls_state_now(pair->client.tls) != RSL_TLS_STATE_OPEN
        || rsl_tls_state_now(pair->server.tls) != RSL_TLS_STATE_OPEN) {
        const char *client = rsl_tls_last_error(pair->client.tls)->text;
        const char *server = rsl_tls_last_error(pair->server.tls)->text;

        fail_msg("no handshake: client %s, server %s",
                 client == NULL ? "?" : client, server == NULL ? "?" : server);
    }
}

void
tls_end_say(tls_end *end, const char *text)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    size_t taken;

    assert_int_equal(rsl_tls_write(end->tls, &piece, 1, &taken), RSL_TLS_DONE);
    assert_int_equal(taken, piece.iov_len);
}
