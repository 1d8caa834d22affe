// SPDX-License-Identifier: Apache-2.0
/* client.c - load on a server, from a process that runs none of the loops that
 * are compared: one thread, one epoll set, a few connections.
 *
 *   echo      send a request, wait for the whole answer, again (closed loop);
 *             with --rate, requests leave at absolute times instead, and their
 *             latency counts from the time at which they were due (open loop);
 *             the client then polls without sleeping, unless --sleep=1
 *   connect   connect, with --tls shake hands (with --resume, by the session
 *             before), send a byte, read the answer, close, again; --rate too
 *   send      send without an end; receive: read without an end
 *   idle      open connections, say so, keep them until stdin ends
 *
 * A window of --seconds follows --warmup. The server's CPU clock (--cpu-pid)
 * is read at both ends of it. The result is one line of JSON on stdout. */

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "client.h"

#define EVENTS_MAX 256
#define SLICE_NS   UINT64_C(50000000)
#define SLICES_MAX 4096

options opt = {
    .mode = "echo", .size = 1024, .conns = 1, .seconds = 1, .warmup = 0.1};
conn *conns;
int epoll_fd;
char *request;
size_t request_bytes;
char buffer[BUFFER_BYTES];
counters counts;
static histogram latency;
histogram lateness;

/* Open loop: the p99 of each slice of the window that is over. */
static histogram slice;
static uint64_t slice_end_ns;
static double slice_p99_us[SLICES_MAX];
static size_t slices;

static counters at_start;
static clockid_t server_clock;

void
die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) != 0) {
        die("the server's clock (has it ended?)");
    }
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t
now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

char *
file_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(BUFFER_BYTES);

    if (!file || !text) {
        die(path);
    }
    *bytes = fread(text, 1, BUFFER_BYTES, file);
    fclose(file);
    return text;
}

/* CPU time of a thread, and the time it waited for a CPU; zeros if the file is
 * not there. */
static void
schedstat_read(const char *path, uint64_t *ran, uint64_t *waited)
{
    FILE *file = fopen(path, "r");

    *ran = *waited = 0;
    if (file) {
        if (fscanf(file, "%" SCNu64 " %" SCNu64, ran, waited) != 2) {
            *ran = *waited = 0;
        }
        fclose(file);
    }
}

/* A process has no clock for another's threads, hence the file: of a running
 * thread it is late by a tick at most. */
static uint64_t
server_loop_ns(void)
{
    char path[64];
    uint64_t ran;
    uint64_t waited;

    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/schedstat", opt.cpu_pid,
             opt.cpu_pid);
    schedstat_read(path, &ran, &waited);
    return ran;
}

static counters
counters_read(void)
{
    counters out = counts;
    uint64_t ran;

    out.at_ns = now_ns();
    out.client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    schedstat_read("/proc/self/schedstat", &ran, &out.client_waited_ns);
    out.server_cpu_ns = opt.cpu_pid ? clock_ns(server_clock) : 0;
    out.server_loop_ns = opt.cpu_pid ? server_loop_ns() : 0;
    return out;
}

void
latency_add(uint64_t ns, uint64_t now)
{
    histogram_add(&latency, ns);
    if (opt.rate == 0) {
        return;
    }
    if (now >= slice_end_ns) {
        if (slice.count > 0 && slices < SLICES_MAX) {
            slice_p99_us[slices++] = histogram_quantile_us(&slice, 0.99);
        }
        histogram_clear(&slice);
        slice_end_ns = now + SLICE_NS;
    }
    histogram_add(&slice, ns);
}

static int
compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

/* What has been counted until now is warm-up. */
static void
window_start(void)
{
    histogram_clear(&slice);
    slices = 0;
    histogram_clear(&latency);
    histogram_clear(&lateness);
    at_start = counters_read();
}

static void
window_report(void)
{
    counters end = counters_read();
    double seconds = (double)(end.at_ns - at_start.at_ns) / 1e9;

    printf("{\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"lost\": %" PRIu64 ", \"resumed\": %" PRIu64
           ", \"seconds\": %.6f, \"server_cpu\": %.6f"
           ", \"server_loop_cpu\": %.6f, \"client_cpu\": %.6f"
           ", \"client_waited\": %.6f",
           end.messages - at_start.messages, end.bytes - at_start.bytes,
           end.lost - at_start.lost, end.resumed - at_start.resumed, seconds,
           (double)(end.server_cpu_ns - at_start.server_cpu_ns) / 1e9,
           (double)(end.server_loop_ns - at_start.server_loop_ns) / 1e9,
           (double)(end.client_cpu_ns - at_start.client_cpu_ns) / 1e9,
           (double)(end.client_waited_ns - at_start.client_waited_ns) / 1e9);
    if (latency.count > 0) {
        printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f"
               ", \"p999_us\": %.1f, \"max_us\": %.1f",
               histogram_quantile_us(&latency, 0.5),
               histogram_quantile_us(&latency, 0.9),
               histogram_quantile_us(&latency, 0.99),
               histogram_quantile_us(&latency, 0.999),
               (double)latency.max_ns / 1e3);
    }
    if (lateness.count > 0) {
        printf(", \"late_p99_us\": %.1f",
               histogram_quantile_us(&lateness, 0.99));
    }
    if (slices > 0) {
        qsort(slice_p99_us, slices, sizeof(slice_p99_us[0]), compare_doubles);
        printf(", \"slice_p99_us\": %.1f", slice_p99_us[slices / 2]);
    }
    printf("}\n");
}

/* --- run ----------------------------------------------------------------- */

typedef struct {
    const char *name;
    void (*start)(void);
    void (*on_event)(conn *, uint32_t);
    uint64_t (*begin_due)(void); /* NULL: it knows no rate */
} mode;

static const mode modes[] = {
    {"echo", echo_start, echo_event, echo_begin_due},
    {"connect", connect_start, connect_event, connect_begin_due},
    {"send", send_start, send_event, NULL},
    {"receive", receive_start, receive_event, NULL},
};

/* How long poll_once() may sleep. A timer and a wake-up for each request would
 * keep the client busier than the server at high rates, and its own queue is
 * all that would show: hence no sleep at all, unless it is asked for. */
static struct timespec
pause_for(const mode *m)
{
    struct timespec pause = {.tv_nsec = TICK_NS};
    uint64_t due;
    uint64_t now;

    if (opt.rate > 0 && m->begin_due) {
        due = m->begin_due();
        now = now_ns();
        pause.tv_nsec = !opt.sleep || due <= now ? 0 : (long)(due - now);
        if (pause.tv_nsec > TICK_NS) {
            pause.tv_nsec = TICK_NS;
        }
    }
    return pause;
}

static void
poll_once(const mode *m)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec pause = pause_for(m);
    int n = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &pause, NULL);

    if (n < 0 && errno != EINTR) {
        die("epoll_pwait2");
    }
    for (int i = 0; i < n; i++) {
        m->on_event(events[i].data.ptr, events[i].events);
    }
    if (opt.udp) {
        udp_resend_lost();
    }
}

static bool
window_is_over(uint64_t end_ns)
{
    return opt.messages ? counts.messages >= (uint64_t)opt.messages
                        : now_ns() >= end_ns;
}

static void
run(const mode *m)
{
    uint64_t start = now_ns() + (uint64_t)(opt.warmup * 1e9);
    uint64_t end = start + (uint64_t)(opt.seconds * 1e9);

    m->start();
    while (opt.warmup > 0 && now_ns() < start) {
        poll_once(m);
    }
    window_start();
    while (!window_is_over(end)) {
        poll_once(m);
    }
    window_report();
}

typedef struct {
    const char *name;
    const char **text; /* where the value goes: one of these three */
    double *real;
    long *number;
} option_row;

static const option_row option_table[] = {
    {"mode", &opt.mode, NULL, NULL},
    {"unix", &opt.unix_path, NULL, NULL},
    {"request", &opt.request_file, NULL, NULL},
    {"handshake", &opt.handshake_file, NULL, NULL},
    {"seconds", NULL, &opt.seconds, NULL},
    {"warmup", NULL, &opt.warmup, NULL},
    {"rate", NULL, &opt.rate, NULL},
    {"port", NULL, NULL, &opt.port},
    {"udp", NULL, NULL, &opt.udp},
    {"tls", NULL, NULL, &opt.tls},
    {"resume", NULL, NULL, &opt.resume},
    {"sleep", NULL, NULL, &opt.sleep},
    {"size", NULL, NULL, &opt.size},
    {"response", NULL, NULL, &opt.response},
    {"conns", NULL, NULL, &opt.conns},
    {"messages", NULL, NULL, &opt.messages},
    {"cpu-pid", NULL, NULL, &opt.cpu_pid},
};

/* `argument` is --name=value. */
static bool
option_read(const char *argument)
{
    const char *value = strchr(argument, '=');
    size_t count = sizeof(option_table) / sizeof(option_table[0]);

    if (!value || strncmp(argument, "--", 2) != 0) {
        return false;
    }
    for (const option_row *o = option_table; o < option_table + count; o++) {
        size_t length = strlen(o->name);

        if (argument + 2 + length != value
            || strncmp(argument + 2, o->name, length) != 0) {
            continue;
        }
        if (o->text) {
            *o->text = value + 1;
        } else if (o->real) {
            *o->real = strtod(value + 1, NULL);
        } else {
            *o->number = strtol(value + 1, NULL, 10);
        }
        return true;
    }
    return false;
}

static void
prepare(void)
{
    struct rlimit files;

    prctl(PR_SET_TIMERSLACK, 1000);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        rlim_t wanted = (rlim_t)opt.conns + 64;
        struct rlimit more = {wanted, wanted};

        files.rlim_cur = files.rlim_max;
        if (files.rlim_max >= wanted
            || setrlimit(RLIMIT_NOFILE, &more) != 0) { /* root may */
            setrlimit(RLIMIT_NOFILE, &files);
        }
    }
    if (opt.cpu_pid
        && clock_getcpuclockid((pid_t)opt.cpu_pid, &server_clock) != 0) {
        die("clock_getcpuclockid");
    }
    if (opt.request_file) {
        request = file_read(opt.request_file, &request_bytes);
    } else {
        request_bytes = (size_t)opt.size;
        request = malloc(request_bytes);
        if (!request) {
            die("malloc");
        }
        memset(request, 'x', request_bytes);
    }
    if (opt.response == 0) {
        opt.response = (long)request_bytes;
    }
    conns = calloc((size_t)opt.conns, sizeof(*conns));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || epoll_fd < 0) {
        die("prepare");
    }
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!option_read(argv[i])) {
            fprintf(stderr, "client: %s is no option of client.c\n", argv[i]);
            return 2;
        }
    }
    prepare();
    if (strcmp(opt.mode, "idle") == 0) {
        idle_run();
        return 0;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(opt.mode, modes[i].name) == 0) {
            run(&modes[i]);
            return 0;
        }
    }
    fprintf(stderr, "client: no mode %s\n", opt.mode);
    return 2;
}
