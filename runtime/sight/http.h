/* SPDX-License-Identifier: Apache-2.0 */
/* http.h - as much of HTTP/1 as one page needs.
 *
 * Thread:  any.
 * Memory:  none. */
#ifndef RSL_SIGHT_HTTP_H
#define RSL_SIGHT_HTTP_H

#include <stddef.h>

typedef enum rsl_http_verdict {
    RSL_HTTP_MORE = 0, /* the request has not ended */
    RSL_HTTP_OK = 200,
    RSL_HTTP_BAD_REQUEST = 400,
    RSL_HTTP_NOT_FOUND = 404,
    RSL_HTTP_METHOD_NOT_ALLOWED = 405,
    RSL_HTTP_TOO_LARGE = 431,
    RSL_HTTP_NO_MEMORY = 503,
    RSL_HTTP_VERSION = 505,
} rsl_http_verdict;

/* What to answer to the first `len` bytes of a request, of which at most `max`
 * are taken. Headers are not looked at, for the answer depends on none. */
rsl_http_verdict rsl_http_judge(const char *request, size_t len, size_t max);

/* "404 Not Found" */
const char *rsl_http_status(rsl_http_verdict verdict);

#endif
