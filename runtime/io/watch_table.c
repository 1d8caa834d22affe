/* SPDX-License-Identifier: Apache-2.0 */
#include "io/watch_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

void
rsl_watch_table_fini(rsl_watch_table *table)
{
    free(table->masks);
    *table = (rsl_watch_table){0};
}

static rsl_status
table_reserve(rsl_watch_table *table, size_t fd)
{
    size_t cap = table->cap == 0 ? 64 : table->cap;
    uint8_t *masks;

    if (fd < table->cap) {
        return RSL_OK;
    }
    while (cap <= fd) {
        cap *= 2;
    }
    masks = realloc(table->masks, cap);
    if (masks == NULL) {
        return RSL_NOMEM;
    }
    memset(masks + table->cap, 0, cap - table->cap);
    table->masks = masks;
    table->cap = cap;
    return RSL_OK;
}

static unsigned
table_mask(const rsl_watch_table *table, size_t fd)
{
    return fd < table->cap ? table->masks[fd] : 0;
}

static void
table_note(rsl_watch_table *table, size_t fd, unsigned mask)
{
    table->count += mask != 0;
    table->count -= table->masks[fd] != 0;
    table->masks[fd] = (uint8_t)mask;
}

static void
table_forget(rsl_watch_table *table, int epfd, int fd)
{
    if (table_mask(table, (size_t)fd) == 0) {
        return; /* the fd may be a conn's: its registration stays */
    }
    /* EBADF, ENOENT: it was closed, and the kernel has forgotten it. */
    (void)epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
    table_note(table, (size_t)fd, 0);
}

rsl_status
rsl_watch_table_set(rsl_watch_table *table, int epfd, int fd, unsigned mask,
                    rsl_err *err)
{
    struct epoll_event event = {
        .events = ((mask & RSL_WATCH_READ) != 0 ? (uint32_t)EPOLLIN : 0u)
                  | ((mask & RSL_WATCH_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u),
        .data.u64 = rsl_tag(RSL_EV_WATCH, (uint64_t)fd),
    };
    bool known = table_mask(table, (size_t)fd) != 0;
    int result;

    if (mask == 0) {
        table_forget(table, epfd, fd);
        return RSL_OK;
    }
    if (table_reserve(table, (size_t)fd) != RSL_OK) {
        return RSL_NOMEM;
    }
    result = epoll_ctl(epfd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (result < 0 && known && errno == ENOENT) { /* closed and reused */
        result = epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
    } else if (result < 0 && !known && errno == EEXIST) {
        result = epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event);
    }
    if (result < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        return RSL_OS;
    }
    table_note(table, (size_t)fd, mask);
    return RSL_OK;
}

void
rsl_watch_table_report(rsl_watch_table *table, int epfd, uint64_t tag,
                       uint32_t events, rsl_sink *sink)
{
    int fd = (int)rsl_tag_id(tag);
    unsigned asked = table_mask(table, (size_t)fd);
    unsigned mask = 0;

    if (asked == 0) {
        /* Closed under another number's cover: a dup keeps the file, and so
         * its registration, alive. Works while the fd is the same file. */
        (void)epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
        return;
    }
    if ((events & EPOLLIN) != 0) {
        mask |= RSL_WATCH_READ;
    }
    if ((events & EPOLLOUT) != 0) {
        mask |= RSL_WATCH_WRITE;
    }
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        mask |= RSL_WATCH_READ | RSL_WATCH_WRITE;
    }
    mask &= asked;
    if (mask != 0) {
        sink->emit(sink, (rsl_event){.tag = tag, .u.arg = (intptr_t)mask});
    }
}
