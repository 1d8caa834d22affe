/* SPDX-License-Identifier: Apache-2.0 */
/* background.h - threads that give way to those of loops.
 *
 * Role:    how the kernel is told.
 * Thread:  the calling one.
 * Memory:  none. */
#ifndef RSL_CORE_BACKGROUND_H
#define RSL_CORE_BACKGROUND_H

/* From now on a loop's thread that wakes on this one's core has it at once, and
 * one that is never idle leaves it a quarter. A realtime thread, and one whose
 * kernel refuses, stays as it is. */
void rsl_background_enter(void);

#endif
