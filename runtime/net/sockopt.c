/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <rsl/conn.h>

void
rsl_sockopt_nodelay(int fd)
{
    int one = 1;

    /* Refused by sockets that know no Nagle, which is as good. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
