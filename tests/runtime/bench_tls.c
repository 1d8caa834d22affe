/* SPDX-License-Identifier: Apache-2.0 */
/* bench_tls.c - what the engines cost, without sockets: CPU time of the server
 * alone, against a client of OpenSSL in the same process.
 *
 *     bench_tls [SECONDS]    for each figure; 0.5 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tls_pair.h"

enum { IDLE = 200, WIRE_MAX = 1 << 18 };

typedef struct bench_side {
    const char *name;
    tls_library library;
} bench_side;

static const bench_side sides[] = {
    {"openssl", TLS_OPENSSL},
    {"mbedtls", TLS_MBEDTLS},
};

static double bench_seconds = 0.5;

static double
cpu_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Carry one way; the CPU time of what `to` made of it. */
static double
bench_carry(rsl_tls *from, rsl_tls *to)
{
    static uint8_t wire[WIRE_MAX];
    static uint8_t plain[1 << 16];
    size_t len = 0, some;
    struct iovec iov;
    double began;

    while (len < WIRE_MAX - (1 << 15) && rsl_tls_output(from, &iov, 1) == 1) {
        memcpy(wire + len, iov.iov_base, iov.iov_len);
        len += iov.iov_len;
        rsl_tls_consume(from, iov.iov_len);
    }
    began = cpu_now();
    if (len > 0) {
        rsl_tls_feed(to, wire, len);
    }
    if (rsl_tls_handshake(to) == RSL_TLS_DONE) {
        while (rsl_tls_read(to, plain, sizeof plain, &some) == RSL_TLS_DONE) {
        }
    }
    if (len > 0) {
        (void)rsl_tls_keep(to);
    }
    return cpu_now() - began;
}

/* A handshake, and the CPU time of the server's part. */
static double
bench_handshake(tls_pair *pair)
{
    double spent = 0;

    (void)rsl_tls_handshake(pair->client.tls);
    for (int i = 0; i < 3; i++) {
        spent += bench_carry(pair->client.tls, pair->server.tls);
        (void)bench_carry(pair->server.tls, pair->client.tls);
    }
    if (rsl_tls_state_now(pair->client.tls) != RSL_TLS_STATE_OPEN
        || rsl_tls_state_now(pair->server.tls) != RSL_TLS_STATE_OPEN) {
        fprintf(stderr, "no handshake\n");
        exit(1);
    }
    return spent;
}

static void
bench_open(tls_pair *pair, tls_library library, int version, const char *cert)
{
    tls_settings client = {.library = TLS_OPENSSL, .version = version};
    tls_settings server = {
        .library = library, .server = true, .version = version, .cert = cert};

    tls_pair_open(pair, &client, &server, "localhost");
}

static void
bench_full(const bench_side *side, int version, const char *cert)
{
    double spent = 0;
    unsigned count = 0;
    tls_pair pair;

    bench_open(&pair, side->library, version, cert);
    for (; spent < bench_seconds; count++) {
        spent += bench_handshake(&pair);
        tls_pair_again(&pair, "localhost");
    }
    printf("%-8s  %s full, %-7s %8.0f handshakes/s\n", side->name,
           version == TLS_1_3 ? "1.3" : "1.2", cert, count / spent);
    tls_pair_close(&pair);
}

static void
bench_resumed(const bench_side *side, int version)
{
    double spent = 0;
    unsigned count = 0, resumed = 0;
    tls_pair pair;

    bench_open(&pair, side->library, version, "ec.pem");
    (void)bench_handshake(&pair);
    for (; spent < bench_seconds; count++) {
        uint8_t *session;
        rsl_tls_info info;
        size_t len;

        if (rsl_tls_get_session(pair.client.tls, &session, &len) != RSL_OK) {
            fprintf(stderr, "no session\n");
            exit(1);
        }
        tls_pair_again(&pair, "localhost");
        (void)rsl_tls_set_session(pair.client.tls, session, len);
        free(session);
        spent += bench_handshake(&pair);
        rsl_tls_get_info(pair.client.tls, &info);
        resumed += info.resumed;
    }
    printf("%-8s  %s resumed (%u of %u) %8.0f handshakes/s\n", side->name,
           version == TLS_1_3 ? "1.3" : "1.2", resumed, count, count / spent);
    tls_pair_close(&pair);
}

/* MB/s of the server, writing and reading records of this size. */
static void
bench_records(const bench_side *side, size_t size)
{
    static uint8_t data[RSL_TLS_RECORD_MAX];
    struct iovec piece = {data, size};
    double writing = 0, reading = 0, bytes = 0;
    rsl_tls_info info;
    size_t taken;
    tls_pair pair;

    bench_open(&pair, side->library, TLS_1_3, "ec.pem");
    (void)bench_handshake(&pair);
    rsl_tls_get_info(pair.server.tls, &info);
    while (writing + reading < bench_seconds) {
        double began = cpu_now();

        for (size_t sent = 0; sent < RSL_TLS_RECORD_MAX; sent += taken) {
            (void)rsl_tls_write(pair.server.tls, &piece, 1, &taken);
            bytes += (double)taken;
        }
        writing += cpu_now() - began;
        (void)bench_carry(pair.server.tls, pair.client.tls);
        for (size_t sent = 0; sent < RSL_TLS_RECORD_MAX; sent += taken) {
            (void)rsl_tls_write(pair.client.tls, &piece, 1, &taken);
        }
        reading += bench_carry(pair.client.tls, pair.server.tls);
    }
    printf("%-8s  %5zu B records: write %6.0f MB/s, read %6.0f MB/s (%s)\n",
           side->name, size, bytes / writing / 1e6, bytes / reading / 1e6,
           info.cipher);
    tls_pair_close(&pair);
}

static size_t
heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* What freeing the servers of idle open connections gives back; and of ones
 * that have heard nothing yet. */
static void
bench_memory(const bench_side *side)
{
    static rsl_tls *servers[IDLE], *clients[IDLE];
    tls_pair pair;
    size_t before, waiting;

    bench_open(&pair, side->library, TLS_1_3, "ec.pem");
    (void)bench_handshake(&pair);
    before = heap_bytes();
    for (int i = 0; i < IDLE; i++) {
        servers[i] = tls_context_open(pair.server.context, NULL);
    }
    waiting = heap_bytes() - before;
    for (int i = 0; i < IDLE; i++) {
        tls_pair one = {.client = pair.client, .server = pair.server};

        clients[i] = tls_context_open(pair.client.context, "localhost");
        one.client.tls = clients[i];
        one.server.tls = servers[i];
        (void)bench_handshake(&one);
    }
    before = heap_bytes();
    for (int i = 0; i < IDLE; i++) {
        rsl_tls_free(servers[i]);
    }
    printf("%-8s  memory a server: %zu B open and idle, %zu B before the "
           "ClientHello\n",
           side->name, (before - heap_bytes()) / IDLE, waiting / IDLE);
    for (int i = 0; i < IDLE; i++) {
        rsl_tls_free(clients[i]);
    }
    tls_pair_close(&pair);
}

int
main(int argc, char **argv)
{
    const char *fault = tls_library_fault(TLS_OPENSSL);

    if (fault != NULL) {
        fprintf(stderr, "%s\n", fault);
        return 77;
    }
    if (argc > 1) {
        bench_seconds = strtod(argv[1], NULL);
    }
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        bench_full(&sides[i], TLS_1_3, "ec.pem");
        bench_full(&sides[i], TLS_1_2, "ec.pem");
        bench_full(&sides[i], TLS_1_3, "rsa.pem");
        bench_full(&sides[i], TLS_1_2, "rsa.pem");
        bench_resumed(&sides[i], TLS_1_3);
        bench_resumed(&sides[i], TLS_1_2);
        bench_records(&sides[i], 256);
        bench_records(&sides[i], 1024);
        bench_records(&sides[i], RSL_TLS_RECORD_MAX);
        bench_memory(&sides[i]);
    }
    return 0;
}
