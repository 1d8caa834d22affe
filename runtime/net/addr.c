/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/addr.h>

#include <errno.h>
#include <string.h>

static rsl_status
addr_failed(rsl_err *err, const char *call)
{
    err->code = errno;
    err->call = call;
    return RSL_OS;
}

rsl_status
rsl_addr_local(int fd, rsl_addr *out, rsl_err *err)
{
    memset(out, 0, sizeof(*out));
    out->length = sizeof(out->storage);
    if (getsockname(fd, (struct sockaddr *)&out->storage, &out->length) < 0) {
        return addr_failed(err, "getsockname");
    }
    return RSL_OK;
}

rsl_status
rsl_addr_peer(int fd, rsl_addr *out, rsl_err *err)
{
    memset(out, 0, sizeof(*out));
    out->length = sizeof(out->storage);
    if (getpeername(fd, (struct sockaddr *)&out->storage, &out->length) < 0) {
        return addr_failed(err, "getpeername");
    }
    return RSL_OK;
}
