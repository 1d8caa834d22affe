/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint over real sockets, from a loop that nobody turns. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <rsl/metrics.h>

#include "entries.h"
#include "fake_backend.h"
#include "sight/metrics_impl.h"

enum { PATIENCE_MS = 20000, ANSWER_MAX = 65536 };

typedef struct fixture {
    rsl_runtime *rt;
    struct sockaddr_in address;
    uint64_t name;
    char answer[ANSWER_MAX];
} fixture;

static void
fixture_open(fixture *self, rsl_takeover takeover)
{
    socklen_t length = sizeof self->address;
    rsl_err err = {0};
    int fd;

    memset(self, 0, sizeof *self);
    self->rt = fake_runtime(takeover, NULL);
    self->address.sin_family = AF_INET;
    self->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&self->address, length), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(
        getsockname(fd, (struct sockaddr *)&self->address, &length), 0);
    assert_int_equal(rsl_metrics_open(self->rt, fd, &self->name, &err), RSL_OK);
}

static void
fixture_close(fixture *self)
{
    rsl_runtime_leave(self->rt);
    rsl_runtime_free(self->rt);
}

static int
dial(const fixture *self)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&self->address,
                             sizeof self->address),
                     0);
    return fd;
}

static void
tell(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the end, which a reset is too. */
static size_t
hear(fixture *self, int fd)
{
    size_t len = 0;
    ssize_t got = 1;

    while (got > 0 && len < ANSWER_MAX - 1) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        got = recv(fd, self->answer + len, ANSWER_MAX - 1 - len, 0);
        len += got > 0 ? (size_t)got : 0;
    }
    self->answer[len] = '\0';
    close(fd);
    return len;
}

static const char *
ask(fixture *self, const char *request)
{
    int fd = dial(self);

    tell(fd, request);
    hear(self, fd);
    return self->answer;
}

static void
answer_begins(fixture *self, const char *request, const char *with)
{
    assert_ptr_equal(strstr(ask(self, request), with), self->answer);
}

static const char good[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

static void
the_page_shows_the_loop_while_nobody_turns_it(void **state)
{
    static const rsl_takeover takeovers[] = {
        RSL_TAKEOVER_AUTO, RSL_TAKEOVER_NEVER, RSL_TAKEOVER_ALWAYS};
    static fixture f;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        char line[64];
        size_t len, body;
        const char *head_end;

        fixture_open(&f, takeovers[i]);
        rsl_stat_add(&f.rt->stats, RSL_STAT_CALLBACKS, 12345);
        answer_begins(&f, good, "HTTP/1.1 200 OK\r\n");
        snprintf(line, sizeof line,
                 "rsloop_c_callbacks_total{loop=\"%u\"} %d\n",
                 (unsigned)f.rt->number, 12345);
        assert_non_null(strstr(f.answer, line));
        snprintf(line, sizeof line, "le=\"+Inf\"} %d\n", 0);
        assert_non_null(strstr(f.answer, line));
        assert_non_null(strstr(f.answer, "le=\"0.00001\"} 0\n"));
        assert_non_null(strstr(f.answer, "le=\"10.0\"} 0\n"));
        assert_non_null(strstr(f.answer, "application/openmetrics-text"));
        len = strlen(f.answer);
        assert_string_equal(f.answer + len - 6, "# EOF\n");
        head_end = strstr(f.answer, "\r\n\r\n");
        body = len - (size_t)(head_end + 4 - f.answer);
        snprintf(line, sizeof line, "Content-Length: %zu\r\n", body);
        assert_non_null(strstr(f.answer, line));
        fixture_close(&f);
    }
}

static void
other_requests_are_refused(void **state)
{
    static fixture f;

    (void)state;
    fixture_open(&f, RSL_TAKEOVER_AUTO);
    answer_begins(&f, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ");
    answer_begins(&f, "PUT /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ");
    assert_non_null(strstr(f.answer, "Allow: GET\r\n"));
    answer_begins(&f, "nonsense\r\n\r\n", "HTTP/1.1 400 ");
    answer_begins(&f, "GET /metrics HTTP/3.0\r\n\r\n", "HTTP/1.1 505 ");
    fixture_close(&f);
}

static void
a_request_may_come_byte_by_byte_and_not_for_ever(void **state)
{
    static fixture f;
    char part[2] = "";
    int fd;

    (void)state;
    fixture_open(&f, RSL_TAKEOVER_AUTO);
    fd = dial(&f);
    for (const char *at = good; *at != '\0'; at++) {
        part[0] = *at;
        tell(fd, part);
    }
    hear(&f, fd);
    assert_ptr_equal(strstr(f.answer, "HTTP/1.1 200 "), f.answer);
    fd = dial(&f);
    for (int i = 0; i < RSL_METRICS_REQUEST / 4; i++) {
        tell(fd, "AAAA");
    }
    hear(&f, fd);
    assert_ptr_equal(strstr(f.answer, "HTTP/1.1 431 "), f.answer);
    fixture_close(&f);
}

/* Silent ones, half a request, and those that never read: the next one who
 * asks is answered, and the oldest of them have been shown out. */
static void
many_slow_clients_keep_nobody_out(void **state)
{
    static fixture f;
    int slow[3 * RSL_METRICS_CLIENTS];
    const unsigned count = sizeof slow / sizeof slow[0];

    (void)state;
    fixture_open(&f, RSL_TAKEOVER_AUTO);
    for (unsigned i = 0; i < count; i++) {
        slow[i] = dial(&f);
        if (i % 3 == 1) {
            tell(slow[i], "GET /metr");
        } else if (i % 3 == 2) {
            tell(slow[i], good);
        }
    }
    answer_begins(&f, good, "HTTP/1.1 200 ");
    assert_int_equal(hear(&f, slow[0]), 0); /* its end, and nothing else */
    for (unsigned i = 1; i < count; i++) {
        close(slow[i]);
    }
    answer_begins(&f, good, "HTTP/1.1 200 ");
    fixture_close(&f);
}

static void
a_closed_endpoint_refuses_and_the_next_one_answers(void **state)
{
    static fixture f, other;
    unsigned fds = entries_of("/proc/self/fd");
    int idle, fd;

    (void)state;
    fixture_open(&f, RSL_TAKEOVER_AUTO);
    fixture_open(&other, RSL_TAKEOVER_AUTO);
    idle = dial(&f);
    answer_begins(&f, good, "HTTP/1.1 200 ");
    rsl_metrics_close(f.rt, f.name);
    rsl_metrics_close(f.rt, f.name); /* once more does no harm */
    assert_int_equal(hear(&f, idle), 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(
        connect(fd, (struct sockaddr *)&f.address, sizeof f.address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    /* It shows both loops. */
    answer_begins(&other, good, "HTTP/1.1 200 ");
    fixture_close(&f);
    fixture_close(&other);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
}

static void
a_bad_socket_is_an_error_and_stays_the_callers(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    unsigned fds = entries_of("/proc/self/fd");
    rsl_err err = {0};
    uint64_t name = 0;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_int_equal(rsl_metrics_open(rt, -1, &name, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    assert_int_equal(rsl_metrics_open(rt, fd, &name, &err), RSL_OS);
    assert_int_equal(close(fd), 0);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_the_loop_while_nobody_turns_it),
        cmocka_unit_test(other_requests_are_refused),
        cmocka_unit_test(a_request_may_come_byte_by_byte_and_not_for_ever),
        cmocka_unit_test(many_slow_clients_keep_nobody_out),
        cmocka_unit_test(a_closed_endpoint_refuses_and_the_next_one_answers),
        cmocka_unit_test(a_bad_socket_is_an_error_and_stays_the_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
