#include "text/template_iterator.h"

#include <string.h>

static pv_status next_of_list(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    (void)run;
    const tmpl_list *list = iterator->source.list;
    *done = iterator->at >= list->count;
    if (!*done) *item = list->items[iterator->at++];
    return PV_OK;
}

static pv_status next_of_string(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    const tmpl_string *string = iterator->source.string;
    *done = iterator->at >= string->length;
    return *done ? PV_OK : tmpl_character(run, string, iterator->at, &iterator->at, item);
}

static pv_status next_of_dict(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    const tmpl_dict *dict = iterator->source.dict;
    *done = iterator->at >= dict->count;
    if (*done) return PV_OK;
    const tmpl_entry *entry = &dict->entries[iterator->at++];
    int part = iterator->source.type == TMPL_VIEW ? iterator->source.detail : TMPL_VIEW_KEYS;
    if (part == TMPL_VIEW_ITEMS) return tmpl_new_pair(run, entry->key, entry->value, item);
    *item = part == TMPL_VIEW_KEYS ? entry->key : entry->value;
    return PV_OK;
}

static pv_status next_of_range(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    (void)run;
    const tmpl_range *range = iterator->source.range;
    *done = (int64_t)iterator->at >= range->count;
    if (!*done) *item = tmpl_int(range->start + range->step * (int64_t)iterator->at++);
    return PV_OK;
}

static pv_status next_of_nothing(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    (void)run, (void)iterator, (void)item;
    *done = true;
    return PV_OK;
}

typedef pv_status (*next_function)(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done);

static const next_function next_of[TMPL_TYPE_COUNT] = {
    [TMPL_UNDEFINED] = next_of_nothing, [TMPL_STRING] = next_of_string, [TMPL_LIST] = next_of_list,
    [TMPL_TUPLE] = next_of_list,        [TMPL_DICT] = next_of_dict,     [TMPL_VIEW] = next_of_dict,
    [TMPL_RANGE] = next_of_range,
};

bool tmpl_is_iterable(tmpl_value value)
{
    return value.type == TMPL_ITERATOR || next_of[value.type];
}

pv_status tmpl_iterate(tmpl_run *run, tmpl_value value, tmpl_iterator **out)
{
    *out = value.iterator;
    if (value.type == TMPL_ITERATOR) return PV_OK;
    if (!next_of[value.type]) return tmpl_fail(run, "'%s' object is not iterable", tmpl_type_name(value.type));
    tmpl_iterator *iterator = tmpl_arena_alloc(&run->arena, sizeof *iterator);
    if (!iterator) return tmpl_no_memory(run);
    *iterator = (tmpl_iterator){.next = next_of[value.type], .source = value};
    *out = iterator;
    if (value.type != TMPL_STRING || !value.string->safe) return PV_OK;
    /* What `safe` gave is no longer safe once it is taken apart. */
    pv_status status = tmpl_substring(run, value.string, 0, value.string->length, &iterator->source);
    if (status == PV_OK) iterator->source.string->safe = false;
    return status;
}

pv_status tmpl_next(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    pv_status status = tmpl_charge(run, 1);
    *done = false;
    if (status != PV_OK) return status;
    if (run->depth >= TMPL_MAX_DEPTH) return tmpl_too_deep(run);
    run->depth++;
    status = iterator->next(run, iterator, item, done);
    run->depth--;
    return status;
}

pv_status tmpl_collect(tmpl_run *run, tmpl_value value, tmpl_value *list)
{
    tmpl_iterator *iterator;
    tmpl_value item;
    bool done = false, sequence = value.type == TMPL_LIST || value.type == TMPL_TUPLE;
    pv_status status = tmpl_new_list(run, TMPL_LIST, sequence ? value.list->count : 0, list);
    if (status != PV_OK) return status;
    if (sequence) {
        if (value.list->count) memcpy(list->list->items, value.list->items, value.list->count * sizeof item);
        list->list->count = value.list->count;
        return tmpl_charge(run, value.list->count);
    }
    if ((status = tmpl_iterate(run, value, &iterator)) != PV_OK) return status;
    for (;;) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) return status;
        if ((status = tmpl_list_add(run, list->list, item)) != PV_OK) return status;
    }
}

pv_status tmpl_length(tmpl_run *run, tmpl_value value, int64_t *length, bool *known)
{
    size_t characters;
    pv_status status = PV_OK;
    *known = true;
    switch (value.type) {
    case TMPL_UNDEFINED: *length = 0; break;
    case TMPL_STRING:
        status = tmpl_characters(run, value.string, &characters);
        *length = status == PV_OK ? (int64_t)characters : 0;
        break;
    case TMPL_LIST:
    case TMPL_TUPLE: *length = (int64_t)value.list->count; break;
    case TMPL_DICT:
    case TMPL_VIEW: *length = (int64_t)value.dict->count; break;
    case TMPL_RANGE: *length = value.range->count; break;
    default: *known = false;
    }
    return status;
}
