/* SPDX-License-Identifier: Apache-2.0 */
/* dgram_ops.h - single datagram calls, the same for every backend.
 *
 * Role:    recvfrom() and sendto() that never block.
 * Thread:  any.
 * Memory:  none. */
#ifndef RSL_IO_DGRAM_OPS_H
#define RSL_IO_DGRAM_OPS_H

#include <stddef.h>

#include <rsl/dgram.h>

/* rsl_dgram_recv() and rsl_dgram_send(). One message a call: recvmmsg() and
 * multishot receives were tried (loopback, 1 KiB) and cost as much for each
 * message at 64 peers, and a quarter more at 3. */
rsl_status rsl_sock_recvfrom(int fd, rsl_datagram *message, rsl_err *err);
rsl_status rsl_sock_sendto(int fd, const void *data, size_t len,
                           const rsl_addr *to, rsl_err *err);

#endif
