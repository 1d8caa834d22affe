/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "turn_fixture.h"

/* Every loan of these tests is the fixture. */
static void
count_loan(void *loan)
{
    ((fixture *)loan)->loans_returned++;
}

int
turn_set_up(void **state)
{
    static const rsl_hooks hooks = {.loan_return = count_loan};
    static fixture f;

    memset(&f, 0, sizeof f);
    f.rt = fake_runtime(RSL_TAKEOVER_NEVER, &hooks);
    f.fake = fake_of(f.rt);
    fake_loop_init(&f.loop, f.rt);
    f.conn = fake_conn(f.rt, &f.reader, &f.peer);
    assert_int_equal(rsl_conn_read_start(f.conn), RSL_OK);
    *state = &f;
    return 0;
}

int
turn_tear_down(void **state)
{
    fixture *f = *state;

    fake_loop_fini(&f->loop);
    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    fake_reader_fini(&f->reader);
    free(f->bytes);
    close(f->peer);
    return 0;
}

void
feed(fixture *f, const char *text)
{
    fake_feed(f->fake, f->conn, text, strlen(text));
}

void
assert_delivered(fixture *f, const char *text)
{
    assert_int_equal(f->reader.len, strlen(text));
    assert_memory_equal(f->reader.bytes, text, strlen(text));
}

void
turns(fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        fake_loop_turn(&f->loop, 0);
    }
}
