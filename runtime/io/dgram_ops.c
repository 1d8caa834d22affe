/* SPDX-License-Identifier: Apache-2.0 */
#include "io/dgram_ops.h"

#include <errno.h>
#include <sys/types.h>

static rsl_status
dgram_failed(rsl_err *err, const char *call)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return RSL_AGAIN;
    }
    *err = (rsl_err){.code = errno, .call = call};
    return RSL_OS;
}

rsl_status
rsl_sock_recvfrom(int fd, rsl_datagram *message, rsl_err *err)
{
    rsl_addr *from = &message->from;
    ssize_t got;

    do {
        from->length = sizeof from->storage;
        got = recvfrom(fd, message->buf, message->cap, MSG_DONTWAIT,
                       (struct sockaddr *)&from->storage, &from->length);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return dgram_failed(err, "recvfrom");
    }
    message->len = (size_t)got;
    return RSL_OK;
}

rsl_status
rsl_sock_sendto(int fd, const void *data, size_t len, const rsl_addr *to,
                rsl_err *err)
{
    const struct sockaddr *address = to == NULL ? NULL : rsl_addr_sockaddr(to);
    socklen_t length = to == NULL ? 0 : to->length;
    ssize_t sent;

    do {
        sent =
            sendto(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, address, length);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? dgram_failed(err, "sendto") : RSL_OK;
}
