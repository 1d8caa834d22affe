/* SPDX-License-Identifier: Apache-2.0 */
/* dns.h - look-ups of the runtime's resolver as futures of the loop.
 *
 * Role:    _getaddrinfo() and _getnameinfo(); python/rsloop_c/_dns.py is what
 *          users call.
 * Thread:  loop thread.
 * Memory:  a look-up on its way owns a reference to its future; closing the
 *          runtime gives it up. */
#ifndef PYRSL_DNS_H
#define PYRSL_DNS_H

#include "loop.h"

/* Loop methods: _getaddrinfo, _getnameinfo. */
extern PyMethodDef pyrsl_dns_loop_methods[];

/* Takes a finished rsl_lookup (RSL_EV_MESSAGE's payload). */
void pyrsl_dns_deliver(LoopObject *self, void *lookup);

/* The futures that look-ups own, for the loop's tp_traverse. */
int pyrsl_dns_traverse(LoopObject *self, visitproc visit, void *arg);

#endif
