/* SPDX-License-Identifier: Apache-2.0 */
/* turn.c - one turn of the loop thread: drain, acquire, drain, wait, collect,
 * release, run (the caller's), flush.
 *
 * Nobody waits for the token. When the runtime thread has it, this thread
 * runs what came by mailbox and then sleeps on the mailbox alone. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <rsl/prof.h>

#include "core/post.h"
#include "core/runtime_impl.h"
#include "core/thread.h"
#include "core/tick.h"
#include "net/conn_impl.h"

/* A batch's array lives on the stack; io_uring submits it in one call. */
enum { FLUSH_BATCH = 128 };

/* A conn that was sent in part queues again. Those that still do after so
 * many rounds go on in the next turn, for the others' sake. */
enum { FLUSH_ROUNDS = 4 };

/* Bytes that the runtime thread read: they count as on their way until the
 * receiver says rsl_conn_received(). */
static void
turn_deliver_data(rsl_runtime *rt, rsl_event event, rsl_sink *sink)
{
    rsl_conn *conn = rsl_conn_find(rt, rsl_tag_id(event.tag));
    rsl_chunk *chunk = event.u.ptr;

    atomic_fetch_sub(&rt->stolen_bytes_queued, chunk->len);
    if (conn == NULL) {
        rsl_chunk_release(rt, chunk);
        return;
    }
    atomic_fetch_sub(&conn->stolen_bytes, chunk->len);
    conn->chain_bytes += (uint32_t)chunk->len;
    rsl_conn_count_read(conn, &rt->stats, chunk->len);
    rsl_stat_add(&rt->stats, RSL_STAT_READS_HANDED, 1);
    if (conn->chain_drain == rt->drains
        && conn->chain_bytes <= RSL_CHAIN_BYTES_MAX) {
        conn->chain_tail->next = chunk; /* its event is not looked at yet */
        conn->chain_tail = chunk;
        return;
    }
    conn->chain_drain = rt->drains;
    conn->chain_tail = chunk;
    conn->chain_bytes = (uint32_t)chunk->len;
    conn->queued_events++;
    rt->drained++;
    sink->emit(sink, event);
}

static void
turn_deliver(rsl_runtime *rt, rsl_msg *msg, rsl_sink *sink)
{
    rsl_event event = rsl_event_open(msg);

    if (rsl_tag_kind(event.tag) == RSL_EV_DATA) {
        turn_deliver_data(rt, event, sink);
        return;
    }
    if (rsl_event_is_of_conn(event)
        && rsl_conn_find(rt, rsl_tag_id(event.tag)) == NULL) {
        return; /* closed while the news was on its way */
    }
    rt->drained++;
    sink->emit(sink, event);
}

static void
turn_drain(rsl_runtime *rt, rsl_sink *sink)
{
    int64_t start_ns = rsl_prof_begin();
    rsl_msg *msg = rsl_mailbox_take(&rt->mailbox);

    rt->drains++;
    while (msg != NULL) {
        rsl_msg *next = msg->next;
        turn_deliver(rt, msg, sink);
        msg = next;
    }
    if (rt->drained > 0) {
        rsl_stat_add(&rt->stats, RSL_STAT_HANDOVERS, rt->drained);
    }
    rsl_prof_end(RSL_PROF_DRAIN, start_ns, rt->drained);
}

void
rsl_runtime_drain(rsl_runtime *rt, rsl_sink *sink)
{
    if (atomic_load(&rt->woken)) {
        atomic_store(&rt->woken, false); /* this is the look around */
    }
    rt->drained = 0;
    if (!rsl_mailbox_is_empty(&rt->mailbox)) {
        turn_drain(rt, sink);
    }
}

/* While the runtime thread steals and this one has something to run, polling
 * would only compete; but what the runtime thread ignores must not starve. */
static bool
turn_leaves_poll(const rsl_runtime *rt)
{
    int64_t busy_since_ns;

    if (rt->drained == 0 || !atomic_load(&rt->sticky)) {
        return false;
    }
    busy_since_ns = atomic_load(&rt->busy_since_ns);
    return busy_since_ns != 0
           && rsl_clock_now_ns() - busy_since_ns < RSL_STICKY_POLL_NS;
}

static inline bool
turn_is_quiet(const rsl_runtime *rt)
{
    const rsl_backend *backend = rt->backend;

    /* A loop thread that was busy says in release that it no longer is. */
    return atomic_load(&rt->busy_since_ns) == 0
           && (backend->watches == NULL
               || !rsl_watch_table_notes(backend->watches))
           && rsl_list_is_empty(&rt->dirty) && rsl_list_is_empty(&rt->closing)
           && backend->ops->is_quiet != NULL && backend->ops->is_quiet(backend);
}

bool
rsl_runtime_is_quiet(const rsl_runtime *rt)
{
    return rt->drained == 0 && turn_is_quiet(rt);
}

/* One turn after the other without a sleep. */
static inline void
turn_goes_on(rsl_runtime *rt)
{
    if (++rt->lag.turns >= rt->lag.window) {
        rsl_lag_look(rt);
    }
}

void
rsl_runtime_go_on(rsl_runtime *rt)
{
    turn_goes_on(rt);
}

bool
rsl_runtime_go_on_quietly(rsl_runtime *rt)
{
    if (!rsl_mailbox_is_empty(&rt->mailbox) || atomic_load(&rt->woken)
        || !turn_is_quiet(rt)) {
        return false;
    }
    turn_goes_on(rt);
    return true;
}

/* Sends that the last flush only prepared would go out with this turn's wait.
 * A turn without the token has none, and rsl_runtime_sleep() may not call
 * hooks, so they go now. */
static void
turn_settle(rsl_runtime *rt, rsl_sink *sink)
{
    if (rt->backend->ops->settle != NULL) {
        rt->flush_sink = sink;
        rt->backend->ops->settle(rt->backend);
        rt->flush_sink = &rt->post_sink;
    }
}

rsl_status
rsl_runtime_acquire(rsl_runtime *rt, rsl_sink *sink)
{
    assert(rt->in_run && !rt->has_token);
    if (turn_leaves_poll(rt)
        || !rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP)) {
        turn_settle(rt, sink);
        return RSL_BUSY;
    }
    rt->has_token = true;
    rsl_runtime_drain(rt, sink);
    rsl_conn_close_pending(rt);
    return RSL_OK;
}

/* Pairs with rsl_runtime_wake(): `asleep` is set, then `woken` read; there it
 * is the other way round. */
static bool
turn_park(rsl_runtime *rt)
{
    if (!rsl_mailbox_park(&rt->mailbox)) {
        return false;
    }
    if (!atomic_load(&rt->woken)) {
        return true;
    }
    rsl_mailbox_unpark(&rt->mailbox);
    return false;
}

int64_t
rsl_runtime_look(rsl_runtime *rt, int64_t timeout_ns)
{
    rsl_watch_table *watches = rt->backend->watches;

    assert(rt->has_token);
    if (watches == NULL || !rsl_watch_table_notes(watches)) {
        return timeout_ns;
    }
    if (!rsl_list_is_empty(&rt->dirty)) {
        timeout_ns = 0; /* output is still to be sent */
    }
    return rsl_watch_table_look(watches, timeout_ns != 0) ? 0 : timeout_ns;
}

rsl_status
rsl_runtime_wait(rsl_runtime *rt, int64_t timeout_ns, rsl_err *err)
{
    int64_t now_ns = 0;
    rsl_status status;
    bool parked;

    assert(rt->has_token);
    if (!rsl_list_is_empty(&rt->dirty)) {
        timeout_ns = 0; /* output is still to be sent */
    }
    if (timeout_ns == 0) {
        turn_goes_on(rt);
    } else {
        atomic_store(&rt->busy_since_ns, 0);
        now_ns = rsl_clock_now_ns();
        rsl_lag_rest(rt, now_ns);
    }
    parked = timeout_ns != 0 && !rsl_spin_finds(rt, timeout_ns, &now_ns)
             && turn_park(rt);
    status = rt->backend->ops->wait(rt->backend, parked ? timeout_ns : 0, err);
    if (parked) {
        int64_t slept_ns = rsl_clock_now_ns() - now_ns;

        rsl_looks_slept(&rt->spin.looks, slept_ns);
        rsl_mailbox_unpark(&rt->mailbox);
        rsl_stat_add(&rt->stats, RSL_STAT_SLEEPS, 1);
        now_ns += slept_ns;
    }
    if (timeout_ns != 0) {
        rsl_lag_wake(rt, now_ns);
    }
    rsl_stat_add(&rt->stats, RSL_STAT_POLLS, 1);
    return status;
}

void
rsl_runtime_collect(rsl_runtime *rt, rsl_sink *sink)
{
    assert(rt->has_token);
    rt->flush_sink = sink;
    rt->backend->ops->collect(rt->backend, sink);
    if (rt->backend->watches != NULL) {
        rsl_watch_table_report_noted(rt->backend->watches, sink);
    }
    rt->flush_sink = &rt->post_sink;
}

/* `busy_since_ns` is stored before the first callback runs, and before the
 * token is free: whoever takes it next knows how long we have been away. With
 * one event or none this thread is back soon, and wants no help. */
void
rsl_runtime_release(rsl_runtime *rt, unsigned pending)
{
    assert(rt->has_token);
    if (rt->thread != NULL
        && (pending > 1 || atomic_load(&rt->busy_since_ns) != 0)) {
        atomic_store(&rt->busy_since_ns, pending > 1 ? rsl_clock_now_ns() : 0);
    }
    rt->has_token = false;
    rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
}

/* Pairs with rsl_token_release() by the runtime thread, which then reads
 * `asleep`: here `asleep` is set before `holder` is read. Either we see the
 * token free, and go and poll, or it sees us asleep, and wakes us. */
rsl_status
rsl_runtime_sleep(rsl_runtime *rt, int64_t timeout_ns, rsl_err *err)
{
    struct pollfd wake = {.fd = rt->mailbox.wake_fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    rsl_status status = RSL_OK;
    uint64_t count;

    assert(!rt->has_token);
    if (timeout_ns == 0 || !rsl_list_is_empty(&rt->dirty)) {
        turn_goes_on(rt);
        return RSL_OK;
    }
    rsl_lag_rest(rt, rsl_clock_now_ns());
    /* Counts of earlier wakes. After the announcement this would swallow the
     * wake that is meant for this sleep. EAGAIN: there were none. */
    (void)!read(wake.fd, &count, sizeof count);
    if (!turn_park(rt)) {
        rsl_lag_wake(rt, rsl_clock_now_ns());
        return RSL_OK;
    }
    atomic_store(&rt->busy_since_ns, 0);
    if (rsl_token_holder_now(&rt->token) == RSL_TOKEN_RUNTIME
        && ppoll(&wake, 1, timeout_ns < 0 ? NULL : &timeout, NULL) < 0
        && errno != EINTR) {
        *err = (rsl_err){.code = errno, .call = "ppoll"};
        status = RSL_OS;
    }
    rsl_mailbox_unpark(&rt->mailbox);
    rsl_stat_add(&rt->stats, RSL_STAT_SLEEPS, 1);
    rsl_lag_wake(rt, rsl_clock_now_ns());
    return status;
}

void
rsl_runtime_note_busy(rsl_runtime *rt, unsigned pending)
{
    int64_t now_ns, busy_since_ns;

    if (pending <= 1 || rt->thread == NULL
        || rt->takeover != RSL_TAKEOVER_AUTO) {
        return;
    }
    now_ns = rsl_clock_now_ns();
    busy_since_ns = atomic_load(&rt->busy_since_ns);
    if (busy_since_ns == 0) { /* the work came by mailbox, or grew */
        atomic_store(&rt->busy_since_ns, now_ns);
        return;
    }
    if (now_ns - busy_since_ns < RSL_BUSY_KICK_NS
        || now_ns - rt->last_kick_ns < RSL_KICK_INTERVAL_NS
        || now_ns < rsl_thread_kick_after_ns(rt->thread)) {
        return;
    }
    rt->last_kick_ns = now_ns;
    if (!rsl_thread_has_cpu()) {
        return;
    }
    rt->kicks++;
    rsl_prof_end(RSL_PROF_KICK, rsl_prof_begin(), 0);
    rsl_thread_kick(rt->thread);
}

static unsigned
flush_fill(rsl_list *dirty, rsl_conn **conns)
{
    unsigned count = 0;

    while (count < FLUSH_BATCH && !rsl_list_is_empty(dirty)) {
        rsl_list *link = dirty->next;

        rsl_list_remove(link);
        conns[count++] = RSL_LIST_ENTRY(link, rsl_conn, queue_link);
    }
    return count;
}

void
rsl_runtime_flush(rsl_runtime *rt, rsl_sink *sink)
{
    rsl_conn *conns[FLUSH_BATCH];
    int64_t start_ns;
    uint64_t sent = 0;

    if (rsl_list_is_empty(&rt->dirty)) {
        return;
    }
    start_ns = rsl_prof_begin();
    rt->flush_sink = sink;
    for (int round = 0; round < FLUSH_ROUNDS && !rsl_list_is_empty(&rt->dirty);
         round++) {
        rsl_list batch_of_round;
        unsigned count;

        rsl_list_init(&batch_of_round);
        rsl_list_splice(&batch_of_round, &rt->dirty);
        while ((count = flush_fill(&batch_of_round, conns)) > 0) {
            sent += count;
            rsl_spin_speak(&rt->spin);
            rt->backend->ops->send_batch(rt->backend, conns, count,
                                         rt->has_token);
        }
    }
    rt->flush_sink = &rt->post_sink;
    rsl_prof_end(RSL_PROF_SEND, start_ns, sent);
}

bool
rsl_runtime_has_output(const rsl_runtime *rt)
{
    return !rsl_list_is_empty(&rt->dirty);
}

static bool
flush_may_wait(const rsl_runtime *rt)
{
    const rsl_list *link = rt->dirty.next;

    while (link != &rt->dirty
           && RSL_LIST_ENTRY(link, rsl_conn, queue_link)->lingers) {
        link = link->next;
    }
    return link == &rt->dirty;
}

void
rsl_runtime_flush_turn(rsl_runtime *rt, rsl_sink *sink, bool more)
{
    if (!more || !flush_may_wait(rt)) {
        rsl_runtime_flush(rt, sink);
    }
}

/* The list is in the order in which the queues became non-empty, so its head
 * has waited longest. */
void
rsl_runtime_flush_stale(rsl_runtime *rt, rsl_sink *sink)
{
    const rsl_conn *oldest;

    if (rsl_list_is_empty(&rt->dirty)) {
        return;
    }
    oldest = RSL_LIST_ENTRY(rt->dirty.next, rsl_conn, queue_link);
    if (rsl_clock_now_ns() - oldest->oldest_write_ns < RSL_WRITE_AGE_NS) {
        return;
    }
    rsl_runtime_flush(rt, sink);
    turn_settle(rt, sink);
}
