/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/token.h"

static void
a_token_has_one_holder(void **state)
{
    rsl_token token;

    (void)state;
    rsl_token_init(&token);
    assert_int_equal(rsl_token_holder_now(&token), RSL_TOKEN_FREE);
    assert_true(rsl_token_try_take(&token, RSL_TOKEN_LOOP));
    assert_int_equal(rsl_token_holder_now(&token), RSL_TOKEN_LOOP);
    assert_false(rsl_token_try_take(&token, RSL_TOKEN_RUNTIME));
    assert_false(rsl_token_try_take(&token, RSL_TOKEN_LOOP));
    rsl_token_release(&token, RSL_TOKEN_LOOP);
    assert_true(rsl_token_try_take(&token, RSL_TOKEN_RUNTIME));
    assert_false(rsl_token_try_take(&token, RSL_TOKEN_LOOP));
    rsl_token_release(&token, RSL_TOKEN_RUNTIME);
    assert_int_equal(rsl_token_holder_now(&token), RSL_TOKEN_FREE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_has_one_holder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
