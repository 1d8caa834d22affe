/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - libFuzzer's work, for compilers without it: runs every file that
 * is named or in a folder that is named, and then variations of them.
 *
 *     fuzz_x [-seconds=N] [-seed=N] [-artifact=FILE] [FILE|FOLDER...]
 *
 * FILE holds the input of the run that is under way, and of the last one when
 * the process has died. */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 14, INPUTS_MAX = 1024 };

typedef struct input {
    uint8_t *data;
    size_t len;
} input;

static input corpus[INPUTS_MAX];
static size_t corpus_count;
static uint64_t seed = 1;
static uint8_t *artifact; /* INPUT_MAX bytes of a file, or NULL */
static int artifact_fd = -1;

static uint32_t
driver_random(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16) % below;
}

static void
driver_run(const uint8_t *data, size_t len)
{
    /* Of its own size, so that ASan sees a look beyond the end. */
    uint8_t *exact = malloc(len == 0 ? 1 : len);

    if (exact == NULL) {
        return;
    }
    if (len > 0) {
        memcpy(exact, data, len);
    }
    if (artifact != NULL && ftruncate(artifact_fd, (off_t)len) == 0) {
        memcpy(artifact, exact, len);
    }
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void
driver_load_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_MAX);

    if (file == NULL || data == NULL || corpus_count == INPUTS_MAX) {
        fprintf(stderr, "cannot load %s\n", path);
        exit(2);
    }
    corpus[corpus_count++] = (input){data, fread(data, 1, INPUT_MAX, file)};
    fclose(file);
}

static void
driver_load(const char *path)
{
    struct dirent *entry;
    char name[4096];
    DIR *folder = opendir(path);

    if (folder == NULL) {
        driver_load_file(path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            driver_load_file(name);
        }
    }
    closedir(folder);
}

/* One change to `data`; its new length. */
static size_t
driver_mutate(uint8_t *data, size_t len)
{
    const input *other = &corpus[driver_random((uint32_t)corpus_count)];
    size_t at = len == 0 ? 0 : driver_random((uint32_t)len);
    size_t some = 1 + driver_random(16);

    switch (driver_random(6)) {
    case 0: /* a bit */
        if (len > 0) {
            data[at] ^= (uint8_t)(1u << driver_random(8));
        }
        return len;
    case 1: /* a byte */
        if (len > 0) {
            data[at] = (uint8_t)driver_random(256);
        }
        return len;
    case 2: /* cut some out */
        some = some < len - at ? some : len - at;
        memmove(data + at, data + at + some, len - at - some);
        return len - some;
    case 3: /* put some in */
        some = len + some < INPUT_MAX ? some : 0;
        memmove(data + at + some, data + at, len - at);
        for (size_t i = 0; i < some; i++) {
            data[at + i] = (uint8_t)driver_random(256);
        }
        return len + some;
    case 4: /* end here */
        return at;
    default: /* go on as another one does */
        if (other->len > at) {
            memcpy(data + at, other->data + at, other->len - at);
            return other->len;
        }
        return len;
    }
}

static double
driver_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static unsigned long
driver_vary(double seconds)
{
    double end = driver_now() + seconds;
    unsigned long runs = 0;

    while (corpus_count > 0 && driver_now() < end) {
        static uint8_t data[INPUT_MAX];
        const input *from = &corpus[driver_random((uint32_t)corpus_count)];
        unsigned changes = 1 + driver_random(5);
        size_t len = from->len;

        memcpy(data, from->data, len);
        while (changes-- > 0) {
            len = driver_mutate(data, len);
        }
        driver_run(data, len);
        runs++;
    }
    return runs;
}

static void
driver_open_artifact(const char *path)
{
    artifact_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    artifact = mmap(NULL, INPUT_MAX, PROT_READ | PROT_WRITE, MAP_SHARED,
                    artifact_fd, 0);
    if (artifact_fd < 0 || artifact == MAP_FAILED) {
        perror(path);
        exit(2);
    }
}

int
main(int argc, char **argv)
{
    double seconds = 0;
    unsigned long runs;

    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "-seconds=%lf", &seconds) == 1
            || sscanf(argv[i], "-seed=%lu", &seed) == 1) {
            continue;
        }
        if (strncmp(argv[i], "-artifact=", 10) == 0) {
            driver_open_artifact(argv[i] + 10);
            continue;
        }
        driver_load(argv[i]);
    }
    seed = seed == 0 ? 1 : seed;
    for (size_t i = 0; i < corpus_count; i++) {
        driver_run(corpus[i].data, corpus[i].len);
    }
    runs = driver_vary(seconds);
    printf("%zu inputs, %lu variations of them\n", corpus_count, runs);
    for (size_t i = 0; i < corpus_count; i++) {
        free(corpus[i].data);
    }
    return corpus_count == 0 ? 2 : 0;
}
