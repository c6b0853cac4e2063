/* Address spaces are erased: a CPU has one. Attributes go with them. */
#include "msl/unit.h"

/* constant float table[4] at program scope is const; so is the second one of `constant float *constant p`. */
static void keep_const(sm_unit *unit, const sm_declaration *d)
{
    if (d->kind != SM_DECLARATION_VARIABLE || d->name == SM_NO_TOKEN) return;
    bool is_const = false;
    uint32_t constant = SM_NO_TOKEN;
    for (uint32_t i = d->specifiers; i < d->name; i = sm_skip(unit, i)) {
        if (sm_at(unit, i, "*") || sm_at(unit, i, "&")) {
            is_const = false;
            constant = SM_NO_TOKEN;
        }
        is_const |= sm_at(unit, i, "const") || sm_at(unit, i, "constexpr");
        if (sm_at(unit, i, "constant")) constant = i;
    }
    if (constant != SM_NO_TOKEN && !is_const) unit->tokens.list[constant].replacement = "const";
}

bool sm_rewrite_spaces(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) keep_const(unit, &unit->declarations[i]);
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (sm_is_attribute(unit, i)) {
            uint32_t end = sm_partner(unit, i);
            sm_drop(unit, i, end);
            i = end;
        } else if (sm_is_space(unit, i) && !unit->tokens.list[i].replacement) {
            unit->tokens.list[i].dropped = true;
        }
    }
    return !unit->arena.failed;
}
