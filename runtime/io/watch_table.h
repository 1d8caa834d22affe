/* SPDX-License-Identifier: Apache-2.0 */
/* watch_table.h - the user's fds in an epoll set.
 *
 * Role:    knows what each fd is watched for, and speaks epoll_ctl about it.
 *          A user may close and reuse an fd at any time: the kernel forgets it
 *          then, and the table must cope. What was watched once stays in the
 *          set, disarmed, for the next time.
 * Thread:  loop thread.
 * Memory:  one byte for each fd up to the highest one watched. */
#ifndef RSL_IO_WATCH_TABLE_H
#define RSL_IO_WATCH_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <rsl/event.h>
#include <rsl/watch.h>

/* In the tags of what is watched once: whoever takes such an event out of the
 * set must see to it that it is reported, for it does not come again. */
#define RSL_WATCH_TAG_ONCE (UINT64_C(1) << 40)

typedef struct rsl_watch_table {
    uint8_t *masks; /* RSL_WATCH_* and whether it is in the set, by fd */
    size_t cap;
    unsigned count; /* fds that are watched for something */
} rsl_watch_table;

void rsl_watch_table_fini(rsl_watch_table *table);

/* rsl_watch_set() in the set `epfd`. Events are tagged RSL_EV_WATCH and fd. */
rsl_status rsl_watch_table_set(rsl_watch_table *table, int epfd, int fd,
                               unsigned mask, rsl_err *err);

/* `fd` is a conn's or listener's from now on: what is known of it is void, and
 * nothing is said to the kernel, for its registration may be theirs. */
void rsl_watch_table_drop(rsl_watch_table *table, int fd);

/* Emit what epoll's `events` mean to the watch that `tag` names. One that is
 * watched once may be reported late. */
void rsl_watch_table_report(rsl_watch_table *table, int epfd, uint64_t tag,
                            uint32_t events, rsl_sink *sink);

#endif
