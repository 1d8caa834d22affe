/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <rsl/event.h>

#include "base/id_table.h"

static int objects[20000];

static uint64_t
add(rsl_id_table *table, void *object)
{
    uint64_t id = 0;

    assert_int_equal(rsl_id_table_add(table, object, &id), RSL_OK);
    assert_int_not_equal(id, 0);
    assert_int_equal(id & ~RSL_ID_MASK, 0);
    return id;
}

static int
set_up(void **state)
{
    static rsl_id_table table;

    rsl_id_table_init(&table);
    *state = &table;
    return 0;
}

static int
tear_down(void **state)
{
    rsl_id_table_fini(*state);
    return 0;
}

static void
an_id_finds_its_object(void **state)
{
    rsl_id_table *table = *state;
    uint64_t first = add(table, &objects[0]);
    uint64_t second = add(table, &objects[1]);

    assert_ptr_equal(rsl_id_table_find(table, first), &objects[0]);
    assert_ptr_equal(rsl_id_table_find(table, second), &objects[1]);
    assert_int_equal(atomic_load(&table->count), 2);
}

static void
a_removed_id_stays_stale_when_its_slot_is_used_again(void **state)
{
    rsl_id_table *table = *state;
    uint64_t old = add(table, &objects[0]);
    uint64_t new;

    rsl_id_table_remove(table, old);
    assert_null(rsl_id_table_find(table, old));
    new = add(table, &objects[1]);
    assert_int_equal((uint32_t)old, (uint32_t)new);
    assert_null(rsl_id_table_find(table, old));
    assert_ptr_equal(rsl_id_table_find(table, new), &objects[1]);
}

static void
ids_that_never_were_find_nothing(void **state)
{
    rsl_id_table *table = *state;

    assert_null(rsl_id_table_find(table, 0));
    assert_null(rsl_id_table_find(table, RSL_ID_MASK));
    (void)add(table, &objects[0]);
    assert_null(rsl_id_table_find(table, 0));
    assert_null(rsl_id_table_find(table, RSL_ID_MASK));
    assert_null(rsl_id_table_find(table, UINT64_C(1) << 32 | 63));
    assert_null(rsl_id_table_find(table, UINT64_C(1) << 32 | 64));
}

static void
a_generation_that_overflows_starts_again_at_one(void **state)
{
    rsl_id_table *table = *state;
    uint64_t id = add(table, &objects[0]);

    table->segments[0][0].generation = (1u << 24) - 1;
    id = (uint64_t)table->segments[0][0].generation << 32 | (uint32_t)id;
    assert_ptr_equal(rsl_id_table_find(table, id), &objects[0]);
    rsl_id_table_remove(table, id);
    id = add(table, &objects[1]);
    assert_int_equal(id, UINT64_C(1) << 32);
}

static void
slots_do_not_move_when_the_table_grows(void **state)
{
    rsl_id_table *table = *state;
    uint64_t ids[20000];
    const rsl_id_slot *first;

    ids[0] = add(table, &objects[0]);
    first = &table->segments[0][0];
    for (int i = 1; i < 20000; i++) {
        ids[i] = add(table, &objects[i]);
    }
    assert_ptr_equal(first, &table->segments[0][0]);
    for (int i = 0; i < 20000; i++) {
        assert_ptr_equal(rsl_id_table_find(table, ids[i]), &objects[i]);
    }
    assert_true(table->cap >= 20000);
    assert_int_equal(atomic_load(&table->count), 20000);
}

/* Against a plain array, with a fixed seed. */
static void
any_order_of_adds_and_removes_keeps_the_table_right(void **state)
{
    rsl_id_table *table = *state;
    uint64_t ids[500] = {0}, gone[500] = {0};
    unsigned live = 0;

    srand(7);
    for (int step = 0; step < 50000; step++) {
        int i = rand() % 500;

        if (ids[i] == 0) {
            ids[i] = add(table, &objects[i]);
            assert_int_not_equal(ids[i], gone[i]);
            live++;
        } else {
            assert_ptr_equal(rsl_id_table_find(table, ids[i]), &objects[i]);
            rsl_id_table_remove(table, ids[i]);
            gone[i] = ids[i];
            ids[i] = 0;
            live--;
        }
        if (gone[i] != 0) {
            assert_null(rsl_id_table_find(table, gone[i]));
        }
    }
    assert_int_equal(atomic_load(&table->count), live);
    for (uint32_t slot = 0; slot < table->cap; slot++) {
        live -= rsl_id_table_at(table, slot) != NULL;
    }
    assert_int_equal(live, 0);
    assert_null(rsl_id_table_at(table, table->cap));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_id_finds_its_object),
        TEST(a_removed_id_stays_stale_when_its_slot_is_used_again),
        TEST(ids_that_never_were_find_nothing),
        TEST(a_generation_that_overflows_starts_again_at_one),
        TEST(slots_do_not_move_when_the_table_grows),
        TEST(any_order_of_adds_and_removes_keeps_the_table_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
