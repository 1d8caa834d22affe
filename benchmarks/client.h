// SPDX-License-Identifier: Apache-2.0
/* client.h - what the load client's parts share: client.c reads the options,
 * runs the window and reports; client_modes.c and client_connect.c make the
 * load. One thread, one client a process: hence the variables. */

#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client_histogram.h"

#define BUFFER_BYTES (256 * 1024)
#define TICK_NS      50000000

typedef struct {
    const char *mode;
    const char *unix_path;
    const char *request_file;
    const char *handshake_file;
    double seconds;
    double warmup;
    double rate; /* requests a second on all connections; 0: closed loop */
    long port;
    long udp;
    long tls;
    long resume; /* each connection resumes the TLS session of the one before */
    long sleep;  /* open loop: until a request is due, in place of polling */
    long size;
    long response; /* bytes of an answer; 0: as many as of a request */
    long conns;
    long messages; /* stop after so many, not after seconds; 0: no */
    long cpu_pid;
} options;

typedef struct {
    int fd;
    bool busy;           /* a request is under way */
    bool wants_write;    /* EPOLLOUT is armed */
    bool handshaking;    /* TLS, of a new connection */
    size_t sent;         /* bytes of the request that have left */
    size_t received;     /* bytes of the answer that have come */
    uint64_t started_ns; /* open loop: when it was due */
    uint64_t next;       /* open loop: number of the next request */
    uint64_t waiting;    /* open loop: requests due while one is under way */
    void *tls;           /* client_tls.c's */
    void *session;       /* its too: of the last connection here */
} conn;

typedef struct {
    uint64_t messages;
    uint64_t bytes;
    uint64_t lost;
    uint64_t resumed; /* TLS handshakes, of the messages */
    uint64_t server_cpu_ns;
    uint64_t server_loop_ns; /* its first thread's CPU time */
    uint64_t client_cpu_ns;
    uint64_t client_waited_ns; /* ready to run, without a CPU */
    uint64_t at_ns;
} counters;

extern options opt;
extern conn *conns;
extern int epoll_fd;
extern char *request;
extern size_t request_bytes;
extern char buffer[BUFFER_BYTES];
extern counters counts;
extern histogram lateness; /* open loop: of requests that left, by our fault */

/* End the process with `what` and errno's text on stderr. */
void die(const char *what) __attribute__((noreturn));
uint64_t now_ns(void);
char *file_read(const char *path, size_t *bytes);

/* A latency, and the time at which it was over. */
void latency_add(uint64_t ns, uint64_t now);

int socket_open(bool blocking);
void socket_connect(int fd);
void conn_arm(conn *c, bool wants_write, int operation);

/* Each mode: start its load once, then answer events of a connection. */
void echo_start(void);
void echo_event(conn *c, uint32_t events);
void connect_start(void);
void connect_event(conn *c, uint32_t events);
void send_start(void);
void send_event(conn *c, uint32_t events);
void receive_start(void);
void receive_event(conn *c, uint32_t events);

/* Open loop: start what is due, and tell when more will be. */
uint64_t echo_begin_due(void);
uint64_t connect_begin_due(void);

void udp_resend_lost(void);

/* Open the connections and hold them until stdin ends. */
void idle_run(void);

/* client_tls.c. A blocking handshake. */
void tls_connect(conn *c);

/* One that need not block: whether it is over. Then as send() and recv(). */
void tls_begin(conn *c);
bool tls_handshake(conn *c);
ssize_t tls_send(conn *c, const void *bytes, size_t count);
ssize_t tls_recv(conn *c, void *bytes, size_t count);

/* Send what is gathered; false: the socket has no room for all of it. */
bool tls_flush(conn *c);

/* An answer is complete: those that follow may not have to be decrypted. */
void tls_count(conn *c);

/* Say the end to the peer; true if the session was a resumed one. */
bool tls_end(conn *c);

/* Free what is here; the peer is told nothing. */
void tls_forget(conn *c);

/* Whether bytes have been read from the socket that were not delivered. */
bool tls_has_pending(const conn *c);

#endif
