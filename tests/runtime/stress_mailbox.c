/* SPDX-License-Identifier: Apache-2.0 */
/* stress_mailbox.c - ten producers, and a consumer that sleeps whenever it can.
 *
 * Every message must arrive once and each producer's in order; a wake-up that
 * is lost shows as a sleep that outlasts the deadline. ThreadSanitizer checks
 * that a message's content comes with it. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rsl/mailbox.h>

enum { PRODUCERS = 10, LOST_MS = 20000 };

typedef struct note {
    rsl_msg msg;
    unsigned producer;
    unsigned number; /* written by the producer, not atomic */
} note;

static rsl_mailbox box;
static unsigned messages = 20000;

static void *
producer_main(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < messages; i++) {
        note *mine = malloc(sizeof *mine);

        assert(mine != NULL);
        mine->producer = me;
        mine->number = i;
        rsl_mailbox_push(&box, &mine->msg);
        if (i % 64 == me) {
            usleep(50); /* let the consumer run dry and sleep */
        }
    }
    return NULL;
}

/* In turns as the backend does (edge-triggered, never read) and as
 * rsl_runtime_sleep() does. */
static void
consumer_sleep(int epoll_fd, bool alone)
{
    struct pollfd wake = {.fd = box.wake_fd, .events = POLLIN};
    struct epoll_event event;
    uint64_t count;
    int ready;

    if (alone && read(box.wake_fd, &count, sizeof count) < 0) {
        assert(errno == EAGAIN);
    }
    if (!rsl_mailbox_park(&box)) {
        return;
    }
    ready = alone ? poll(&wake, 1, LOST_MS)
                  : epoll_wait(epoll_fd, &event, 1, LOST_MS);
    rsl_mailbox_unpark(&box);
    if (ready == 0) {
        fprintf(stderr, "a wake-up was lost\n");
        abort();
    }
}

static unsigned
consumer_take(unsigned *next)
{
    rsl_msg *msg = rsl_mailbox_take(&box);
    unsigned taken = 0;

    while (msg != NULL) {
        note *its = (note *)msg;

        msg = msg->next;
        if (its->number != next[its->producer]) {
            fprintf(stderr, "producer %u: %u instead of %u\n", its->producer,
                    its->number, next[its->producer]);
            abort();
        }
        next[its->producer]++;
        free(its);
        taken++;
    }
    return taken;
}

int
main(int argc, char **argv)
{
    struct epoll_event mailbox = {.events = EPOLLIN | EPOLLET};
    unsigned next[PRODUCERS] = {0};
    unsigned long received = 0, sleeps = 0;
    pthread_t threads[PRODUCERS];
    uint64_t count;
    int successor;
    rsl_err err;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (argc > 1) {
        messages = (unsigned)strtoul(argv[1], NULL, 10);
    }
    if (rsl_mailbox_init(&box, &err) != RSL_OK || epoll_fd < 0
        || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, box.wake_fd, &mailbox) < 0) {
        perror("set-up");
        return 1;
    }
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        if (pthread_create(&threads[i], NULL, producer_main, (void *)i) != 0) {
            return 1;
        }
    }
    while (received < (unsigned long)PRODUCERS * messages) {
        unsigned taken = consumer_take(next);

        received += taken;
        if (taken == 0) {
            consumer_sleep(epoll_fd, sleeps % 2 == 0);
            sleeps++;
        }
    }
    /* Producers may still be waking: none of them may write to the file that
     * gets the eventfd's number next. */
    rsl_mailbox_shut(&box);
    successor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
    if (read(successor, &count, sizeof count) > 0) {
        fprintf(stderr, "a wake went to another file\n");
        return 1;
    }
    close(successor);
    rsl_mailbox_fini(&box);
    close(epoll_fd);
    printf("%lu messages, %lu sleeps\n", received, sleeps);
    return 0;
}
