/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/status.h>

const char *
rsl_status_name(rsl_status status)
{
    switch (status) {
    case RSL_OK:
        return "RSL_OK";
    case RSL_AGAIN:
        return "RSL_AGAIN";
    case RSL_EOF:
        return "RSL_EOF";
    case RSL_NOMEM:
        return "RSL_NOMEM";
    case RSL_CLOSED:
        return "RSL_CLOSED";
    case RSL_BUSY:
        return "RSL_BUSY";
    case RSL_UNSUPPORTED:
        return "RSL_UNSUPPORTED";
    case RSL_TLS:
        return "RSL_TLS";
    case RSL_FORKED:
        return "RSL_FORKED";
    case RSL_OS:
        return "RSL_OS";
    }
    return "RSL_?";
}
