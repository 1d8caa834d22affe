/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include <rsl/watch.h>

#include "core/runtime_impl.h"

rsl_status
rsl_watch_set(rsl_runtime *rt, int fd, unsigned mask, rsl_err *err)
{
    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rt->closed) {
        return RSL_CLOSED;
    }
    if (fd < 0) {
        *err = (rsl_err){.code = EBADF, .call = "epoll_ctl"};
        return RSL_OS;
    }
    return rt->backend->ops->watch_set(rt->backend, fd, mask, err);
}
