/* SPDX-License-Identifier: Apache-2.0 */
/* tick.h - when the runtime thread helps, how much, and when it stops.
 *
 * Role:    the limits of takeover in one place, and one tick of it.
 * Thread:  per function.
 * Memory:  none. */
#ifndef RSL_CORE_TICK_H
#define RSL_CORE_TICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/conn.h>

/* The loop thread is saturated when a turn lasts this long with I/O events
 * still waiting. A plain receive costs it about 5 us and a wake of another
 * thread about 7, so shorter turns are better off without help. */
#define RSL_BUSY_KICK_NS 1000000

/* It is asked at most this often: a kick is a system call. */
#define RSL_KICK_INTERVAL_NS 1000000

/* Once started, the runtime thread looks at this pace and steals from a turn
 * that is at least RSL_BUSY_STEAL_NS old; younger ones are likely to reach
 * their own poll soon. */
#define RSL_TICK_NS       1000000
#define RSL_BUSY_STEAL_NS 50000

/* RSL_TAKEOVER_ALWAYS, for tests: quick enough to meet every window. */
#define RSL_TICK_ALWAYS_NS 50000

/* It parks after this many ticks in a row that were not worth it. */
#define RSL_IDLE_TICKS_MAX 20

/* A tick is worth it when it saved the loop thread copying this much: 64 KiB
 * are 3 % of a tick's time. Small messages cost more to carry over than to
 * read, so stealing only those counts as idle. */
#define RSL_TICK_WORTH_BYTES (64u << 10)

/* After a takeover that had no tick worth it, the next one waits this long. */
#define RSL_KICK_BACKOFF_NS 100000000

/* While R steals, a loop thread that has events to run leaves the poll to it,
 * but not longer than this: accepts, watches and writability wait as well. */
#define RSL_STICKY_POLL_NS 5000000

/* Output waits for the end of the turn, but not longer than this: 64 callbacks
 * of 20 us each would add a millisecond to the first one's answer. */
#define RSL_WRITE_AGE_NS 100000

/* At most this much at one holding of the token. */
#define RSL_STEAL_BUDGET (256u << 10)

/* What is drained together of one conn is delivered in one chain, up to this
 * much, which is what the loop thread reads at once: a protocol's cost for a
 * call is more than that of joining chunks. */
#define RSL_CHAIN_BYTES_MAX (256u << 10)

/* Bytes stolen and not yet drained: past rt->pending_max of a conn, and so many
 * times that of the loop, the kernel's socket buffer holds the rest and the
 * peer feels it. */
#define RSL_LOOP_PENDING_FACTOR 16

/* [T] Whether steal() may go on, and with this conn. */
bool rsl_steal_allowed(const rsl_conn *conn);

/* Runtime thread: try the token once and steal. `always` ignores how busy the
 * loop thread is. Returns the bytes taken. */
size_t rsl_tick(rsl_runtime *rt, bool always);

#endif
