/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_client.c - one connection: a request, an answer, the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sight/http.h"
#include "sight/metrics_impl.h"
#include "sight/openmetrics.h"

/* Loops that a page shows. */
enum { METRICS_LOOPS_MAX = 64 };

static const char no_memory[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
    "Connection: close\r\n\r\n";

void
metrics_client_open(rsl_metrics *metrics, int fd, int64_t now_ns)
{
    metrics_client *client = calloc(1, sizeof *client);

    if (client == NULL) {
        close(fd);
        return;
    }
    client->metrics = metrics;
    client->fd = fd;
    client->deadline_ns = now_ns + RSL_METRICS_CLIENT_NS;
    rsl_list_push(&metrics->clients, &client->link);
    metrics->client_count++;
    if (metrics_set(metrics, EPOLL_CTL_ADD, fd, EPOLLIN, client) != 0) {
        metrics_client_close(client);
    }
}

void
metrics_client_close(metrics_client *client)
{
    rsl_list_remove(&client->link);
    client->metrics->client_count--;
    /* Closing would not take it out of the set while a forked child has the
     * connection too. */
    (void)metrics_set(client->metrics, EPOLL_CTL_DEL, client->fd, 0, client);
    close(client->fd);
    if (client->answer != no_memory) {
        free(client->answer);
    }
    free(client);
}

static void
client_want(metrics_client *client, metrics_state state)
{
    uint32_t events = state == METRICS_WRITING ? EPOLLOUT : EPOLLIN;

    client->state = state;
    /* It is in the set, so this changes a word: the deadline helps, if not. */
    (void)metrics_set(client->metrics, EPOLL_CTL_MOD, client->fd, events,
                      client);
}

static void
client_write_page(rsl_text *body)
{
    rsl_registry_entry *loops = calloc(METRICS_LOOPS_MAX, sizeof *loops);
    size_t count;

    if (loops == NULL) {
        body->failed = true;
        return;
    }
    count = rsl_registry_take(loops, METRICS_LOOPS_MAX);
    rsl_openmetrics_write(
        body, loops, count < METRICS_LOOPS_MAX ? count : METRICS_LOOPS_MAX);
    free(loops);
}

static void
client_answer(metrics_client *client, rsl_http_verdict verdict)
{
    rsl_text body = {0}, all = {0};

    if (verdict == RSL_HTTP_OK) {
        client_write_page(&body);
    } else {
        rsl_text_add(&body, "%s\n", rsl_http_status(verdict));
    }
    rsl_text_add(&all,
                 "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                 "%sConnection: close\r\n\r\n%.*s",
                 rsl_http_status(verdict),
                 verdict == RSL_HTTP_OK ? RSL_OPENMETRICS_TYPE
                                        : "text/plain; charset=utf-8",
                 body.len,
                 verdict == RSL_HTTP_METHOD_NOT_ALLOWED ? "Allow: GET\r\n" : "",
                 (int)body.len, body.bytes == NULL ? "" : body.bytes);
    if (body.failed || all.failed) {
        free(all.bytes);
        client->answer = (char *)(uintptr_t)no_memory;
        client->answer_len = sizeof no_memory - 1;
    } else {
        client->answer = all.bytes;
        client->answer_len = all.len;
    }
    free(body.bytes);
    client_want(client, METRICS_WRITING);
}

/* What recv() and send() say that ends nothing. */
static bool
client_may_go_on(ssize_t result)
{
    return result < 0
           && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static void
client_read(metrics_client *client)
{
    ssize_t got = recv(client->fd, client->request + client->request_len,
                       sizeof client->request - client->request_len, 0);
    rsl_http_verdict verdict;

    if (got <= 0) {
        if (!client_may_go_on(got)) {
            metrics_client_close(client);
        }
        return;
    }
    client->request_len += (size_t)got;
    verdict = rsl_http_judge(client->request, client->request_len,
                             sizeof client->request);
    if (verdict != RSL_HTTP_MORE) {
        client_answer(client, verdict);
    }
}

static void
client_write(metrics_client *client)
{
    ssize_t sent = send(client->fd, client->answer + client->answer_sent,
                        client->answer_len - client->answer_sent, MSG_NOSIGNAL);

    if (sent < 0) {
        if (!client_may_go_on(sent)) {
            metrics_client_close(client);
        }
        return;
    }
    client->answer_sent += (size_t)sent;
    if (client->answer_sent == client->answer_len) {
        /* A peer that has gone is found out by the next recv(). */
        (void)shutdown(client->fd, SHUT_WR);
        client_want(client, METRICS_DRAINING);
    }
}

static void
client_drain(metrics_client *client)
{
    ssize_t got = recv(client->fd, client->request, sizeof client->request, 0);

    client->drained += got > 0 ? (size_t)got : 0;
    if ((got <= 0 && !client_may_go_on(got))
        || client->drained > RSL_METRICS_DRAIN) {
        metrics_client_close(client);
    }
}

void
metrics_client_ready(metrics_client *client)
{
    switch (client->state) {
    case METRICS_READING:
        client_read(client);
        return;
    case METRICS_WRITING:
        client_write(client);
        return;
    case METRICS_DRAINING:
        client_drain(client);
        return;
    }
}
