/* SPDX-License-Identifier: Apache-2.0 */
#include "io/backend.h"

#include <errno.h>

static const char *
backend_refusal(int code)
{
    switch (code) {
    case EPERM:
    case EACCES:
        return "io_uring is forbidden here (seccomp or sysctl)";
    case ENOSYS:
        return "this kernel has no io_uring";
    case ENOMEM:
        return "no memory for an io_uring (RLIMIT_MEMLOCK or cgroup)";
    case EMFILE:
    case ENFILE:
        return "no file descriptor left for an io_uring";
    default: /* an errno is no enum */
        return "this kernel's io_uring lacks something that we need";
    }
}

rsl_status
rsl_backend_open(rsl_runtime *rt, rsl_backend_kind wanted, rsl_backend **out,
                 const char **reason, int *reason_errno, rsl_err *err)
{
    rsl_status status;

    *reason_errno = 0;
    if (wanted == RSL_BACKEND_EPOLL) {
        *reason = "epoll was asked for";
        return rsl_epoll_open(rt, out, err);
    }
    status = rsl_uring_open(rt, out, err);
    if (status == RSL_OK) {
        *reason = wanted == RSL_BACKEND_IO_URING
                      ? "io_uring was asked for"
                      : "the kernel offers all that we need of io_uring";
        return RSL_OK;
    }
    if (status != RSL_UNSUPPORTED) {
        return status;
    }
    *reason = backend_refusal(err->code);
    *reason_errno = err->code;
    return rsl_epoll_open(rt, out, err);
}
