/* SPDX-License-Identifier: Apache-2.0 */
/* client_hello.h - what a client asks for, read before any engine is made.
 *
 * Role:    server name and ALPN offers of the ClientHello at the beginning of
 *          a stream, in one record or in several.
 * Thread:  values only.
 * Memory:  what is found points into the memory that the caller gives. */
#ifndef RSL_TLS_CLIENT_HELLO_H
#define RSL_TLS_CLIENT_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A ClientHello whose records are longer is left to the engine to refuse. */
enum { RSL_CLIENT_HELLO_MAX = 17000 };

typedef struct rsl_client_hello {
    const uint8_t *server_name; /* a DNS name, not terminated; or NULL */
    size_t server_name_len;
    const uint8_t *alpn; /* names, each after a byte with its length; or NULL */
    size_t alpn_len;
} rsl_client_hello;

typedef enum rsl_hello_status {
    RSL_HELLO_DONE,
    RSL_HELLO_MORE,    /* it is not complete */
    RSL_HELLO_STRANGE, /* it is none, or broken; an engine will say so */
} rsl_hello_status;

/* Whether the records in `len` bytes at `data` hold a whole ClientHello. */
rsl_hello_status rsl_client_hello_look(const uint8_t *data, size_t len);

/* After DONE: read it. `room` has `len` bytes for the message as a whole. */
rsl_hello_status rsl_client_hello_read(const uint8_t *data, size_t len,
                                       uint8_t *room, rsl_client_hello *out);

/* Whether the ClientHello offers one of `names`, which NULL ends. */
bool rsl_client_hello_offers(const rsl_client_hello *hello,
                             const char *const *names);

#endif
