/* Filters that give iterators: nothing happens before an item is asked for. */
#include "text/template_filter.h"

#include <string.h>

static tmpl_value as_value(tmpl_iterator *iterator) { return (tmpl_value){.type = TMPL_ITERATOR, .iterator = iterator}; }

/* ---- map, select, reject and their like ---- */

typedef struct applied_iterator {
    tmpl_iterator base;
    tmpl_iterator *items; /* NULL before the first item */
    const tmpl_builtin *function;
    tmpl_call call;
    tmpl_path path;
    int option;
} applied_iterator;

/* The caller's arguments lie on the stack of calls at work: copied to be kept. */
static pv_status keep_arguments(tmpl_run *run, const tmpl_call *call, size_t skipped, tmpl_call *kept)
{
    size_t count = call->count - skipped, size = sizeof *call->positional;
    tmpl_value *values = tmpl_arena_alloc(&run->arena, (count + call->named_count + 1) * size);
    if (!values) return tmpl_no_memory(run);
    memcpy(values, call->positional + skipped, count * size);
    memcpy(values + count, call->named, call->named_count * size);
    *kept = (tmpl_call){values, count, call->names, values + count, call->named_count};
    return PV_OK;
}

/* False: there is nothing to go through. As in Jinja, any false value is as good as an empty list. */
static pv_status start(tmpl_run *run, applied_iterator *applied, bool *done)
{
    *done = !applied->items && !tmpl_truth(applied->base.source);
    if (*done || applied->items) return PV_OK;
    return tmpl_iterate(run, applied->base.source, &applied->items);
}

static pv_status new_applied(tmpl_run *run, const tmpl_input *input, size_t skipped, applied_iterator **out)
{
    applied_iterator *applied = tmpl_arena_alloc(&run->arena, sizeof *applied);
    if (!applied) return tmpl_no_memory(run);
    *applied = (applied_iterator){.base = {.source = input->self}, .option = input->option};
    *out = applied;
    return keep_arguments(run, input->call, skipped, &applied->call);
}

static pv_status next_mapped(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    applied_iterator *applied = (applied_iterator *)iterator;
    pv_status status = start(run, applied, done);
    if (status == PV_OK && !*done) status = tmpl_next(run, applied->items, item, done);
    if (status != PV_OK || *done) return status;
    if (!applied->function) return tmpl_follow_path(run, &applied->path, *item, item);
    tmpl_value value = *item;
    if (run->depth >= TMPL_MAX_DEPTH) return tmpl_fail(run, "filters nested deeper than %d", TMPL_MAX_DEPTH);
    run->depth += 2;
    status = tmpl_call_builtin(run, applied->function, value, &applied->call, item);
    run->depth -= 2;
    return status;
}

/* map(attribute="a.b", default=x) */
static pv_status map_attribute(tmpl_run *run, const tmpl_call *call, applied_iterator *applied)
{
    tmpl_value attribute = {.type = TMPL_MISSING}, otherwise = {.type = TMPL_MISSING};
    for (size_t i = 0; i < call->named_count; i++) {
        if (tmpl_is_text(call->names[i], "attribute")) attribute = call->named[i];
        else if (tmpl_is_text(call->names[i], "default")) otherwise = call->named[i];
        else return tmpl_fail(run, "map takes no argument of that name with an attribute");
    }
    if (attribute.type == TMPL_MISSING) return tmpl_fail(run, "map requires a filter argument");
    pv_status status = tmpl_make_path(run, attribute, &applied->path);
    applied->path.otherwise = otherwise;
    return status;
}

pv_status tmpl_filter_map(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    applied_iterator *applied = NULL;
    const tmpl_call *call = input->call;
    pv_status status = new_applied(run, input, call->count ? 1 : 0, &applied);
    if (status != PV_OK) return status;
    applied->base.next = next_mapped;
    *out = as_value(&applied->base);
    if (!tmpl_truth(input->self)) return PV_OK;
    return call->count ? tmpl_find_named(run, call->positional[0], false, &applied->function) : map_attribute(run, call, applied);
}

static pv_status next_selected(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    applied_iterator *applied = (applied_iterator *)iterator;
    pv_status status = start(run, applied, done);
    while (status == PV_OK && !*done) {
        tmpl_value value, result;
        if ((status = tmpl_next(run, applied->items, item, done)) != PV_OK || *done) return status;
        if ((status = tmpl_follow_path(run, &applied->path, *item, &value)) != PV_OK) return status;
        result = value;
        if (run->depth >= TMPL_MAX_DEPTH) return tmpl_fail(run, "filters nested deeper than %d", TMPL_MAX_DEPTH);
        run->depth += 2;
        if (applied->function) status = tmpl_call_builtin(run, applied->function, value, &applied->call, &result);
        run->depth -= 2;
        if (status == PV_OK && tmpl_truth(result) != (bool)(applied->option & TMPL_SELECT_REJECT)) return PV_OK;
    }
    return status;
}

pv_status tmpl_filter_select(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    applied_iterator *applied = NULL;
    const tmpl_call *call = input->call;
    size_t attribute = (input->option & TMPL_SELECT_ATTRIBUTE) != 0;
    bool has_test = call->count > attribute;
    pv_status status = new_applied(run, input, has_test ? attribute + 1 : call->count, &applied);
    if (status != PV_OK) return status;
    applied->base.next = next_selected;
    *out = as_value(&applied->base);
    if (!tmpl_truth(input->self)) return PV_OK;
    if (attribute && !call->count) return tmpl_fail(run, "Missing parameter for attribute name");
    status = tmpl_make_path(run, attribute ? call->positional[0] : tmpl_none(), &applied->path);
    if (status != PV_OK || !has_test) return status;
    return tmpl_find_named(run, call->positional[attribute], true, &applied->function);
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
    if (input->self.type != TMPL_DICT) return tmpl_fail(run, "Can only get item pairs from a mapping, got %s", tmpl_type_name(input->self.type));
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
