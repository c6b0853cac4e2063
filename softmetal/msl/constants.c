/* Function constants: `constant bool wide [[function_constant(3)]];`. Each build gives them values; here they are found. */
#include "msl/datatype.h"
#include "msl/unit.h"

#include <string.h>

static bool is_qualifier(const sm_unit *unit, uint32_t at)
{
    return sm_is_space(unit, at) || sm_at(unit, at, "static") || sm_at(unit, at, "const") || sm_at(unit, at, "constexpr");
}

static const char *type_text(sm_unit *unit, const sm_declaration *d)
{
    sm_text text = {0};
    for (uint32_t i = d->specifiers; i < d->name; i = sm_is_attribute(unit, i) ? sm_skip(unit, i) : i + 1) {
        if (is_qualifier(unit, i) || sm_is_attribute(unit, i)) continue;
        if (text.length) sm_text_put(&text, " ");
        sm_text_put(&text, sm_token_text(unit, i));
    }
    return sm_arena_take(&unit->arena, &text);
}

static bool add_constant(sm_unit *unit, uint32_t declaration, uint32_t first, uint32_t last)
{
    const sm_declaration *d = &unit->declarations[declaration];
    int64_t index;
    if (d->name == SM_NO_TOKEN) return sm_refuse(unit, d->first, "a function constant without a name");
    if (d->initialiser != SM_NO_TOKEN)
        return sm_refuse(unit, d->initialiser, "function constant '%s' must not have an initialiser",
                         sm_token_text(unit, d->name));
    if (!sm_evaluate(unit, first, last, &index) || index < 0 || index > 65535) {
        return sm_refuse(unit, first, "the index of a function constant must be an integer from 0 to 65535");
    }
    const sm_data_type *type = sm_data_type_named(type_text(unit, d));
    if (!type)
        return sm_refuse(unit, d->specifiers, "function constant '%s' has type '%s'; it must be a scalar or a vector",
                         sm_token_text(unit, d->name), type_text(unit, d));
    for (uint32_t i = 0; i < unit->constant_count; i++) {
        if (unit->constants[i].info.index == index) {
            return sm_refuse(unit, first, "function constants '%s' and '%s' have the same index %lld",
                             unit->constants[i].info.name, sm_token_text(unit, d->name), (long long)index);
        }
    }
    if (!sm_grow(&unit->constants, unit->constant_count, &unit->constant_capacity, sizeof *unit->constants)) {
        unit->arena.failed = true;
        return false;
    }
    unit->constants[unit->constant_count++] = (sm_constant){
        .info = {.name = sm_token_text(unit, d->name), .index = (uint32_t)index, .type = type->code, .required = true},
        .declaration = declaration,
        .type = type->name,
    };
    return true;
}

/* is_function_constant_defined(name) becomes (sm_defined_name), which each build declares. */
static void rewrite_question(sm_unit *unit, uint32_t at)
{
    if (!sm_at(unit, at + 1, "(")) return;
    uint32_t name = sm_partner(unit, at + 1) - 1;
    for (uint32_t i = 0; i < unit->constant_count; i++) {
        if (!sm_at(unit, name, unit->constants[i].info.name)) continue;
        unit->constants[i].info.required = false;
        unit->tokens.list[at].dropped = true;
        unit->tokens.list[name].replacement = sm_arena_printf(&unit->arena, "sm_defined_%s", unit->constants[i].info.name);
        return;
    }
    sm_refuse(unit, name, "'%s' is not a function constant", sm_token_text(unit, name));
}

bool sm_find_constants(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        uint32_t first, last;
        if (d->kind != SM_DECLARATION_VARIABLE ||
            !sm_find_attribute(unit, d->first, d->last, "function_constant", &first, &last))
            continue;
        if (unit->scopes[d->scope].record)
            sm_refuse(unit, d->first, "a function constant must be declared at program scope");
        else
            add_constant(unit, i, first, last);
    }
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (sm_at(unit, i, "is_function_constant_defined")) rewrite_question(unit, i);
    }
    return !unit->arena.failed;
}
