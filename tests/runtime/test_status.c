/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rsl/status.h>

static void
every_status_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(rsl_status_name(RSL_OK), "RSL_OK");
    assert_string_equal(rsl_status_name(RSL_AGAIN), "RSL_AGAIN");
    assert_string_equal(rsl_status_name(RSL_EOF), "RSL_EOF");
    assert_string_equal(rsl_status_name(RSL_NOMEM), "RSL_NOMEM");
    assert_string_equal(rsl_status_name(RSL_CLOSED), "RSL_CLOSED");
    assert_string_equal(rsl_status_name(RSL_BUSY), "RSL_BUSY");
    assert_string_equal(rsl_status_name(RSL_UNSUPPORTED), "RSL_UNSUPPORTED");
    assert_string_equal(rsl_status_name(RSL_FORKED), "RSL_FORKED");
    assert_string_equal(rsl_status_name(RSL_OS), "RSL_OS");
}

static void
an_unknown_status_is_not_a_crash(void **state)
{
    (void)state;
    assert_string_equal(rsl_status_name((rsl_status)99), "RSL_?");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(an_unknown_status_is_not_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
