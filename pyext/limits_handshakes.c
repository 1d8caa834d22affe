/* SPDX-License-Identifier: Apache-2.0 */
/* limits_handshakes.c - how many server handshakes a loop has at once. */
#include "acceptor.h"
#include "limits.h"

size_t
pyrsl_limits_handshake_room(const LimitsObject *self, size_t most)
{
    double room =
        self->values.max_pending_tls_handshakes - (double)self->handshakes;
    room = self->handshakes_full || !(room > 0) ? 0 : room;
    return room < (double)most ? (size_t)room : most;
}

void
pyrsl_handshake_began(LoopObject *loop)
{
    LimitsObject *self = pyrsl_limits_of_loop(loop);
    self->handshakes++;
    if ((double)self->handshakes >= self->values.max_pending_tls_handshakes) {
        self->handshakes_full = true;
    }
}

/* An eighth has to end before accepting goes on: each change is a system
 * call. */
int
pyrsl_handshake_ended(LoopObject *loop)
{
    LimitsObject *self = pyrsl_limits_of_loop(loop);
    double max = self->values.max_pending_tls_handshakes;
    self->handshakes--;
    if (!self->handshakes_full
        || (double)self->handshakes > max - (max < 8 ? 1 : max / 8)) {
        return 0;
    }
    self->handshakes_full = false;
    return atomic_load(&loop->closed) ? 0 : pyrsl_acceptors_update(loop);
}
