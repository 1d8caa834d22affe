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
    free(table->noted);
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

enum {
    IN_SET = 8, /* has been added to the set: it may be there still, disarmed */
    NOTED = 16, /* watched, but not armed yet */
    LISTED = 32, /* in table->noted, NOTED or no longer */
    /* The two bits above count looks that have not found it. With so many it
     * is armed, for the answer may be long in coming. */
    LOOK = 64,
    LOOKS_MAX = 3
};

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
    table->masks[fd] = (uint8_t)(known | (table->masks[fd] & LISTED));
}

static void
table_forget(rsl_watch_table *table, int fd)
{
    unsigned known = table_known(table, (size_t)fd);

    if (bits_of(known) == 0) {
        return; /* disarmed, or a conn's: its registration stays */
    }
    if ((known & NOTED) != 0) {
        table_note(table, (size_t)fd, IN_SET);
        return;
    }
    /* EBADF, ENOENT: it was closed, and the kernel has forgotten it. */
    (void)epoll_ctl(table->epfd, EPOLL_CTL_DEL, fd, NULL);
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

/* Register `fd` for `mask`, armed: 0, or -1 with errno. */
static int
table_arm(rsl_watch_table *table, int fd, unsigned mask)
{
    struct epoll_event event = table_event(fd, mask);
    bool known = (table_known(table, (size_t)fd) & ~(unsigned)LISTED) != 0;
    int result = epoll_ctl(table->epfd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                           fd, &event);

    if (result < 0 && known && errno == ENOENT) { /* closed and reused */
        result = epoll_ctl(table->epfd, EPOLL_CTL_ADD, fd, &event);
    } else if (result < 0 && !known && errno == EEXIST) {
        result = epoll_ctl(table->epfd, EPOLL_CTL_MOD, fd, &event);
    }
    if (result == 0) {
        table_note(table, (size_t)fd, mask | IN_SET);
    }
    return result;
}

/* Whether arming `fd` for `mask` can wait for the next look. Only what has been
 * in the set can: adding to it may fail, which the caller wants to know. */
static bool
table_puts_off(rsl_watch_table *table, int fd, unsigned mask)
{
    unsigned known = table_known(table, (size_t)fd);

    if ((mask & RSL_WATCH_ONCE) == 0 || (known & IN_SET) == 0
        || (bits_of(known) != 0 && (known & NOTED) == 0)) {
        return false;
    }
    if ((known & LISTED) == 0) {
        if (table->noted_count == table->noted_cap) {
            unsigned cap = table->noted_cap == 0 ? 16 : table->noted_cap * 2;
            struct pollfd *noted =
                realloc(table->noted, cap * sizeof *table->noted);

            if (noted == NULL) {
                return false;
            }
            table->noted = noted;
            table->noted_cap = cap;
        }
        table->noted[table->noted_count++] = (struct pollfd){.fd = fd};
        table->masks[fd] |= LISTED;
    }
    table_note(table, (size_t)fd, mask | IN_SET | NOTED);
    return true;
}

rsl_status
rsl_watch_table_set(rsl_watch_table *table, int fd, unsigned mask, rsl_err *err)
{
    if (bits_of(mask) == 0) {
        table_forget(table, fd);
        return RSL_OK;
    }
    if (table_reserve(table, (size_t)fd) != RSL_OK) {
        return RSL_NOMEM;
    }
    if (table_puts_off(table, fd, mask)) {
        return RSL_OK;
    }
    if (table_arm(table, fd, mask) < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        return RSL_OS;
    }
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
table_rearm(rsl_watch_table *table, int fd, unsigned bits)
{
    unsigned rest = bits_of(table->masks[fd]) & ~bits;
    struct epoll_event event = table_event(fd, rest | RSL_WATCH_ONCE);

    /* Fails when the fd was closed, of which nothing will be heard. */
    if (rest != 0 && epoll_ctl(table->epfd, EPOLL_CTL_MOD, fd, &event) == 0) {
        table_note(table, (size_t)fd, rest | RSL_WATCH_ONCE | IN_SET);
    } else {
        table_note(table, (size_t)fd, IN_SET);
    }
}

/* What epoll's or poll's `events` say to one who waits for `bits`. */
static unsigned
bits_told(uint32_t events, unsigned bits)
{
    unsigned told = 0;

    if ((events & EPOLLIN) != 0) {
        told |= RSL_WATCH_READ;
    }
    if ((events & EPOLLOUT) != 0) {
        told |= RSL_WATCH_WRITE;
    }
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        told |= RSL_WATCH_READ | RSL_WATCH_WRITE;
    }
    return told & bits;
}

static void
table_emit(int fd, unsigned mask, rsl_sink *sink)
{
    if (mask != 0) {
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_WATCH, (uint64_t)fd),
                                     .u.arg = (intptr_t)mask});
    }
}

void
rsl_watch_table_report(rsl_watch_table *table, uint64_t tag, uint32_t events,
                       rsl_sink *sink)
{
    int fd = (int)(rsl_tag_id(tag) & ~RSL_WATCH_TAG_ONCE);
    unsigned known = table_known(table, (size_t)fd);
    unsigned mask = bits_told(events, bits_of(known));

    if ((tag & RSL_WATCH_TAG_ONCE) != 0
        && (bits_of(known) == 0 || (known & RSL_WATCH_ONCE) == 0)) {
        return; /* forgotten meanwhile, or watched anew, which looks again */
    }
    if (bits_of(known) == 0) {
        /* Closed under another number's cover: a dup keeps the file, and so
         * its registration, alive. Works while the fd is the same file. */
        (void)epoll_ctl(table->epfd, EPOLL_CTL_DEL, fd, NULL);
        return;
    }
    if ((known & RSL_WATCH_ONCE) != 0) {
        table_rearm(table, fd, mask);
    }
    table_emit(fd, mask, sink);
}

/* --- What is noted --- */

/* The fd leaves the list; it is armed now, or nobody waits for it. */
static void
noted_leave(rsl_watch_table *table, int fd)
{
    table->masks[fd] &= (uint8_t)~(unsigned)LISTED;
}

/* Drop what is no longer noted, and ask for what is. */
static void
noted_prepare(rsl_watch_table *table)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < table->noted_count; i++) {
        int fd = table->noted[i].fd;
        unsigned known = table->masks[fd];

        if ((known & NOTED) == 0) {
            noted_leave(table, fd);
            continue;
        }
        table->noted[kept++] = (struct pollfd){
            .fd = fd,
            .events = (short)(((known & RSL_WATCH_READ) != 0 ? POLLIN : 0)
                              | ((known & RSL_WATCH_WRITE) != 0 ? POLLOUT : 0)),
        };
    }
    table->noted_count = kept;
    table->noted_found = 0;
}

/* Arm what is noted at last. What cannot be is reported, and so tried again by
 * whoever waits, who then hears why; of a closed fd nothing is heard. */
static bool
noted_arm(rsl_watch_table *table, struct pollfd *noted)
{
    unsigned mask = bits_of(table->masks[noted->fd]) | RSL_WATCH_ONCE;

    if (table_arm(table, noted->fd, mask) == 0 || errno == EBADF
        || errno == EPERM) {
        table->masks[noted->fd] &= (uint8_t)~(unsigned)NOTED;
        noted_leave(table, noted->fd);
        return true;
    }
    table->masks[noted->fd] &= (uint8_t)~(unsigned)IN_SET;
    noted->revents = POLLERR;
    return false;
}

/* Whether it stays noted for another look. */
static bool
noted_stays(rsl_watch_table *table, const struct pollfd *noted)
{
    unsigned looks = table->masks[noted->fd] / LOOK;

    if (looks + 1 >= LOOKS_MAX) {
        return false;
    }
    table->masks[noted->fd] = (uint8_t)(table->masks[noted->fd] + LOOK);
    return true;
}

/* Keep it in the list; what has been found comes first. */
static void
noted_keep(rsl_watch_table *table, struct pollfd noted)
{
    struct pollfd *places = table->noted;
    unsigned place = table->noted_count++;

    if (noted.revents != 0) {
        places[place] = places[table->noted_found];
        place = table->noted_found++;
    }
    places[place] = noted;
}

bool
rsl_watch_table_look(rsl_watch_table *table, bool sleeps)
{
    unsigned count;
    int found = 0;

    noted_prepare(table);
    count = table->noted_count;
    if (count > 1 || (count == 1 && !sleeps)) {
        found = poll(table->noted, count, 0);
    }
    sleeps = sleeps && found <= 0;
    table->noted_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct pollfd noted = table->noted[i];
        bool stays = noted.revents != 0
                     || (!sleeps && found >= 0 && noted_stays(table, &noted));

        if (stays || !noted_arm(table, &noted)) {
            noted_keep(table, noted);
        }
    }
    return table->noted_found > 0;
}

void
rsl_watch_table_report_noted(rsl_watch_table *table, rsl_sink *sink)
{
    for (unsigned i = 0; i < table->noted_found; i++) {
        int fd = table->noted[i].fd;
        unsigned known = table->masks[fd];
        unsigned mask, rest;

        if ((known & NOTED) == 0) {
            continue; /* forgotten meanwhile */
        }
        mask = bits_told((uint32_t)table->noted[i].revents, bits_of(known));
        rest = bits_of(known) & ~mask;
        if (mask == 0) { /* POLLNVAL: closed, as if it had been armed before */
            table->masks[fd] &= (uint8_t)~(unsigned)NOTED;
        } else if (rest != 0) {
            table_note(table, (size_t)fd,
                       rest | (known & (RSL_WATCH_ONCE | IN_SET | NOTED)));
        } else {
            table_note(table, (size_t)fd, known & IN_SET);
        }
        table_emit(fd, mask, sink);
    }
    table->noted_found = 0;
}
