/* SPDX-License-Identifier: Apache-2.0 */
#include "wheel.h"

#include <assert.h>

#include "loop.h"

static void
wheel_link(pyrsl_wheel_entry **list, pyrsl_wheel_entry *entry)
{
    entry->next = *list;
    entry->link = list;
    if (entry->next != NULL) {
        entry->next->link = &entry->next;
    }
    *list = entry;
}

static void
wheel_unlink(pyrsl_wheel_entry *entry)
{
    *entry->link = entry->next;
    if (entry->next != NULL) {
        entry->next->link = entry->link;
    }
    entry->next = NULL;
    entry->link = NULL;
}

/* Rounded up, so that nobody is called too early. */
static int64_t
wheel_tick_of(int64_t when_ns)
{
    return when_ns / PYRSL_WHEEL_TICK_NS + 1;
}

static int
wheel_make_slots(pyrsl_wheel *wheel)
{
    wheel->slots =
        PyMem_RawCalloc(PYRSL_WHEEL_SLOTS, sizeof(pyrsl_wheel_entry *));
    if (wheel->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int
pyrsl_wheel_add(pyrsl_wheel *wheel, pyrsl_wheel_entry *entry, int64_t when_ns)
{
    if (wheel->slots == NULL && wheel_make_slots(wheel) < 0) {
        return -1;
    }
    pyrsl_wheel_remove(wheel, entry);
    if (wheel->count == 0) {
        wheel->now_ns = rsl_clock_now_ns();
        wheel->tick = wheel->now_ns / PYRSL_WHEEL_TICK_NS;
        wheel->next_ns = INT64_MAX;
    }
    /* What is beyond the last slot waits in it, and is placed again then. */
    int64_t tick = wheel_tick_of(when_ns);
    int64_t last = wheel->tick + PYRSL_WHEEL_SLOTS - 1;
    tick = tick < wheel->tick ? wheel->tick : tick;
    tick = tick > last ? last : tick;
    wheel_link(&wheel->slots[tick % PYRSL_WHEEL_SLOTS], entry);
    wheel->count++;
    if (tick * PYRSL_WHEEL_TICK_NS < wheel->next_ns) {
        wheel->next_ns = tick * PYRSL_WHEEL_TICK_NS;
    }
    return 0;
}

void
pyrsl_wheel_remove(pyrsl_wheel *wheel, pyrsl_wheel_entry *entry)
{
    if (entry->link != NULL) {
        wheel_unlink(entry);
        wheel->count--;
    }
}

/* Everything up to now into `due`. */
static void
wheel_collect(pyrsl_wheel *wheel, pyrsl_wheel_entry **due)
{
    int64_t now = wheel->now_ns / PYRSL_WHEEL_TICK_NS;
    int64_t end = wheel->tick + PYRSL_WHEEL_SLOTS;
    for (; wheel->tick <= now; wheel->tick++) {
        if (wheel->tick >= end) { /* all slots have been seen */
            wheel->tick = now + 1;
            break;
        }
        pyrsl_wheel_entry **slot =
            &wheel->slots[wheel->tick % PYRSL_WHEEL_SLOTS];
        while (*slot != NULL) {
            pyrsl_wheel_entry *entry = *slot;
            wheel_unlink(entry);
            wheel_link(due, entry);
        }
    }
}

static void
wheel_find_next(pyrsl_wheel *wheel)
{
    wheel->next_ns = INT64_MAX;
    for (int64_t tick = wheel->tick; tick < wheel->tick + PYRSL_WHEEL_SLOTS;
         tick++) {
        if (wheel->slots[tick % PYRSL_WHEEL_SLOTS] != NULL) {
            wheel->next_ns = tick * PYRSL_WHEEL_TICK_NS;
            return;
        }
    }
}

int
pyrsl_wheel_turn(LoopObject *loop)
{
    pyrsl_wheel *wheel = &loop->wheel;
    if (wheel->now_ns < wheel->next_ns) {
        return 0;
    }
    pyrsl_wheel_entry *due = NULL;
    int status = 0;
    wheel_collect(wheel, &due);
    while (due != NULL) {
        pyrsl_wheel_entry *entry = due;
        int64_t again_ns = 0;
        pyrsl_wheel_remove(wheel, entry);
        /* After an exception the others come at the next turn. */
        if (status < 0) {
            again_ns = wheel->now_ns;
        } else {
            status = entry->due(loop, entry, &again_ns);
        }
        /* There are slots: this cannot fail. Who has gone asks for nothing. */
        if (again_ns != 0) {
            (void)pyrsl_wheel_add(wheel, entry, again_ns);
        }
    }
    wheel_find_next(wheel);
    return status;
}

void
pyrsl_wheel_fini(pyrsl_wheel *wheel)
{
    assert(wheel->count == 0);
    PyMem_RawFree(wheel->slots);
    wheel->slots = NULL;
}
