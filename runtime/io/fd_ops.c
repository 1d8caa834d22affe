/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/fd.h>

#include <errno.h>
#include <string.h>

static rsl_status
fd_failed(const char *call, rsl_err *err)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return RSL_AGAIN;
    }
    *err = (rsl_err){.code = errno, .call = call};
    return RSL_OS;
}

rsl_status
rsl_fd_recv(int fd, void *buf, size_t cap, size_t *out, rsl_err *err)
{
    ssize_t got;

    do {
        got = recv(fd, buf, cap, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return fd_failed("recv", err);
    }
    *out = (size_t)got;
    return RSL_OK;
}

rsl_status
rsl_fd_recvfrom(int fd, void *buf, size_t cap, rsl_fd_datagram *out,
                rsl_err *err)
{
    rsl_addr *from = &out->from;
    ssize_t got;

    do {
        memset(from, 0, sizeof(*from));
        from->length = sizeof(from->storage);
        got = recvfrom(fd, buf, cap, MSG_DONTWAIT,
                       (struct sockaddr *)&from->storage, &from->length);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return fd_failed("recvfrom", err);
    }
    out->size = (size_t)got;
    return RSL_OK;
}

rsl_status
rsl_fd_send(int fd, const void *data, size_t len, size_t *out, rsl_err *err)
{
    ssize_t sent;

    do {
        sent = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return fd_failed("send", err);
    }
    *out = (size_t)sent;
    return RSL_OK;
}

rsl_status
rsl_fd_accept(int fd, int *out, rsl_addr *peer, rsl_err *err)
{
    int got;

    do {
        memset(peer, 0, sizeof(*peer));
        peer->length = sizeof(peer->storage);
        got = accept4(fd, (struct sockaddr *)&peer->storage, &peer->length,
                      SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return fd_failed("accept4", err);
    }
    *out = got;
    return RSL_OK;
}
