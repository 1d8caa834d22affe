/* SPDX-License-Identifier: Apache-2.0 */
/* make_corpus.c - write the corpora anew, from real handshakes.
 *
 *     make_corpus tests/fuzz/corpus */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_world.h"

enum { FLIGHT_MAX = 8192 };

static void
corpus_write(const char *folder, const char *kind, unsigned number,
             const uint8_t *data, size_t len)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s/%02u", folder, kind, number);
    file = fopen(path, "wb");
    assert(file != NULL);
    assert(fwrite(data, 1, len, file) == len);
    fclose(file);
}

static size_t
corpus_take(rsl_tls *tls, uint8_t *data)
{
    size_t len = 0;
    struct iovec iov;

    while (rsl_tls_output(tls, &iov, 1) == 1) {
        assert(len + iov.iov_len <= FLIGHT_MAX);
        memcpy(data + len, iov.iov_base, iov.iov_len);
        len += iov.iov_len;
        rsl_tls_consume(tls, iov.iov_len);
    }
    return len;
}

/* The first flights of both sides, as inputs of fuzz_flight. */
static void
corpus_flights(const char *folder, unsigned choice)
{
    rsl_tls *client = fuzz_open(choice, false),
            *server = fuzz_open(choice, true);
    uint8_t data[2 + FLIGHT_MAX] = {(uint8_t)choice, 0};
    size_t len;

    assert(client != NULL && server != NULL);
    (void)rsl_tls_handshake(client);
    len = corpus_take(client, data + 2);
    corpus_write(folder, "flight", choice, data, 2 + len);
    if (choice < 8) {
        corpus_write(folder, "client_hello", choice, data + 2, len);
    }
    rsl_tls_feed(server, data + 2, len);
    (void)rsl_tls_handshake(server);
    assert(rsl_tls_keep(server) == RSL_OK);
    len = corpus_take(server, data + 2);
    data[0] |= FUZZ_AS_CLIENT;
    corpus_write(folder, "flight", choice | FUZZ_AS_CLIENT, data, 2 + len);
    rsl_tls_free(client);
    rsl_tls_free(server);
}

/* Operations of fuzz_talk.c: a handshake, data both ways, and each kind of
 * trouble. */
static void
corpus_talks(const char *folder, unsigned choice)
{
    static const uint8_t talks[][24] = {
        {0, 8, 0, 8, 5, 9, 0, 13, 200, 8, 6, 0, 14, 8},
        {0, 8, 0, 8, 5, 255, 0, 2, 1, 4, 1, 0, 8, 15},
        {1, 5, 1, 90, 0, 8, 9, 80, 8, 0, 8, 5, 3, 1, 9, 0, 7},
        {0, 10, 0, 90, 1, 0, 8, 0},
        {0, 8, 0, 8, 5, 1, 3, 7, 5, 1, 0, 15, 7},
        {0, 8, 0, 8, 4, 7, 21, 3, 3, 0, 2, 1, 0, 8, 0},
    };

    for (unsigned i = 0; i < sizeof talks / sizeof *talks; i++) {
        uint8_t data[1 + sizeof talks[0]] = {(uint8_t)choice};

        memcpy(data + 1, talks[i], sizeof talks[0]);
        corpus_write(folder, "talk",
                     choice * (unsigned)(sizeof talks / sizeof *talks) + i,
                     data, sizeof data);
    }
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (unsigned choice = 0; choice < FUZZ_AS_CLIENT; choice++) {
        corpus_flights(argv[1], choice);
        corpus_talks(argv[1], choice);
    }
    return 0;
}
