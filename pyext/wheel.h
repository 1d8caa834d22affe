/* SPDX-License-Identifier: Apache-2.0 */
/* wheel.h - coarse deadlines of native things: no Handle, no Python.
 *
 * Role:    calls an entry back some time after it is due, a sixteenth of a
 *          second late at most while the loop turns. What moves a deadline on
 *          only stores when it happened; the entry finds out when it is called,
 *          and says when to come again.
 * Thread:  loop thread.
 * Memory:  intrusive: an entry belongs to its owner, who removes it before it
 *          goes. */
#ifndef PYRSL_WHEEL_H
#define PYRSL_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/runtime.h>

struct LoopObject;

#define PYRSL_WHEEL_TICK_NS (INT64_C(1000000000) / 16)
#define PYRSL_WHEEL_SLOTS   128

/* No deadline is farther away than this, so that sums do not overflow. */
#define PYRSL_WHEEL_MAX_NS (INT64_C(1) << 60)

static inline int64_t
pyrsl_wheel_ns(double seconds)
{
    return seconds < (double)PYRSL_WHEEL_MAX_NS * 1e-9
               ? (int64_t)(seconds * 1e9)
               : PYRSL_WHEEL_MAX_NS;
}

typedef struct pyrsl_wheel_entry {
    struct pyrsl_wheel_entry *next, **link; /* link is NULL outside of it */
    /* It is due: *again, 0 so far, is when to come next, or 0 for never. May
     * remove any entry, this one too. -1 with an exception that leaves the
     * loop. */
    int (*due)(struct LoopObject *loop, struct pyrsl_wheel_entry *entry,
               int64_t *again_ns);
} pyrsl_wheel_entry;

typedef struct pyrsl_wheel {
    pyrsl_wheel_entry **slots; /* NULL until the first entry */
    size_t count;
    int64_t tick;    /* all before it have been called */
    int64_t next_ns; /* nobody is due before; while count > 0 */
    int64_t now_ns;  /* of this turn; while count > 0 */
} pyrsl_wheel;

/* Call `entry` at `when_ns` (rsl_clock_now_ns()) or soon after; an earlier
 * appointment is dropped. -1 with MemoryError. */
int
pyrsl_wheel_add(pyrsl_wheel *wheel, pyrsl_wheel_entry *entry, int64_t when_ns);

/* Nothing when it is not in there. */
void pyrsl_wheel_remove(pyrsl_wheel *wheel, pyrsl_wheel_entry *entry);

/* How long the loop may sleep for it: -1 for ever. */
static inline int64_t
pyrsl_wheel_timeout_ns(const pyrsl_wheel *wheel)
{
    if (wheel->count == 0) {
        return -1;
    }
    int64_t delay_ns = wheel->next_ns - rsl_clock_now_ns();
    return delay_ns > 0 ? delay_ns : 0;
}

/* It is now; before a turn's callbacks. */
static inline void
pyrsl_wheel_note(pyrsl_wheel *wheel)
{
    if (wheel->count > 0) {
        wheel->now_ns = rsl_clock_now_ns();
    }
}

/* Call who is due. -1 with an exception that leaves the loop. */
int pyrsl_wheel_turn(struct LoopObject *loop);

/* No entry is left. */
void pyrsl_wheel_fini(pyrsl_wheel *wheel);

#endif
