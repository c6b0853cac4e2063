/* float sums[N] = {[0 ... N - 1] = 0}; is clang's; g++ does not know it in C++. It becomes an empty initialiser and a loop. */
#include "msl/unit.h"

/* Elements of { … }: all must be [first ... last] = value. */
static bool all_ranges(const sm_unit *unit, uint32_t open)
{
    uint32_t end = sm_partner(unit, open);
    bool fresh = true, any = false;
    for (uint32_t i = open + 1; i < end; i = sm_skip(unit, i)) {
        if (fresh && !sm_at(unit, i, "[")) return false;
        if (fresh && !sm_at(unit, sm_partner(unit, i) + 1, "=")) return false;
        fresh = sm_at(unit, i, ",");
        any = true;
    }
    return any;
}

static uint32_t dots(const sm_unit *unit, uint32_t open)
{
    for (uint32_t i = open + 1; i < sm_partner(unit, open); i = sm_skip(unit, i)) {
        if (sm_at(unit, i, "...")) return i;
    }
    return SM_NO_TOKEN;
}

/* The name in `name[…][…] = {`, from the =. */
static uint32_t array_name(const sm_unit *unit, uint32_t equals)
{
    uint32_t at = equals;
    while (at > 0 && sm_at(unit, at - 1, "]")) at = sm_partner(unit, at - 1);
    return at > 0 && at < equals && sm_named(unit, at - 1) ? at - 1 : SM_NO_TOKEN;
}

static void put_loop(sm_unit *unit, sm_text *loops, uint32_t name, uint32_t bracket, uint32_t end)
{
    uint32_t close = sm_partner(unit, bracket), middle = dots(unit, bracket);
    const char *first = sm_range_text(unit, bracket + 1, (middle != SM_NO_TOKEN ? middle : close) - 1);
    const char *last = middle != SM_NO_TOKEN ? sm_range_text(unit, middle + 1, close - 1) : first;
    sm_text_printf(loops, " for (int sm_i = %s; sm_i <= %s; sm_i++) %s[sm_i] = %s;", first, last, sm_token_text(unit, name),
                   sm_range_text(unit, close + 2, end - 1));
}

static void rewrite(sm_unit *unit, uint32_t open)
{
    uint32_t end = sm_partner(unit, open),
             name = open > 1 && sm_at(unit, open - 1, "=") ? array_name(unit, open - 1) : SM_NO_TOKEN;
    if (name == SM_NO_TOKEN || !sm_at(unit, end + 1, ";") || !all_ranges(unit, open)) return;
    sm_text loops = {0};
    uint32_t first = open + 1;
    for (uint32_t i = first; first < end; i = sm_skip(unit, i)) {
        if (i < end && !sm_at(unit, i, ",")) continue;
        put_loop(unit, &loops, name, first, i);
        first = i + 1;
        if (i >= end) break;
    }
    sm_drop(unit, open + 1, end - 1);
    unit->tokens.list[end + 1].after = sm_arena_take(&unit->arena, &loops);
}

bool sm_rewrite_initialisers(sm_unit *unit)
{
    for (uint32_t i = 0; i + 1 < unit->tokens.count; i++) {
        bool range =
            sm_at(unit, i, "{") && sm_at(unit, i + 1, "[") && !sm_is_attribute(unit, i + 1) && dots(unit, i + 1) != SM_NO_TOKEN;
        if (range && !unit->tokens.list[i].dropped) rewrite(unit, i);
    }
    return !unit->arena.failed;
}
