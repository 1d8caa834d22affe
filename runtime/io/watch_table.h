/* SPDX-License-Identifier: Apache-2.0 */
/* watch_table.h - the user's fds in an epoll set.
 *
 * Role:    knows what each fd is watched for, and speaks epoll_ctl about it.
 *          A user may close and reuse an fd at any time: the kernel forgets it
 *          then, and the table must cope. What was watched once stays in the
 *          set, disarmed, for the next time. Watched once more, it is only
 *          noted: most answers to what a turn has sent are there before the
 *          loop waits, and one poll(2) of all that are noted then is less
 *          than an epoll_ctl for each. What that does not find is armed.
 * Thread:  loop thread.
 * Memory:  one byte for each fd up to the highest one watched, and a pollfd
 *          for each that is noted. */
#ifndef RSL_IO_WATCH_TABLE_H
#define RSL_IO_WATCH_TABLE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/event.h>
#include <rsl/watch.h>

/* In the tags of what is watched once: whoever takes such an event out of the
 * set must see to it that it is reported, for it does not come again. */
#define RSL_WATCH_TAG_ONCE (UINT64_C(1) << 40)

typedef struct rsl_watch_table {
    int epfd;       /* the set; the backend's */
    uint8_t *masks; /* RSL_WATCH_* and what the table knows more, by fd */
    size_t cap;
    unsigned count; /* fds that are watched for something */
    /* The fds that are noted, and some that no longer are. The next report is
     * about the first `noted_found`. */
    struct pollfd *noted;
    unsigned noted_count, noted_cap, noted_found;
} rsl_watch_table;

void rsl_watch_table_fini(rsl_watch_table *table);

/* rsl_watch_set(). Events are tagged RSL_EV_WATCH and fd. */
rsl_status rsl_watch_table_set(rsl_watch_table *table, int fd, unsigned mask,
                               rsl_err *err);

/* `fd` is a conn's or listener's from now on: what is known of it is void, and
 * nothing is said to the kernel, for its registration may be theirs. */
void rsl_watch_table_drop(rsl_watch_table *table, int fd);

/* Emit what epoll's `events` mean to the watch that `tag` names. One that is
 * watched once may be reported late. */
void rsl_watch_table_report(rsl_watch_table *table, uint64_t tag,
                            uint32_t events, rsl_sink *sink);

/* Whether a fd is noted, so that somebody has to look before the next turn. */
static inline bool
rsl_watch_table_notes(const rsl_watch_table *table)
{
    return table->noted_count > 0;
}

/* Look at what is noted: whether there is something to report. If not, and the
 * caller `sleeps`, all of it is armed; so is what a few looks did not find. */
bool rsl_watch_table_look(rsl_watch_table *table, bool sleeps);

/* Emit what the last look has found. */
void rsl_watch_table_report_noted(rsl_watch_table *table, rsl_sink *sink);

#endif
