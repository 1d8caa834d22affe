/* SPDX-License-Identifier: Apache-2.0 */
/* stack_signal.c - faulthandler.register(), and to know when it has written.
 *
 * faulthandler's handler walks the frames of its own thread, which that thread
 * cannot change meanwhile; it takes no lock and allocates nothing. Ours calls
 * it and tells the asker, who reads the memfd. */
#include "stack_signal.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A thread that sleeps in the kernel without signals may answer never. */
enum { ANSWER_SECONDS_MAX = 2 };

static struct {
    pthread_mutex_t lock; /* all below, and one asker at a time */
    unsigned users;
    int signum; /* stays what it was once chosen: see release */
    int fd;     /* the memfd */
    _Atomic(void (*)(int)) dump;
    sem_t answered;
    bool prepared;
} asked = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void
asked_handler(int signum)
{
    int before = errno;
    void (*dump)(int) = atomic_load(&asked.dump);
    if (dump != NULL) {
        dump(signum);
        sem_post(&asked.answered);
    }
    errno = before;
}

static void
asked_lock(void)
{
    pthread_mutex_lock(&asked.lock);
}

static void
asked_unlock(void)
{
    pthread_mutex_unlock(&asked.lock);
}

/* The last real-time signal that nobody has a handler for. */
static int
asked_choose_signal(void)
{
    for (int signum = SIGRTMAX; signum >= SIGRTMIN; signum--) {
        struct sigaction action;
        if (sigaction(signum, NULL, &action) == 0
            && (action.sa_flags & SA_SIGINFO) == 0
            && action.sa_handler == SIG_DFL) {
            return signum;
        }
    }
    return 0;
}

/* faulthandler.<name>(signum, **options); `options` is taken, may be NULL. */
static int
asked_call_faulthandler(const char *name, PyObject *options)
{
    PyObject *module = PyImport_ImportModule("faulthandler");
    PyObject *function =
        module == NULL ? NULL : PyObject_GetAttrString(module, name);
    PyObject *args = Py_BuildValue("(i)", asked.signum);
    PyObject *result = NULL;
    if (function != NULL && args != NULL) {
        result = PyObject_Call(function, args, options);
    }
    Py_XDECREF(module);
    Py_XDECREF(function);
    Py_XDECREF(args);
    Py_XDECREF(options);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Put our handler in front of the one that faulthandler has installed. */
static int
asked_wrap_handler(void)
{
    struct sigaction action;
    if (sigaction(asked.signum, NULL, &action) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    atomic_store(&asked.dump, action.sa_handler);
    action.sa_handler = asked_handler;
    action.sa_flags |= SA_RESTART | SA_ONSTACK;
    if (sigaction(asked.signum, &action, NULL) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static int
asked_open(void)
{
    if (!asked.prepared) {
        pthread_atfork(asked_lock, asked_unlock, asked_unlock);
        sem_init(&asked.answered, 0, 0);
        asked.prepared = true;
    }
    if (asked.signum == 0 && (asked.signum = asked_choose_signal()) == 0) {
        PyErr_SetString(PyExc_RuntimeError, "no real-time signal is free");
        return -1;
    }
    asked.fd = memfd_create("rsloop_c-stack", MFD_CLOEXEC);
    if (asked.fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    PyObject *options =
        Py_BuildValue("{s:i, s:O, s:O}", "file", asked.fd, "all_threads",
                      Py_False, "chain", Py_False);
    if (options != NULL && asked_call_faulthandler("register", options) == 0
        && asked_wrap_handler() == 0) {
        return 0;
    }
    close(asked.fd);
    asked.fd = -1;
    return -1;
}

int
pyrsl_stack_signal_acquire(void)
{
    Py_BEGIN_ALLOW_THREADS
    asked_lock();
    Py_END_ALLOW_THREADS
    int status = asked.users > 0 ? 0 : asked_open();
    if (status == 0) {
        asked.users++;
    }
    asked_unlock();
    return status;
}

void
pyrsl_stack_signal_release(void)
{
    PyObject *exc = PyErr_GetRaisedException();
    Py_BEGIN_ALLOW_THREADS
    asked_lock();
    Py_END_ALLOW_THREADS
    if (--asked.users == 0) {
        atomic_store(&asked.dump, NULL);
        if (asked_call_faulthandler("unregister", NULL) < 0) {
            PyErr_Clear(); /* the interpreter ends */
        }
        /* One may be on its way to a thread that blocks signals: its default
         * would end the process. */
        (void)signal(asked.signum, SIG_IGN);
        close(asked.fd);
        asked.fd = -1;
    }
    asked_unlock();
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

static int
asked_wait(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ANSWER_SECONDS_MAX;
    int status;
    do {
        status = sem_timedwait(&asked.answered, &until);
    } while (status < 0 && errno == EINTR);
    return status;
}

ssize_t
pyrsl_stack_signal_ask(pid_t tid, char *text, size_t size)
{
    ssize_t length = -1;
    asked_lock();
    while (sem_trywait(&asked.answered) == 0) {
        /* an answer that came too late */
    }
    if (asked.fd >= 0 && ftruncate(asked.fd, 0) == 0
        && lseek(asked.fd, 0, SEEK_SET) == 0
        && syscall(SYS_tgkill, getpid(), tid, asked.signum) == 0
        && asked_wait() == 0) {
        length = pread(asked.fd, text, size, 0);
    }
    asked_unlock();
    return length;
}
