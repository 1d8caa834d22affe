/* SPDX-License-Identifier: Apache-2.0 */
/* address_cache.h - internet addresses that were converted before.
 *
 * Role:    datagrams come from the same few peers, and answers go to the very
 *          tuple that datagram_received() was given. Both ways are remembered,
 *          each in a table that a hash indexes directly.
 * Thread:  loop thread.
 * Memory:  one cache a loop. It owns the objects that it knows; they are
 *          tuples of a str and ints and refer to nothing else. */
#ifndef PYRSL_ADDRESS_CACHE_H
#define PYRSL_ADDRESS_CACHE_H

#include "addr.h"

typedef struct pyrsl_address_cache pyrsl_address_cache;

pyrsl_address_cache *pyrsl_address_cache_new(void);        /* NULL: no memory */
void pyrsl_address_cache_free(pyrsl_address_cache *cache); /* NULL is fine */

/* pyrsl_sockaddr_to_python(). */
PyObject *
pyrsl_address_cache_show(pyrsl_address_cache *cache, const rsl_addr *addr);

/* pyrsl_sockaddr_from_python(). */
bool pyrsl_address_cache_read(pyrsl_address_cache *cache, int family,
                              PyObject *object, rsl_addr *out);

#endif
