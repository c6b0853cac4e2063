#include "msl/generate.h"

#include "msl/datatype.h"

#include <string.h>

#define CHECK_LIMIT 64 /* entries */

typedef struct sm_writer {
    const sm_unit *unit;
    const sm_generation *generation;
    sm_arena *arena;
    sm_text *out;
    sm_placement *placements;
    uint32_t line, file;    /* as the compiler sees them */
    uint32_t physical_line; /* of the generated text */
    size_t line_start;      /* offset in it */
    bool *needed;           /* by constant */
} sm_writer;

static void count_lines(sm_writer *w, size_t from)
{
    for (size_t i = from; i < w->out->length; i++) {
        if (w->out->bytes[i] != '\n') continue;
        w->physical_line++;
        w->line_start = i + 1;
    }
}

static void quote(sm_text *out, const char *string)
{
    sm_text_put(out, "\"");
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') sm_text_put(out, "\\");
        if (*string == '\n')
            sm_text_put(out, "\\n");
        else
            sm_text_add(out, string, 1);
    }
    sm_text_put(out, "\"");
}

/* The compiler is told of a place only where counting newlines does not get there. */
static void go_to(sm_writer *w, const sm_token *token)
{
    size_t from = w->out->length;
    if (token->file == w->file && token->line >= w->line && token->line - w->line <= 8) {
        for (; w->line < token->line; w->line++) sm_text_put(w->out, "\n");
    } else {
        sm_text_printf(w->out, "\n#line %u ", token->line);
        quote(w->out, w->unit->tokens.files[token->file]);
        sm_text_put(w->out, "\n");
        w->line = token->line;
        w->file = token->file;
    }
    if (!w->out->failed) count_lines(w, from);
}

static void write_token(sm_writer *w, uint32_t index)
{
    const sm_token *token = &w->unit->tokens.list[index];
    if (token->dropped) return;
    go_to(w, token);
    bool space = token->space || token->before || (index > 0 && w->unit->tokens.list[index - 1].dropped);
    if (space && w->out->length > w->line_start) sm_text_put(w->out, " ");
    if (token->before) sm_text_put(w->out, token->before);
    if (w->placements) w->placements[index] = (sm_placement){w->physical_line, (uint32_t)(w->out->length - w->line_start + 1)};
    if (token->replacement)
        sm_text_put(w->out, token->replacement);
    else
        sm_text_add(w->out, w->unit->tokens.text + token->start, token->length);
    if (token->after) sm_text_put(w->out, token->after);
}

static const sm_constant_value *value_of(const sm_generation *g, const sm_constant *constant)
{
    for (size_t i = 0; i < g->value_count; i++) {
        const sm_constant_value *value = &g->values[i];
        if (value->name ? strcmp(value->name, constant->info.name) == 0 : value->index == constant->info.index) return value;
    }
    return NULL;
}

static bool write_constant(sm_writer *w, uint32_t index, const char **error)
{
    const sm_constant *c = &w->unit->constants[index];
    const sm_declaration *d = &w->unit->declarations[c->declaration];
    const sm_data_type *type = sm_data_type_of(c->info.type);
    go_to(w, &w->unit->tokens.list[d->name]);
    const char *name = c->info.name;
    if (w->generation->mode != SM_GENERATE_OBJECT) {
        /* As for Metal's front end: a constant whose value is not known yet. */
        const char *space = w->generation->mode == SM_GENERATE_STRICT ? "__constant " : "";
        sm_text_printf(w->out, " extern %sconst %s %s; extern %sconst bool sm_defined_%s;", space, c->type, name, space, name);
        return true;
    }
    const sm_constant_value *value = w->needed[index] ? value_of(w->generation, c) : NULL;
    if (value && value->type != c->info.type) {
        const sm_data_type *given = sm_data_type_of(value->type);
        *error = sm_arena_printf(w->arena, "function constant '%s' (index %u) is declared as %s; the value given is %s", name,
                                 c->info.index, c->type, given ? given->name : "of another type");
        return false;
    }
    if (!value && w->needed[index] && c->info.required) {
        *error = sm_arena_printf(w->arena, "function constant '%s' (index %u, %s) has no value", name, c->info.index, c->type);
        return false;
    }
    const char *literal =
        value ? sm_data_type_literal(w->arena, type, value->bytes) : sm_arena_printf(w->arena, "%s()", c->type);
    sm_text_printf(w->out, " static %s %s %s = %s; static constexpr bool sm_defined_%s = %s;",
                   type->components > 1 ? "const" : "constexpr", c->type, name, literal, name, value ? "true" : "false");
    return true;
}

/* A kernel that is not asked for is left out, unless something else calls it. A template costs nothing. */
static bool left_out(const sm_unit *unit, const sm_generation *g, uint32_t kernel)
{
    const sm_kernel_source *k = &unit->kernels[kernel];
    return g->entry != SM_NO_TOKEN && unit->entries[g->entry].kernel != kernel && !k->mentioned &&
           !unit->declarations[k->declaration].is_template;
}

static bool write_text(sm_writer *w, const char **error)
{
    const sm_unit *unit = w->unit;
    uint32_t constant = 0, kernel = 0;
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        while (constant < unit->constant_count && unit->declarations[unit->constants[constant].declaration].first == i) {
            if (!write_constant(w, constant, error)) return false;
            i = unit->declarations[unit->constants[constant++].declaration].last + 1;
        }
        if (kernel < unit->kernel_count && unit->declarations[unit->kernels[kernel].declaration].first == i) {
            uint32_t last = unit->declarations[unit->kernels[kernel].declaration].last;
            if (left_out(unit, w->generation, kernel++)) {
                i = last;
                continue;
            }
        }
        if (i < unit->tokens.count) write_token(w, i);
    }
    return true;
}

/* Checking thousands of instances takes minutes: then the first one of each template speaks for all, and the others are checked
 * when they are built. */
static bool chosen(const sm_unit *unit, const sm_generation *g, uint32_t entry)
{
    if (g->entry != SM_NO_TOKEN) return g->entry == entry;
    return g->mode != SM_GENERATE_CHECK || unit->entry_count <= CHECK_LIMIT ||
           unit->kernels[unit->entries[entry].kernel].first_entry == entry;
}

static void write_entry(sm_writer *w, uint32_t index)
{
    static const char *const kinds[] = {"SM_ARGUMENT_BUFFER", "SM_ARGUMENT_THREADGROUP", "SM_ARGUMENT_BUILTIN"};
    const sm_entry *entry = &w->unit->entries[index];
    const sm_kernel_source *kernel = &w->unit->kernels[entry->kernel];
    sm_text *out = w->out;
    sm_text_printf(out, "\n#line %u \"" SM_THUNK_FILE "\"\nstatic void sm_run_%u(const sm_lane *lane) { sm::call(%s, lane",
                   index + 1, index, entry->target);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const sm_parameter *p = &kernel->parameters[i];
        if (p->condition)
            sm_text_printf(out, ", sm::when(%s, %s)", p->condition, p->source);
        else
            sm_text_printf(out, ", %s", p->source);
    }
    sm_text_printf(out, "); } static const auto sm_arguments_%u = sm::describe(%s", index, entry->target);
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        const sm_parameter *p = &kernel->parameters[i];
        sm_text_put(out, ", sm::parameter{");
        quote(out, p->name);
        sm_text_printf(out, ", %s, %s, %s, %s}", kinds[p->kind], p->index, p->constant_space ? "true" : "false",
                       p->condition ? p->condition : "true");
    }
    sm_text_put(out, ");\n");
}

static void write_table(sm_writer *w)
{
    const sm_unit *unit = w->unit;
    sm_text *out = w->out;
    uint32_t count = 0;
    sm_text_put(out, "\n#line 1 \"" SM_THUNK_FILE "\"\nstatic sm_kernel sm_kernels[] = {\n");
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        const sm_entry *entry = &unit->entries[i];
        if (!chosen(unit, w->generation, i)) continue;
        sm_text_printf(out, "\n#line %u\n{", i + 1);
        quote(out, entry->name);
        sm_text_printf(out, ", sm_run_%u, sm_arguments_%u.arguments, sm_arguments_%u.count, %s, 0, %u},", i, i, i,
                       entry->max_threads ? entry->max_threads : "0",
                       unit->tokens.list[unit->declarations[entry->declaration].name].line);
        count++;
    }
    sm_text_put(out, "{nullptr, nullptr, nullptr, 0, 0, 0, 0}};\nstatic void sm_complete() {\n");
    uint32_t place = 0;
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        if (!chosen(unit, w->generation, i)) continue;
        sm_text_printf(out, "sm_kernels[%u].threadgroup_bytes = sm::threadgroup_bytes<%u> + sm::threadgroup_bytes<%u>;\n",
                       place++, unit->entries[i].kernel, unit->kernel_count);
    }
    sm_text_printf(out,
                   "}\nextern \"C\" __attribute__((visibility(\"default\"))) const sm_object_table " SM_OBJECT_SYMBOL
                   " = {SM_ABI, %d, sm_kernels, %u, &sm::services, sm_complete};\n",
                   w->generation->checked, count);
}

bool sm_generate(const sm_unit *unit, const sm_generation *generation, sm_arena *arena, sm_text *out, sm_placement *placements,
                 const char **error)
{
    sm_writer w = {.unit = unit,
                   .generation = generation,
                   .arena = arena,
                   .out = out,
                   .placements = placements,
                   .file = UINT32_MAX,
                   .physical_line = 1};
    w.needed = sm_arena_alloc(arena, unit->constant_count + 1);
    if (!w.needed) return false;
    for (uint32_t i = 0; i < unit->entry_count && generation->mode == SM_GENERATE_OBJECT; i++) {
        if (chosen(unit, generation, i)) sm_used_constants(unit, i, w.needed);
    }
    if (!write_text(&w, error)) return false;
    if (generation->mode == SM_GENERATE_STRICT) return !out->failed && !arena->failed;
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        if (chosen(unit, generation, i)) write_entry(&w, i);
    }
    write_table(&w);
    return !out->failed && !arena->failed;
}
