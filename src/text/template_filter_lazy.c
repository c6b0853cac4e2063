/* Filters that give iterators: nothing happens before an item is asked for. */
#include "text/template_filter.h"

#include <string.h>

static tmpl_value as_value(tmpl_iterator *iterator)
{
    return (tmpl_value){.type = TMPL_ITERATOR, .iterator = iterator};
}

/* ---- map, select, reject and their like ---- */

typedef struct applied_iterator {
    tmpl_iterator base;
    tmpl_iterator *items;         /* NULL before the first item */
    const tmpl_builtin *function; /* the filter or test to apply, or NULL */
    tmpl_call given, call;        /* what the filter was given; what of it is handed on to `function` */
    tmpl_path path;               /* looked up in each item */
    int option;
} applied_iterator;

static pv_status new_applied(tmpl_run *run, const tmpl_input *input, applied_iterator **out)
{
    const tmpl_call *call = input->call;
    applied_iterator *applied = tmpl_arena_alloc(&run->arena, sizeof *applied);
    size_t size = sizeof *call->positional;
    /* The caller's arguments lie on the stack of calls at work: copied to be kept. */
    tmpl_value *values = applied ? tmpl_arena_alloc(&run->arena, (call->count + call->named_count + 1) * size) : NULL;
    if (!values) return tmpl_no_memory(run);
    memcpy(values, call->positional, call->count * size);
    memcpy(values + call->count, call->named, call->named_count * size);
    *applied = (applied_iterator){.base = {.source = input->self}, .option = input->option};
    applied->given = (tmpl_call){values, call->count, call->names, values + call->count, call->named_count};
    *out = applied;
    return PV_OK;
}

/* Hands on all arguments but the first `skipped`. */
static void hand_on(applied_iterator *applied, size_t skipped)
{
    applied->call = applied->given;
    applied->call.positional += skipped;
    applied->call.count -= skipped;
}

/* map(attribute="a.b", default=x), or map("filter", arguments...) */
static pv_status prepare_map(tmpl_run *run, applied_iterator *applied)
{
    tmpl_value attribute = {.type = TMPL_MISSING}, otherwise = {.type = TMPL_MISSING};
    const tmpl_call *given = &applied->given;
    if (given->count) {
        hand_on(applied, 1);
        return tmpl_find_named(run, given->positional[0], false, &applied->function);
    }
    for (size_t i = 0; i < given->named_count; i++) {
        if (tmpl_is_text(given->names[i], "attribute"))
            attribute = given->named[i];
        else if (tmpl_is_text(given->names[i], "default"))
            otherwise = given->named[i];
        else
            return tmpl_fail(run, "map takes no argument of that name with an attribute");
    }
    if (attribute.type == TMPL_MISSING) return tmpl_fail(run, "map requires a filter argument");
    pv_status status = tmpl_make_path(run, attribute, &applied->path);
    applied->path.otherwise = otherwise;
    return status;
}

/* select("test", arguments...), selectattr("a.b", "test", arguments...) */
static pv_status prepare_select(tmpl_run *run, applied_iterator *applied)
{
    const tmpl_call *given = &applied->given;
    size_t attribute = (applied->option & TMPL_SELECT_ATTRIBUTE) != 0;
    if (attribute && !given->count) return tmpl_fail(run, "Missing parameter for attribute name");
    pv_status status = tmpl_make_path(run, attribute ? given->positional[0] : tmpl_none(), &applied->path);
    if (status != PV_OK || given->count == attribute) return status;
    hand_on(applied, attribute + 1);
    return tmpl_find_named(run, given->positional[attribute], true, &applied->function);
}

/* As in Jinja, any false value is as good as an empty list. */
static pv_status next_source(tmpl_run *run, applied_iterator *applied, tmpl_value *item, bool *done)
{
    pv_status status = PV_OK;
    if (!applied->items) {
        *done = !tmpl_truth(applied->base.source);
        if (*done) return PV_OK;
        status = applied->option & TMPL_SELECT_MAP ? prepare_map(run, applied) : prepare_select(run, applied);
        if (status == PV_OK) status = tmpl_iterate(run, applied->base.source, &applied->items);
    }
    return status == PV_OK ? tmpl_next(run, applied->items, item, done) : status;
}

static pv_status next_mapped(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    applied_iterator *applied = (applied_iterator *)iterator;
    pv_status status = next_source(run, applied, item, done);
    if (status != PV_OK || *done) return status;
    if (!applied->function) return tmpl_follow_path(run, &applied->path, *item, item);
    tmpl_value value = *item;
    return tmpl_call_builtin(run, applied->function, value, &applied->call, item);
}

static pv_status next_selected(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    applied_iterator *applied = (applied_iterator *)iterator;
    bool reject = applied->option & TMPL_SELECT_REJECT;
    for (;;) {
        tmpl_value value, result;
        pv_status status = next_source(run, applied, item, done);
        if (status != PV_OK || *done) return status;
        if ((status = tmpl_follow_path(run, &applied->path, *item, &value)) != PV_OK) return status;
        result = value;
        if (applied->function) status = tmpl_call_builtin(run, applied->function, value, &applied->call, &result);
        if (status != PV_OK || tmpl_truth(result) != reject) return status;
    }
}

pv_status tmpl_filter_apply(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    applied_iterator *applied = NULL;
    pv_status status = new_applied(run, input, &applied);
    if (status != PV_OK) return status;
    applied->base.next = input->option & TMPL_SELECT_MAP ? next_mapped : next_selected;
    *out = as_value(&applied->base);
    return PV_OK;
}

/* ---- unique ---- */

typedef struct unique_iterator {
    tmpl_iterator base;
    tmpl_iterator *items;
    tmpl_path path;
    tmpl_dict *seen;
} unique_iterator;

static pv_status next_unique(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    unique_iterator *unique = (unique_iterator *)iterator;
    pv_status status = PV_OK;
    while (status == PV_OK) {
        tmpl_value key;
        size_t count = unique->seen->count;
        if ((status = tmpl_next(run, unique->items, item, done)) != PV_OK || *done) break;
        if ((status = tmpl_follow_path(run, &unique->path, *item, &key)) != PV_OK) break;
        status = tmpl_dict_set(run, unique->seen, key, tmpl_none());
        if (unique->seen->count > count) break;
    }
    return status;
}

pv_status tmpl_filter_unique(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value seen;
    unique_iterator *unique = tmpl_arena_alloc(&run->arena, sizeof *unique);
    if (!unique) return tmpl_no_memory(run);
    *unique = (unique_iterator){.base = {.next = next_unique}};
    pv_status status = tmpl_new_dict(run, TMPL_DICT, &seen);
    if (status == PV_OK) status = tmpl_make_path(run, input->argument[1], &unique->path);
    if (status == PV_OK) status = tmpl_iterate(run, input->self, &unique->items);
    unique->path.lower = !tmpl_truth(input->argument[0]);
    if (status == PV_OK) unique->seen = seen.dict;
    *out = as_value(&unique->base);
    return status;
}

/* ---- Those whose items are all known at once ---- */

/* An iterator over a list, which unlike the list can be gone through once. */
static pv_status iterate_once(tmpl_run *run, tmpl_value list, tmpl_value *out)
{
    tmpl_iterator *iterator;
    pv_status status = tmpl_iterate(run, list, &iterator);
    if (status == PV_OK) *out = as_value(iterator);
    return status;
}

pv_status tmpl_filter_items(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value view = {.type = TMPL_VIEW, .detail = TMPL_VIEW_ITEMS, .dict = input->self.dict};
    if (input->self.type == TMPL_UNDEFINED) return iterate_once(run, input->self, out);
    if (input->self.type != TMPL_DICT)
        return tmpl_fail(run, "Can only get item pairs from a mapping, got %s", tmpl_type_name(input->self.type));
    return iterate_once(run, view, out);
}

pv_status tmpl_filter_reverse(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value all;
    if (input->self.type == TMPL_STRING) return tmpl_get_slice(run, input->self, tmpl_none(), tmpl_none(), tmpl_int(-1), out);
    pv_status status = tmpl_collect(run, input->self, &all);
    if (status != PV_OK) return status;
    for (size_t i = 0, j = all.list->count; i + 1 < j; i++) {
        tmpl_value swap = all.list->items[i];
        all.list->items[i] = all.list->items[--j];
        all.list->items[j] = swap;
    }
    *out = all;
    return input->self.type == TMPL_ITERATOR ? PV_OK : iterate_once(run, all, out);
}

static pv_status add_copies(tmpl_run *run, tmpl_list *list, tmpl_value value, int64_t upto)
{
    pv_status status = PV_OK;
    while (status == PV_OK && (int64_t)list->count < upto) status = tmpl_list_add(run, list, value);
    return status;
}

pv_status tmpl_filter_batch(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value all, batches, batch;
    int64_t size;
    pv_status status = tmpl_want_integer(run, input->argument[0], 0, &size);
    if (status == PV_OK) status = tmpl_collect(run, input->self, &all);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, 0, &batches);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, 0, &batch);
    for (size_t i = 0; status == PV_OK && i < all.list->count; i++) {
        if ((int64_t)batch.list->count == size) {
            if ((status = tmpl_list_add(run, batches.list, batch)) != PV_OK) break;
            if ((status = tmpl_new_list(run, TMPL_LIST, 0, &batch)) != PV_OK) break;
        }
        status = tmpl_list_add(run, batch.list, all.list->items[i]);
    }
    if (status == PV_OK && batch.list->count && tmpl_given(input->argument[1]))
        status = add_copies(run, batch.list, input->argument[1], size);
    if (status == PV_OK && batch.list->count) status = tmpl_list_add(run, batches.list, batch);
    return status == PV_OK ? iterate_once(run, batches, out) : status;
}

pv_status tmpl_filter_slice(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value all, slices, slice;
    int64_t count, at = 0;
    pv_status status = tmpl_want_integer(run, input->argument[0], 0, &count);
    if (status == PV_OK && count == 0) return tmpl_fail(run, "slice wants at least 1 slice");
    if (status == PV_OK) status = tmpl_collect(run, input->self, &all);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, 0, &slices);
    for (int64_t i = 0; status == PV_OK && i < count; i++) {
        int64_t length = (int64_t)all.list->count, size = length / count + (i < length % count);
        if ((status = tmpl_new_list(run, TMPL_LIST, 0, &slice)) != PV_OK) break;
        while (status == PV_OK && size--) status = tmpl_list_add(run, slice.list, all.list->items[at++]);
        if (status == PV_OK && tmpl_given(input->argument[1]) && i >= length % count)
            status = tmpl_list_add(run, slice.list, input->argument[1]);
        if (status == PV_OK) status = tmpl_list_add(run, slices.list, slice);
    }
    return status == PV_OK ? iterate_once(run, slices, out) : status;
}
