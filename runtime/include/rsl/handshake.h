/* SPDX-License-Identifier: Apache-2.0 */
/* handshake.h - steps of TLS handshakes on native threads.
 *
 * Role:    a handshake is signatures and key agreement, up to some milliseconds
 *          of them: a small pool of the process makes them beside the loop
 *          thread. One step is one rsl_tls_handshake().
 * Thread:  loop thread; the step itself runs on a pool thread. An engine whose
 *          callbacks need Python is not for here.
 * Memory:  from post to done(), or abandon(), the engine belongs to the pool:
 *          nobody else may call it, or free it. Whoever loses interest before
 *          waits for either, and then frees it. */
#ifndef RSL_HANDSHAKE_H
#define RSL_HANDSHAKE_H

#include <rsl/runtime.h>
#include <rsl/tls.h>

/* Who the step is made for. Exactly one of these is called for each step, on
 * the loop thread, and gives the engine back. */
typedef struct rsl_handshake_owner {
    void *object;
    /* The step came to `status`, as rsl_tls_handshake() says it; what it
     * returns is rsl_handshake_deliver()'s. */
    int (*done)(void *object, rsl_tls_status status);
    /* The runtime closes. What the engine has come to is for its state to say.
     * In a forked child (rsl_runtime_is_forked()) a thread that does not exist
     * may have been at work on it: leave it alone, and let it leak. */
    void (*abandon)(void *object);
} rsl_handshake_owner;

/* Go on with the handshake of `tls` for `owner`. To be called when there is
 * input, of which rsl_tls_keep() has ended the loan, or for a client's first
 * step: a peer that says nothing occupies no thread. On RSL_OK one
 * RSL_EV_MESSAGE with RSL_MSG_HANDSHAKE follows, unless the runtime closes
 * first; on any other status engine and owner stay the caller's, who can take
 * the step itself. RSL_OS when no thread could be made, RSL_NOMEM, RSL_FORKED,
 * or RSL_CLOSED. */
rsl_status rsl_handshake_post(rsl_runtime *rt, rsl_tls *tls,
                              rsl_handshake_owner owner, rsl_err *err);

/* Answer the event, whose payload `msg` it takes: tell the owner. What done()
 * returned, or 0 when the step had been abandoned. */
int rsl_handshake_deliver(rsl_msg *msg);

#endif
