/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void
a_chunk_has_the_room_that_was_asked_for(void **state)
{
    rsl_chunk *chunk = rsl_chunk_new(1000);

    (void)state;
    assert_non_null(chunk);
    assert_int_equal(chunk->len, 0);
    assert_int_equal(chunk->origin, RSL_CHUNK_HEAP);
    assert_null(chunk->next);
    assert_ptr_equal(chunk->data, rsl_chunk_room(chunk));
    memset(rsl_chunk_room(chunk), 7, 1000); /* the sanitizer watches */
    rsl_chunk_free(chunk);
}

static void
a_chunk_travels_in_its_own_message(void **state)
{
    rsl_chunk *chunk = rsl_chunk_new(1);
    rsl_msg *msg = rsl_chunk_msg(chunk);
    rsl_mailbox box;
    rsl_err err;

    (void)state;
    assert_int_equal(rsl_mailbox_init(&box, &err), RSL_OK);
    msg->event.u.ptr = chunk;
    rsl_mailbox_push(&box, msg);
    assert_ptr_equal(rsl_mailbox_take(&box)->event.u.ptr, chunk);
    rsl_mailbox_push(&box, msg);
    rsl_mailbox_fini(&box); /* the leak checker sees whether it discards */
}

static void
a_size_that_overflows_is_refused(void **state)
{
    (void)state;
    assert_null(rsl_chunk_new(SIZE_MAX - 8));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_has_the_room_that_was_asked_for),
        cmocka_unit_test(a_chunk_travels_in_its_own_message),
        cmocka_unit_test(a_size_that_overflows_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
