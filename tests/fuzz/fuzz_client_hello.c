/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_client_hello.c - any bytes as the beginning of a stream. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tls/client_hello.h"

/* A pointer into the message, or NULL. */
static void
check_inside(const uint8_t *found, size_t found_len, const uint8_t *room,
             size_t len)
{
    if (found == NULL) {
        assert(found_len == 0);
        return;
    }
    assert(found >= room && found + found_len <= room + len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ours[] = {"h2", "http/1.1", NULL};
    uint8_t *room = malloc(size + 1);
    rsl_client_hello hello;
    rsl_hello_status status = rsl_client_hello_look(data, size);

    if (room == NULL) {
        return 0;
    }
    /* What is complete stays so with more behind it; less is not refused. */
    if (status == RSL_HELLO_MORE && size > 0) {
        assert(rsl_client_hello_look(data, size - 1) == RSL_HELLO_MORE);
    }
    if (status == RSL_HELLO_DONE
        && rsl_client_hello_read(data, size, room, &hello) == RSL_HELLO_DONE) {
        check_inside(hello.server_name, hello.server_name_len, room, size);
        check_inside(hello.alpn, hello.alpn_len, room, size);
        (void)rsl_client_hello_offers(&hello, ours);
    }
    free(room);
    return 0;
}
