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

/* The fd has been added to the set: it may be there still, disarmed. */
enum { IN_SET = 8 };

static unsigned
table_known(const rsl_watch_table *table, size_t fd)
{
    return fd < table->cap ? table->masks[fd] : 0;
}

static unsigned
bits_of(unsigned known)
{
    return known & (RSL_WATCH_READ | RSL_WATCH_WRITE);
}

static void
table_note(rsl_watch_table *table, size_t fd, unsigned known)
{
    table->count += bits_of(known) != 0;
    table->count -= bits_of(table->masks[fd]) != 0;
    table->masks[fd] = (uint8_t)known;
}

static void
table_forget(rsl_watch_table *table, int epfd, int fd)
{
    if (bits_of(table_known(table, (size_t)fd)) == 0) {
        return; /* disarmed, or a conn's: its registration stays */
    }
    /* EBADF, ENOENT: it was closed, and the kernel has forgotten it. */
    (void)epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
    table_note(table, (size_t)fd, 0);
}

static struct epoll_event
table_event(int fd, unsigned mask)
{
    struct epoll_event event = {.data.u64 =
                                    rsl_tag(RSL_EV_WATCH, (uint64_t)fd)};

    if ((mask & RSL_WATCH_READ) != 0) {
        event.events |= EPOLLIN;
    }
    if ((mask & RSL_WATCH_WRITE) != 0) {
        event.events |= EPOLLOUT;
    }
    if ((mask & RSL_WATCH_ONCE) != 0) {
        event.events |= EPOLLONESHOT;
        event.data.u64 |= RSL_WATCH_TAG_ONCE;
    }
    return event;
}

rsl_status
rsl_watch_table_set(rsl_watch_table *table, int epfd, int fd, unsigned mask,
                    rsl_err *err)
{
    struct epoll_event event = table_event(fd, mask);
    bool known = table_known(table, (size_t)fd) != 0;
    int result;

    if (bits_of(mask) == 0) {
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
    table_note(table, (size_t)fd, mask | IN_SET);
    return RSL_OK;
}

void
rsl_watch_table_drop(rsl_watch_table *table, int fd)
{
    if (table_known(table, (size_t)fd) != 0) {
        table_note(table, (size_t)fd, 0);
    }
}

/* `bits` of a fd that is watched once have come: the kernel has disarmed it
 * altogether, and the others are still wanted. */
static void
table_rearm(rsl_watch_table *table, int epfd, int fd, unsigned bits)
{
    unsigned rest = bits_of(table->masks[fd]) & ~bits;
    struct epoll_event event = table_event(fd, rest | RSL_WATCH_ONCE);

    /* Fails when the fd was closed, of which nothing will be heard. */
    if (rest != 0 && epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event) == 0) {
        table_note(table, (size_t)fd, rest | RSL_WATCH_ONCE | IN_SET);
    } else {
        table_note(table, (size_t)fd, IN_SET);
    }
}

void
rsl_watch_table_report(rsl_watch_table *table, int epfd, uint64_t tag,
                       uint32_t events, rsl_sink *sink)
{
    int fd = (int)(rsl_tag_id(tag) & ~RSL_WATCH_TAG_ONCE);
    unsigned known = table_known(table, (size_t)fd);
    unsigned mask = 0;

    if ((tag & RSL_WATCH_TAG_ONCE) != 0
        && (bits_of(known) == 0 || (known & RSL_WATCH_ONCE) == 0)) {
        return; /* forgotten meanwhile, or watched anew, which looks again */
    }
    if (bits_of(known) == 0) {
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
    mask &= bits_of(known);
    if ((known & RSL_WATCH_ONCE) != 0) {
        table_rearm(table, epfd, fd, mask);
    }
    if (mask != 0) {
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_WATCH, (uint64_t)fd),
                                     .u.arg = (intptr_t)mask});
    }
}
