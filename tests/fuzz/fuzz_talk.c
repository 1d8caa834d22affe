/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_talk.c - two engines that talk over a wire which does what it likes.
 *
 * Input: a byte that chooses (fuzz_world.h), then operations: the low bits of
 * a byte are one of talk_op, FROM_SERVER tells the direction. Whatever is done
 * to the wire, nobody ever reads what the other has not written. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "fuzz_world.h"

enum { FROM_SERVER = 8, WIRE_MAX = 1 << 18 };

typedef enum talk_op {
    TALK_CARRY,  /* all there is */
    TALK_PART,   /* as many bytes as the next one says */
    TALK_FLIP,   /* one of them changed: two bytes of place, one of change */
    TALK_DROP,   /* and the next byte says how many of the last */
    TALK_INJECT, /* bytes of the input: a length, and so many */
    TALK_SAY,    /* plaintext: a length, in units of 97 */
    TALK_CLOSE,  /* close_notify */
    TALK_END,    /* the transport ends */
    TALK_COUNT,
} talk_op;

typedef struct talker {
    rsl_tls *tls;
    size_t said, heard; /* bytes of the pattern */
    bool ended;         /* nothing may be fed */
} talker;

typedef struct script {
    const uint8_t *data;
    size_t len;
} script;

static uint8_t
script_byte(script *in)
{
    if (in->len == 0) {
        return 0;
    }
    in->len--;
    return *in->data++;
}

static uint8_t
pattern(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 8));
}

static void
talk_step(talker *to, const talker *from)
{
    uint8_t buf[3000];
    size_t some;

    if (rsl_tls_handshake(to->tls) != RSL_TLS_DONE) {
        return;
    }
    while (rsl_tls_read(to->tls, buf, sizeof buf, &some) == RSL_TLS_DONE) {
        for (size_t i = 0; i < some; i++) {
            assert(buf[i] == pattern(to->heard + i));
        }
        to->heard += some;
        assert(to->heard <= from->said);
    }
}

static void
talk_feed(talker *to, const talker *from, uint8_t *data, size_t len)
{
    uint8_t *exact;

    if (len == 0 || to->ended) {
        return;
    }
    exact = malloc(len);
    assert(exact != NULL);
    memcpy(exact, data, len);
    rsl_tls_feed(to->tls, exact, len);
    talk_step(to, from);
    assert(rsl_tls_keep(to->tls) == RSL_OK);
    free(exact);
}

/* Take at most `max` bytes off the wire. */
static size_t
talk_take(talker *from, uint8_t *wire, size_t max)
{
    size_t len = 0;
    struct iovec iov;

    while (len < max && rsl_tls_output(from->tls, &iov, 1) == 1) {
        size_t some = iov.iov_len < max - len ? iov.iov_len : max - len;

        memcpy(wire + len, iov.iov_base, some);
        rsl_tls_consume(from->tls, some);
        len += some;
    }
    return len;
}

static void
talk_say(talker *who, size_t len)
{
    uint8_t *text = malloc(len + 1);
    struct iovec pieces[2];
    size_t taken;

    assert(text != NULL);
    for (size_t i = 0; i < len; i++) {
        text[i] = pattern(who->said + i);
    }
    pieces[0] = (struct iovec){text, len / 3};
    pieces[1] = (struct iovec){text + len / 3, len - len / 3};
    (void)rsl_tls_write(who->tls, pieces, 2, &taken);
    assert(taken <= len);
    who->said += taken;
    free(text);
}

static void
talk_wire(talk_op op, script *in, talker *from, talker *to)
{
    static uint8_t wire[WIRE_MAX];
    size_t max = op == TALK_PART ? script_byte(in) : WIRE_MAX;
    size_t len = talk_take(from, wire, max);

    if (op == TALK_FLIP && len > 0) {
        size_t at = (size_t)script_byte(in) << 8;

        at |= script_byte(in);
        wire[at % len] ^= script_byte(in);
    } else if (op == TALK_DROP) {
        size_t less = script_byte(in);

        len -= less < len ? less : len;
    } else if (op == TALK_INJECT) {
        size_t more = script_byte(in);

        more = more < in->len ? more : in->len;
        more = len + more < WIRE_MAX ? more : 0;
        memcpy(wire + len, in->data, more);
        in->data += more;
        in->len -= more;
        len += more;
    }
    talk_feed(to, from, wire, len);
}

static void
talk_do(uint8_t code, script *in, talker *from, talker *to)
{
    talk_op op = code % TALK_COUNT;

    switch (op) {
    case TALK_CARRY:
    case TALK_PART:
    case TALK_FLIP:
    case TALK_DROP:
    case TALK_INJECT:
        talk_wire(op, in, from, to);
        return;
    case TALK_SAY:
        talk_say(from, (size_t)script_byte(in) * 97);
        return;
    case TALK_CLOSE:
        (void)rsl_tls_close_notify(from->tls);
        return;
    case TALK_END:
        if (!to->ended) {
            to->ended = true;
            rsl_tls_feed_eof(to->tls);
            talk_step(to, from);
        }
        return;
    case TALK_COUNT:
        return;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script in = {data, size};
    uint8_t choice = script_byte(&in);
    talker client = {.tls = fuzz_open(choice, false)};
    talker server = {.tls = fuzz_open(choice, true)};

    if (client.tls != NULL && server.tls != NULL) {
        talk_step(&client, &server);
        while (in.len > 0) {
            uint8_t code = script_byte(&in);

            if (code & FROM_SERVER) {
                talk_do(code, &in, &server, &client);
            } else {
                talk_do(code, &in, &client, &server);
            }
        }
    }
    rsl_tls_free(client.tls);
    rsl_tls_free(server.tls);
    return 0;
}
