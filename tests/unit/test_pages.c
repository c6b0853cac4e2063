/* Pages: handed out once, shared by prefix, dropped least recently used first, and never lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/pages.h"

static pv_pages *make(uint32_t count)
{
    pv_allocator allocator = pv_allocator_default();
    static pv_allocator kept;
    kept = allocator;
    pv_pages *pages = NULL;
    assert_int_equal(pv_pages_create(&kept, count, &pages, NULL), PV_OK);
    return pages;
}

static void fill(int32_t tokens[PV_PAGE_TOKENS], int32_t value)
{
    for (int i = 0; i < PV_PAGE_TOKENS; i++) tokens[i] = value + i;
}

static void pages_are_handed_out_once_and_never_the_null_page(void **state)
{
    (void)state;
    pv_pages *pages = make(5);
    bool seen[5] = {false};
    for (int i = 0; i < 4; i++) {
        int32_t page = pv_pages_take(pages);
        assert_in_range(page, 1, 4);
        assert_false(seen[page]);
        seen[page] = true;
    }
    assert_int_equal(pv_pages_take(pages), PV_NO_PAGE);
    pv_pages_release(pages, 3);
    assert_int_equal(pv_pages_take(pages), 3);
    pv_pages_destroy(pages);
}

static void a_prefix_is_found_by_all_of_its_tokens(void **state)
{
    (void)state;
    pv_pages *pages = make(8);
    int32_t a[PV_PAGE_TOKENS], b[PV_PAGE_TOKENS];
    fill(a, 100), fill(b, 200);
    int32_t first = pv_pages_take(pages), second = pv_pages_take(pages);
    uint64_t root = pv_pages_publish(pages, first, PV_ROOT_SERIAL, a), serial = 0;
    uint64_t child = pv_pages_publish(pages, second, root, b);
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, a, &serial), first);
    assert_int_equal(serial, root);
    assert_int_equal(pv_pages_find(pages, root, b, &serial), second);
    assert_int_equal(serial, child);
    /* the same tokens behind another prefix are another page */
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, b, &serial), PV_NO_PAGE);
    a[31]++;
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, a, &serial), PV_NO_PAGE);
    pv_pages_destroy(pages);
}

static void publishing_a_known_key_keeps_the_first_page(void **state)
{
    (void)state;
    pv_pages *pages = make(8);
    int32_t a[PV_PAGE_TOKENS];
    fill(a, 1);
    int32_t first = pv_pages_take(pages), twin = pv_pages_take(pages);
    uint64_t serial = pv_pages_publish(pages, first, PV_ROOT_SERIAL, a), found = 0;
    assert_int_equal(pv_pages_publish(pages, twin, PV_ROOT_SERIAL, a), serial);
    pv_pages_release(pages, twin);
    assert_int_equal(pv_pages_cached(pages), 0); /* the twin was never published */
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, a, &found), first);
    pv_pages_destroy(pages);
}

static void cached_prefixes_lose_their_end_first(void **state)
{
    (void)state;
    pv_pages *pages = make(4); /* three pages */
    int32_t tokens[3][PV_PAGE_TOKENS], page[3];
    uint64_t serial = PV_ROOT_SERIAL, found;
    for (int i = 0; i < 3; i++) {
        fill(tokens[i], 1000 * i);
        page[i] = pv_pages_take(pages);
        serial = pv_pages_publish(pages, page[i], serial, tokens[i]);
    }
    for (int i = 3; i-- > 0;) pv_pages_release(pages, page[i]);
    assert_int_equal(pv_pages_cached(pages), 3);
    assert_int_equal(pv_pages_take(pages), page[2]); /* the end of the prefix makes room */
    uint64_t first_serial = 0;
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, tokens[0], &first_serial), page[0]);
    assert_int_equal(pv_pages_find(pages, first_serial, tokens[1], &found), page[1]);
    assert_int_equal(pv_pages_find(pages, found, tokens[2], &found), PV_NO_PAGE);
    pv_pages_destroy(pages);
}

static void forgetting_keeps_what_is_in_use(void **state)
{
    (void)state;
    pv_pages *pages = make(4);
    int32_t a[PV_PAGE_TOKENS], b[PV_PAGE_TOKENS];
    fill(a, 1), fill(b, 2);
    int32_t used = pv_pages_take(pages), idle = pv_pages_take(pages);
    uint64_t found;
    pv_pages_publish(pages, used, PV_ROOT_SERIAL, a);
    pv_pages_publish(pages, idle, PV_ROOT_SERIAL, b);
    pv_pages_release(pages, idle);
    pv_pages_forget(pages);
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, a, &found), PV_NO_PAGE);
    assert_int_equal(pv_pages_find(pages, PV_ROOT_SERIAL, b, &found), PV_NO_PAGE);
    assert_int_equal(pv_pages_free(pages), 2);
    pv_pages_release(pages, used);
    assert_int_equal(pv_pages_free(pages), 3);
    pv_pages_destroy(pages);
}

/* Against a plain model: every page is in exactly one state, and sums always agree. */
static void random_operations_never_lose_a_page(void **state)
{
    (void)state;
    enum { COUNT = 24, HELD = 64 };
    pv_pages *pages = make(COUNT);
    int32_t held[HELD];
    int users[COUNT] = {0};
    size_t held_count = 0;
    uint32_t random = 12345;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525u + 1013904223u;
        uint32_t choice = random >> 28, value = (random >> 8) % 6;
        int32_t tokens[PV_PAGE_TOKENS];
        uint64_t serial;
        fill(tokens, (int32_t)value);
        if (choice < 6 && held_count < HELD) {
            int32_t page = pv_pages_find(pages, PV_ROOT_SERIAL, tokens, &serial);
            if (page != PV_NO_PAGE)
                pv_pages_share(pages, page);
            else if ((page = pv_pages_take(pages)) != PV_NO_PAGE)
                assert_int_equal(users[page], 0);
            if (page == PV_NO_PAGE) continue;
            users[page]++;
            held[held_count++] = page;
        } else if (choice < 12 && held_count > 0) {
            size_t at = (random >> 4) % held_count;
            users[held[at]]--;
            pv_pages_release(pages, held[at]);
            held[at] = held[--held_count];
        } else if (choice < 15 && held_count > 0) {
            pv_pages_publish(pages, held[(random >> 4) % held_count], PV_ROOT_SERIAL, tokens);
        } else if (choice == 15) {
            pv_pages_forget(pages);
        }
        uint32_t in_use = 0;
        for (int p = 1; p < COUNT; p++) in_use += users[p] > 0;
        assert_int_equal(in_use + pv_pages_free(pages) + pv_pages_cached(pages), COUNT - 1);
    }
    pv_pages_destroy(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_handed_out_once_and_never_the_null_page),
        cmocka_unit_test(a_prefix_is_found_by_all_of_its_tokens),
        cmocka_unit_test(publishing_a_known_key_keeps_the_first_page),
        cmocka_unit_test(cached_prefixes_lose_their_end_first),
        cmocka_unit_test(forgetting_keeps_what_is_in_use),
        cmocka_unit_test(random_operations_never_lose_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
