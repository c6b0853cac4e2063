/* Filters that take a sequence and give a value. */
#include "text/template_filter.h"

#include <string.h>

/* ---- Attributes by path ---- */

static bool is_number(const tmpl_string *text, int64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text->length; i++) {
        if (text->data[i] < '0' || text->data[i] > '9' || i > 17) return false;
        *number = *number * 10 + (text->data[i] - '0');
    }
    return text->length > 0;
}

static pv_status add_part(tmpl_run *run, tmpl_list *parts, const tmpl_string *text, size_t from, size_t to)
{
    tmpl_value part;
    int64_t number;
    pv_status status = tmpl_substring(run, text, from, to, &part);
    if (status != PV_OK) return status;
    return tmpl_list_add(run, parts, is_number(part.string, &number) ? tmpl_int(number) : part);
}

pv_status tmpl_make_path(tmpl_run *run, tmpl_value attribute, tmpl_path *path)
{
    tmpl_value parts;
    pv_status status = tmpl_new_list(run, TMPL_LIST, 0, &parts);
    *path = (tmpl_path){.otherwise = {.type = TMPL_MISSING}};
    if (status == PV_OK && attribute.type == TMPL_STRING) {
        const tmpl_string *text = attribute.string;
        size_t start = 0;
        status = tmpl_charge_slow_bytes(run, text->length);
        for (size_t at = 0; at <= text->length && status == PV_OK; at++) {
            if (at < text->length && text->data[at] != '.') continue;
            status = add_part(run, parts.list, text, start, at);
            start = at + 1;
        }
    } else if (status == PV_OK && tmpl_given(attribute)) {
        status = tmpl_list_add(run, parts.list, attribute);
    }
    path->parts = parts.list->items;
    path->count = parts.list->count;
    return status;
}

pv_status tmpl_follow_path(tmpl_run *run, const tmpl_path *path, tmpl_value item, tmpl_value *out)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < path->count && status == PV_OK; i++) {
        tmpl_value found;
        status = tmpl_get_item(run, item, path->parts[i], &found);
        item = status == PV_OK && found.type == TMPL_UNDEFINED && tmpl_given(path->otherwise) ? path->otherwise : found;
    }
    *out = item;
    if (status != PV_OK || !path->lower || item.type != TMPL_STRING) return status;
    return tmpl_change_case(run, item.string, CASE_LOWER, out);
}

/* ---- Simple ones ---- */

pv_status tmpl_filter_length(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    int64_t length;
    bool known;
    pv_status status = tmpl_length(run, input->self, &length, &known);
    if (status != PV_OK) return status;
    if (!known) return tmpl_fail(run, "object of type '%s' has no len()", tmpl_type_name(input->self.type));
    *out = tmpl_int(length);
    return PV_OK;
}

pv_status tmpl_filter_list(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return tmpl_collect(run, input->self, out);
}

pv_status tmpl_filter_first(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_iterator *iterator;
    bool done;
    pv_status status = tmpl_iterate(run, input->self, &iterator);
    if (status == PV_OK) status = tmpl_next(run, iterator, out, &done);
    if (status == PV_OK && done) *out = tmpl_undefined("No first item, sequence was empty.");
    return status;
}

pv_status tmpl_filter_last(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value all = input->self;
    int64_t length;
    bool known;
    pv_status status = tmpl_length(run, all, &length, &known);
    if (status != PV_OK) return status;
    if (!known) return tmpl_fail(run, "last: a '%s' cannot be reversed", tmpl_type_name(all.type));
    if (length == 0) {
        *out = tmpl_undefined("No last item, sequence was empty.");
        return PV_OK;
    }
    if (all.type == TMPL_DICT || all.type == TMPL_VIEW) {
        if ((status = tmpl_collect(run, all, &all)) != PV_OK) return status;
    }
    return tmpl_get_item(run, all, tmpl_int(length - 1), out);
}

pv_status tmpl_filter_join(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *separator = NULL;
    tmpl_path path;
    tmpl_iterator *iterator;
    tmpl_builder builder;
    tmpl_value item;
    bool done;
    pv_status status = tmpl_make_path(run, input->argument[1], &path);
    if (status == PV_OK && input->argument[0].type != TMPL_MISSING)
        status = tmpl_to_string(run, input->argument[0], &separator);
    if (status == PV_OK) status = tmpl_iterate(run, input->self, &iterator);
    if (status != PV_OK) return status;
    tmpl_builder_init(&builder, run);
    for (bool first = true; status == PV_OK; first = false) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if ((status = tmpl_follow_path(run, &path, item, &item)) != PV_OK) break;
        if (!first && separator) tmpl_add_string(&builder, separator);
        tmpl_add_str(&builder, item);
        status = builder.status;
    }
    return status == PV_OK ? tmpl_finish(&builder, out) : status;
}

pv_status tmpl_filter_sum(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_path path;
    tmpl_iterator *iterator;
    tmpl_value item, sum = input->argument[1].type == TMPL_MISSING ? tmpl_int(0) : input->argument[1];
    bool done;
    if (sum.type == TMPL_STRING) return tmpl_fail(run, "sum cannot add strings");
    pv_status status = tmpl_make_path(run, input->argument[0], &path);
    if (status == PV_OK) status = tmpl_iterate(run, input->self, &iterator);
    while (status == PV_OK) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        status = tmpl_follow_path(run, &path, item, &item);
        if (status == PV_OK) status = tmpl_arithmetic(run, OP_ADD, sum, item, &sum);
    }
    *out = sum;
    return status;
}

/* min, or max with option 1: the first of equal ones. */
pv_status tmpl_filter_extreme(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_path path;
    tmpl_iterator *iterator;
    tmpl_value item, key, best_key = {.type = TMPL_MISSING};
    bool done, better;
    pv_status status = tmpl_make_path(run, input->argument[1], &path);
    path.lower = !tmpl_truth(input->argument[0]);
    *out = tmpl_undefined("No aggregated item, sequence was empty.");
    if (status == PV_OK) status = tmpl_iterate(run, input->self, &iterator);
    while (status == PV_OK) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if ((status = tmpl_follow_path(run, &path, item, &key)) != PV_OK) break;
        better = best_key.type == TMPL_MISSING;
        if (!better) status = input->option ? tmpl_less(run, best_key, key, &better) : tmpl_less(run, key, best_key, &better);
        if (status == PV_OK && better) {
            best_key = key;
            *out = item;
        }
    }
    return status;
}

/* ---- Sorting ---- */

/* The comma-separated paths of sort(attribute="a,b.c"). */
static pv_status make_paths(tmpl_run *run, tmpl_value attribute, bool lower, tmpl_path **paths, size_t *count)
{
    size_t commas = 0, start = 0, made = 0;
    const tmpl_string *text = attribute.type == TMPL_STRING ? attribute.string : NULL;
    pv_status status = tmpl_charge_slow_bytes(run, text ? text->length : 0);
    if (status != PV_OK) return status;
    for (size_t i = 0; text && i < text->length; i++) commas += text->data[i] == ',';
    if (!(*paths = tmpl_arena_alloc(&run->arena, (commas + 1) * sizeof **paths))) return tmpl_no_memory(run);
    *count = commas + 1;
    if (!text) {
        status = tmpl_make_path(run, attribute, *paths);
        (*paths)->lower = lower;
        return status;
    }
    for (size_t at = 0; at <= text->length && status == PV_OK; at++) {
        tmpl_value part;
        if (at < text->length && text->data[at] != ',') continue;
        if ((status = tmpl_substring(run, text, start, at, &part)) != PV_OK) return status;
        status = tmpl_make_path(run, part, &(*paths)[made]);
        (*paths)[made++].lower = lower;
        start = at + 1;
    }
    return status;
}

/* `reverse`: left out, or an integer. */
static pv_status want_reverse(tmpl_run *run, tmpl_value value, bool *reverse)
{
    int64_t integer;
    pv_status status = tmpl_want_integer(run, value, 0, &integer);
    *reverse = integer != 0;
    return status;
}

pv_status tmpl_filter_sort(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_path *paths;
    tmpl_value keys;
    size_t count = 0;
    bool reverse;
    pv_status status = make_paths(run, input->argument[2], !tmpl_truth(input->argument[1]), &paths, &count);
    if (status == PV_OK) status = want_reverse(run, input->argument[0], &reverse);
    if (status == PV_OK) status = tmpl_collect(run, input->self, out);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, out->list->count, &keys);
    for (size_t i = 0; status == PV_OK && i < out->list->count; i++) {
        tmpl_value key, part;
        if ((status = tmpl_new_list(run, TMPL_LIST, count, &key)) != PV_OK) break;
        for (size_t p = 0; p < count && status == PV_OK; p++) {
            status = tmpl_follow_path(run, &paths[p], out->list->items[i], &part);
            if (status == PV_OK) status = tmpl_list_add(run, key.list, part);
        }
        if (status == PV_OK) status = tmpl_list_add(run, keys.list, key);
    }
    if (status != PV_OK) return status;
    return tmpl_sort(run, keys.list->items, out->list->items, out->list->count, reverse);
}

pv_status tmpl_filter_dictsort(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_dict *dict = input->self.dict;
    tmpl_value keys, by = input->argument[1];
    tmpl_path path = {.otherwise = {.type = TMPL_MISSING}, .lower = !tmpl_truth(input->argument[0])};
    bool reverse, values = by.type == TMPL_STRING && tmpl_is_text(by.string, "value");
    if (input->self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, input->self);
    if (input->self.type != TMPL_DICT) return tmpl_fail(run, "dictsort wants a dict, got %s", tmpl_type_name(input->self.type));
    if (by.type != TMPL_MISSING && !values && !(by.type == TMPL_STRING && tmpl_is_text(by.string, "key")))
        return tmpl_fail(run, "dictsort: you can only sort by either \"key\" or \"value\"");
    pv_status status = want_reverse(run, input->argument[2], &reverse);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, dict->count, out);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, dict->count, &keys);
    for (size_t i = 0; status == PV_OK && i < dict->count; i++) {
        tmpl_value pair, key;
        status = tmpl_new_pair(run, dict->entries[i].key, dict->entries[i].value, &pair);
        if (status == PV_OK) status = tmpl_list_add(run, out->list, pair);
        if (status == PV_OK) status = tmpl_follow_path(run, &path, pair.list->items[values], &key);
        if (status == PV_OK) status = tmpl_list_add(run, keys.list, key);
    }
    if (status != PV_OK) return status;
    return tmpl_sort(run, keys.list->items, out->list->items, out->list->count, reverse);
}

static pv_status add_group(tmpl_run *run, const tmpl_path *path, tmpl_value items, tmpl_list *groups)
{
    tmpl_value key, group;
    pv_status status = tmpl_follow_path(run, path, items.list->items[0], &key);
    if (status == PV_OK) status = tmpl_new_pair(run, key, items, &group);
    if (status != PV_OK) return status;
    group.detail = 1; /* has the attributes grouper and list */
    return tmpl_list_add(run, groups, group);
}

pv_status tmpl_filter_groupby(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_path path, plain;
    tmpl_value all, keys, key, group = {.type = TMPL_MISSING};
    bool same;
    pv_status status = tmpl_make_path(run, input->argument[0], &path);
    path.otherwise = input->argument[1];
    plain = path;
    path.lower = !tmpl_truth(input->argument[2]);
    if (status == PV_OK) status = tmpl_collect(run, input->self, &all);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, all.list->count, &keys);
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_LIST, 0, out);
    for (size_t i = 0; status == PV_OK && i < all.list->count; i++) {
        if ((status = tmpl_follow_path(run, &path, all.list->items[i], &key)) == PV_OK)
            status = tmpl_list_add(run, keys.list, key);
    }
    if (status == PV_OK) status = tmpl_sort(run, keys.list->items, all.list->items, all.list->count, false);
    for (size_t i = 0; status == PV_OK && i < all.list->count; i++) {
        same = false;
        if (i) status = tmpl_equal(run, keys.list->items[i - 1], keys.list->items[i], &same);
        if (status == PV_OK && i && !same) status = add_group(run, &plain, group, out->list);
        if (status == PV_OK && !same) status = tmpl_new_list(run, TMPL_LIST, 0, &group);
        if (status == PV_OK) status = tmpl_list_add(run, group.list, all.list->items[i]);
    }
    return status == PV_OK && group.type == TMPL_LIST ? add_group(run, &plain, group, out->list) : status;
}
