/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <rsl/addr.h>

static void
addr_tells_both_ends_of_a_connection(void **state)
{
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    rsl_addr local, peer;
    rsl_err err;
    assert_int_equal(
        bind(listener, (struct sockaddr *)&loopback, sizeof(loopback)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(rsl_addr_local(listener, &local, &err), RSL_OK);
    assert_int_equal(connect(client, rsl_addr_sockaddr(&local), local.length),
                     0);
    assert_int_equal(rsl_addr_peer(client, &peer, &err), RSL_OK);
    assert_int_equal(peer.length, sizeof(struct sockaddr_in));
    assert_memory_equal(&peer, &local, sizeof(peer));
    close(client);
    close(listener);
}

static void
addr_of_an_unconnected_socket_has_no_peer(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rsl_addr peer;
    rsl_err err;
    assert_int_equal(rsl_addr_peer(fd, &peer, &err), RSL_OS);
    assert_int_equal(err.code, ENOTCONN);
    assert_string_equal(err.call, "getpeername");
    close(fd);
}

static void
addr_of_a_closed_fd_is_an_error(void **state)
{
    (void)state;
    rsl_addr local;
    rsl_err err;
    assert_int_equal(rsl_addr_local(-1, &local, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    assert_string_equal(err.call, "getsockname");
}

static void
addr_of_an_unnamed_unix_socket_is_only_a_family(void **state)
{
    (void)state;
    int pair[2];
    rsl_addr peer;
    rsl_err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(rsl_addr_peer(pair[0], &peer, &err), RSL_OK);
    assert_int_equal(peer.storage.ss_family, AF_UNIX);
    assert_int_equal(peer.length, offsetof(struct sockaddr_un, sun_path));
    close(pair[0]);
    close(pair[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addr_tells_both_ends_of_a_connection),
        cmocka_unit_test(addr_of_an_unconnected_socket_has_no_peer),
        cmocka_unit_test(addr_of_a_closed_fd_is_an_error),
        cmocka_unit_test(addr_of_an_unnamed_unix_socket_is_only_a_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
