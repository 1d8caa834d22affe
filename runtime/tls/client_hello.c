/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/client_hello.h"

#include <string.h>

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    MESSAGE_HEADER = 4,
    MESSAGE_CLIENT_HELLO = 1,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    NAME_TYPE_HOST = 0,
    NAME_MAX_BYTES = 255,
};

/* Bytes that are left to read. */
typedef struct hello_view {
    const uint8_t *data;
    size_t len;
} hello_view;

/* --- Records --- */

/* The next record's content; MORE when it is cut off: `out` then has what is
 * there. */
static rsl_hello_status
record_next(hello_view *in, hello_view *out)
{
    size_t len;

    if (in->len > 0 && in->data[0] != RECORD_HANDSHAKE) {
        return RSL_HELLO_STRANGE;
    }
    if (in->len > 1 && in->data[1] != 3) {
        return RSL_HELLO_STRANGE;
    }
    *out = (hello_view){in->data, 0};
    if (in->len < RECORD_HEADER) {
        return RSL_HELLO_MORE;
    }
    len = (size_t)in->data[3] << 8 | in->data[4];
    if (len == 0) {
        return RSL_HELLO_STRANGE;
    }
    out->data = in->data + RECORD_HEADER;
    in->data += RECORD_HEADER;
    in->len -= RECORD_HEADER;
    out->len = len < in->len ? len : in->len;
    in->data += out->len;
    in->len -= out->len;
    return out->len < len ? RSL_HELLO_MORE : RSL_HELLO_DONE;
}

/* Length of the message whose first bytes are in `head`, with its header. */
static size_t
message_size(const uint8_t head[MESSAGE_HEADER])
{
    return MESSAGE_HEADER
           + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
}

rsl_hello_status
rsl_client_hello_look(const uint8_t *data, size_t len)
{
    hello_view in = {data, len}, part;
    uint8_t head[MESSAGE_HEADER];
    size_t got = 0;

    for (;;) {
        rsl_hello_status status = record_next(&in, &part);

        if (status == RSL_HELLO_STRANGE) {
            return status;
        }
        for (size_t i = 0; i < part.len && got + i < MESSAGE_HEADER; i++) {
            head[got + i] = part.data[i];
        }
        got += part.len;
        if (got > 0 && head[0] != MESSAGE_CLIENT_HELLO) {
            return RSL_HELLO_STRANGE;
        }
        if (got >= MESSAGE_HEADER) {
            size_t size = message_size(head);

            if (size > RSL_CLIENT_HELLO_MAX) {
                return RSL_HELLO_STRANGE;
            }
            if (got >= size) {
                return RSL_HELLO_DONE;
            }
        }
        if (status == RSL_HELLO_MORE) {
            return len > RSL_CLIENT_HELLO_MAX ? RSL_HELLO_STRANGE
                                              : RSL_HELLO_MORE;
        }
    }
}

/* --- The message --- */

static bool
view_skip(hello_view *view, size_t len)
{
    if (view->len < len) {
        return false;
    }
    view->data += len;
    view->len -= len;
    return true;
}

static bool
view_number(hello_view *view, unsigned bytes, size_t *out)
{
    size_t number = 0;

    if (view->len < bytes) {
        return false;
    }
    for (unsigned i = 0; i < bytes; i++) {
        number = number << 8 | view->data[i];
    }
    *out = number;
    return view_skip(view, bytes);
}

/* What follows a length of so many bytes. */
static bool
view_vector(hello_view *view, unsigned bytes, hello_view *out)
{
    size_t len;

    if (!view_number(view, bytes, &len) || view->len < len) {
        return false;
    }
    *out = (hello_view){view->data, len};
    return view_skip(view, len);
}

/* A name that C code may use: without zeros, of a bounded length. */
static bool
hello_take_name(hello_view extension, rsl_client_hello *out)
{
    hello_view list, name;
    size_t type;

    if (!view_vector(&extension, 2, &list) || !view_number(&list, 1, &type)
        || type != NAME_TYPE_HOST || !view_vector(&list, 2, &name)) {
        return false;
    }
    if (name.len == 0 || name.len > NAME_MAX_BYTES
        || memchr(name.data, 0, name.len) != NULL) {
        return false;
    }
    out->server_name = name.data;
    out->server_name_len = name.len;
    return true;
}

static bool
hello_take_alpn(hello_view extension, rsl_client_hello *out)
{
    hello_view list, rest, name;

    if (!view_vector(&extension, 2, &list)) {
        return false;
    }
    for (rest = list; rest.len > 0;) {
        if (!view_vector(&rest, 1, &name) || name.len == 0) {
            return false;
        }
    }
    out->alpn = list.data;
    out->alpn_len = list.len;
    return true;
}

static bool
hello_take_extensions(hello_view list, rsl_client_hello *out)
{
    while (list.len > 0) {
        hello_view extension;
        size_t type;

        if (!view_number(&list, 2, &type)
            || !view_vector(&list, 2, &extension)) {
            return false;
        }
        if (type == EXTENSION_SERVER_NAME && !hello_take_name(extension, out)) {
            return false;
        }
        if (type == EXTENSION_ALPN && !hello_take_alpn(extension, out)) {
            return false;
        }
    }
    return true;
}

static bool
hello_take(hello_view message, rsl_client_hello *out)
{
    enum { VERSION_AND_RANDOM = 2 + 32 };
    hello_view skipped, extensions;

    if (!view_skip(&message, MESSAGE_HEADER + VERSION_AND_RANDOM)
        || !view_vector(&message, 1, &skipped)    /* session id */
        || !view_vector(&message, 2, &skipped)    /* cipher suites */
        || !view_vector(&message, 1, &skipped)) { /* compression */
        return false;
    }
    if (message.len == 0) {
        return true; /* SSL 3 had no extensions */
    }
    return view_vector(&message, 2, &extensions)
           && hello_take_extensions(extensions, out);
}

rsl_hello_status
rsl_client_hello_read(const uint8_t *data, size_t len, uint8_t *room,
                      rsl_client_hello *out)
{
    hello_view in = {data, len}, part;
    size_t got = 0, size;

    memset(out, 0, sizeof *out);
    do {
        if (record_next(&in, &part) == RSL_HELLO_STRANGE) {
            return RSL_HELLO_STRANGE;
        }
        memcpy(room + got, part.data, part.len);
        got += part.len;
        size = got < MESSAGE_HEADER ? SIZE_MAX : message_size(room);
    } while (got < size && in.len > 0);
    if (got < size) {
        return RSL_HELLO_STRANGE;
    }
    if (!hello_take((hello_view){room, size}, out)) {
        memset(out, 0, sizeof *out);
        return RSL_HELLO_STRANGE;
    }
    return RSL_HELLO_DONE;
}

bool
rsl_client_hello_offers(const rsl_client_hello *hello, const char *const *names)
{
    hello_view rest = {hello->alpn, hello->alpn_len}, name;

    while (rest.len > 0 && view_vector(&rest, 1, &name)) {
        for (const char *const *ours = names; *ours != NULL; ours++) {
            if (strlen(*ours) == name.len
                && memcmp(*ours, name.data, name.len) == 0) {
                return true;
            }
        }
    }
    return false;
}
