/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - the entry point that libFuzzer and driver.c call.
 *
 * Role:    one run over bytes that somebody may have sent; a failed assert or
 *          a report of the sanitizers is a finding.
 * Thread:  one.
 * Memory:  `data` is the caller's, and ends where it ends. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
