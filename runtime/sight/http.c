/* SPDX-License-Identifier: Apache-2.0 */
#include "sight/http.h"

#include <stdbool.h>
#include <string.h>

typedef struct http_word {
    const char *text;
    size_t len;
} http_word;

static bool
word_is(http_word word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.text, text, word.len) == 0;
}

/* An empty line ends the head. */
static bool
http_has_ended(const char *request, size_t len)
{
    const char *at = request, *end = request + len;

    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if ((at < end && at[0] == '\n')
            || (at + 1 < end && at[0] == '\r' && at[1] == '\n')) {
            return true;
        }
    }
    return false;
}

/* The next word of a line whose words are separated by one space; empty where
 * there is none. */
static http_word
http_word_of(const char **at, const char *end)
{
    const char *start = *at;
    const char *space = memchr(start, ' ', (size_t)(end - start));
    http_word word = {start, (size_t)((space == NULL ? end : space) - start)};

    *at = space == NULL ? end : space + 1;
    return word;
}

static bool
target_is_metrics(http_word target)
{
    const char *query = memchr(target.text, '?', target.len);

    if (query != NULL) {
        target.len = (size_t)(query - target.text);
    }
    return word_is(target, "/metrics");
}

/* A method is a token; those that exist are upper case letters. */
static bool
method_is_well_formed(http_word method)
{
    for (size_t i = 0; i < method.len; i++) {
        if (method.text[i] < 'A' || method.text[i] > 'Z') {
            return false;
        }
    }
    return method.len > 0;
}

static rsl_http_verdict
http_judge_line(const char *at, const char *end)
{
    http_word method = http_word_of(&at, end);
    http_word target = http_word_of(&at, end);
    http_word version = http_word_of(&at, end);

    if (at != end || !method_is_well_formed(method) || target.len == 0
        || version.len != 8 || memcmp(version.text, "HTTP/", 5) != 0) {
        return RSL_HTTP_BAD_REQUEST;
    }
    if (!word_is(version, "HTTP/1.0") && !word_is(version, "HTTP/1.1")) {
        return RSL_HTTP_VERSION;
    }
    if (!target_is_metrics(target)) {
        return RSL_HTTP_NOT_FOUND;
    }
    return word_is(method, "GET") ? RSL_HTTP_OK : RSL_HTTP_METHOD_NOT_ALLOWED;
}

rsl_http_verdict
rsl_http_judge(const char *request, size_t len, size_t max)
{
    const char *end;

    /* What is no HTTP may never send an empty line. */
    if (len > 0 && (request[0] < 'A' || request[0] > 'Z')) {
        return RSL_HTTP_BAD_REQUEST;
    }
    if (!http_has_ended(request, len)) {
        return len < max ? RSL_HTTP_MORE : RSL_HTTP_TOO_LARGE;
    }
    if (memchr(request, '\0', len) != NULL) {
        return RSL_HTTP_BAD_REQUEST;
    }
    end = memchr(request, '\n', len); /* there is one: it has ended */
    if (end > request && end[-1] == '\r') {
        end--;
    }
    return http_judge_line(request, end);
}

const char *
rsl_http_status(rsl_http_verdict verdict)
{
    switch (verdict) {
    case RSL_HTTP_MORE:
        break;
    case RSL_HTTP_OK:
        return "200 OK";
    case RSL_HTTP_BAD_REQUEST:
        return "400 Bad Request";
    case RSL_HTTP_NOT_FOUND:
        return "404 Not Found";
    case RSL_HTTP_METHOD_NOT_ALLOWED:
        return "405 Method Not Allowed";
    case RSL_HTTP_TOO_LARGE:
        return "431 Request Header Fields Too Large";
    case RSL_HTTP_NO_MEMORY:
        return "503 Service Unavailable";
    case RSL_HTTP_VERSION:
        return "505 HTTP Version Not Supported";
    }
    return "500 Internal Server Error";
}
