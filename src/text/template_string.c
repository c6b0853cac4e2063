/* Strings that know which of their bytes are input. */
#include "text/template_value.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/template_unicode.h"

tmpl_string *tmpl_new_string(tmpl_run *run, const char *data, size_t length)
{
    tmpl_string *string = tmpl_arena_alloc(&run->arena, sizeof *string);
    if (string) *string = (tmpl_string){.data = data, .length = length, .characters = SIZE_MAX};
    return string;
}

pv_status tmpl_text(tmpl_run *run, const char *data, size_t length, tmpl_value *out)
{
    tmpl_string *string = tmpl_new_string(run, data, length);
    if (!string) return tmpl_no_memory(run);
    *out = tmpl_str(string);
    return PV_OK;
}

pv_status tmpl_copy_text(tmpl_run *run, const char *data, size_t length, tmpl_value *out)
{
    char *copy = tmpl_arena_alloc(&run->arena, length + 1);
    if (!copy) return tmpl_no_memory(run);
    memcpy(copy, data, length);
    copy[length] = 0;
    return tmpl_text(run, copy, length, out);
}

/* The first span that ends behind `offset`. */
static uint32_t first_span(const tmpl_string *string, size_t offset)
{
    uint32_t low = 0, high = string->span_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (string->spans[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool tmpl_is_marked(const tmpl_string *string, size_t offset)
{
    if (string->marked || !string->span_count) return string->marked;
    uint32_t span = first_span(string, offset);
    return span < string->span_count && string->spans[span].start <= offset;
}

bool tmpl_any_marked(const tmpl_string *string)
{
    return string->length && (string->marked || string->span_count);
}

/* Spans of [from, to), counted from `from`. */
static pv_status cut_spans(tmpl_run *run, const tmpl_string *string, size_t from, size_t to, tmpl_string *part)
{
    uint32_t first = first_span(string, from), last = first;
    while (last < string->span_count && string->spans[last].start < to) last++;
    if (first == last || from == to) return PV_OK;
    if (last - first == 1 && string->spans[first].start <= from && string->spans[first].end >= to) {
        part->marked = true;
        return PV_OK;
    }
    pv_span *spans = tmpl_arena_alloc(&run->arena, (last - first) * sizeof *spans);
    if (!spans) return tmpl_no_memory(run);
    for (uint32_t i = first; i < last; i++) {
        spans[i - first].start = pv_max_size(string->spans[i].start, from) - from;
        spans[i - first].end = pv_min_size(string->spans[i].end, to) - from;
    }
    part->spans = spans;
    part->span_count = last - first;
    return tmpl_charge(run, last - first);
}

pv_status tmpl_substring(tmpl_run *run, const tmpl_string *string, size_t from, size_t to, tmpl_value *out)
{
    if (to < from) to = from;
    tmpl_string *part = tmpl_new_string(run, string->data + from, to - from);
    if (!part) return tmpl_no_memory(run);
    part->safe = string->safe;
    part->marked = string->marked;
    *out = tmpl_str(part);
    return string->span_count ? cut_spans(run, string, from, to, part) : PV_OK;
}

pv_status tmpl_character(tmpl_run *run, const tmpl_string *string, size_t from, size_t *next, tmpl_value *out)
{
    unsigned char first = (unsigned char)string->data[from];
    uint32_t code_point;
    size_t length = first < 0x80 ? 1 : pv_utf8_decode(string->data + from, string->length - from, &code_point);
    if (!length) length = 1;
    *next = from + length;
    if (first >= 0x80 || string->safe) return tmpl_substring(run, string, from, *next, out);
    bool marked = tmpl_is_marked(string, from);
    tmpl_string **single = &run->single[marked][first];
    if (!*single) {
        char *copy = tmpl_arena_alloc(&run->arena, 2);
        *single = copy ? tmpl_new_string(run, copy, 1) : NULL;
        if (!*single) return tmpl_no_memory(run);
        copy[0] = (char)first;
        copy[1] = 0;
        (*single)->marked = marked;
        (*single)->characters = 1;
    }
    *out = tmpl_str(*single);
    return PV_OK;
}

pv_status tmpl_characters(tmpl_run *run, tmpl_string *string, size_t *count)
{
    if (string->characters == SIZE_MAX) {
        size_t characters = 0;
        for (size_t i = 0; i < string->length; i++) characters += ((unsigned char)string->data[i] & 0xc0) != 0x80;
        string->characters = characters;
        pv_status status = tmpl_charge_bytes(run, string->length);
        if (status != PV_OK) return status;
    }
    *count = string->characters;
    return PV_OK;
}

pv_status tmpl_offset(tmpl_run *run, tmpl_string *string, size_t index, size_t *offset)
{
    size_t characters;
    pv_status status = tmpl_characters(run, string, &characters);
    if (status != PV_OK) return status;
    if (characters == string->length || index >= characters) {
        *offset = index >= characters ? string->length : index;
        return PV_OK;
    }
    size_t at = 0;
    for (size_t seen = 0; at < string->length; at++) {
        if (((unsigned char)string->data[at] & 0xc0) != 0x80 && seen++ == index) break;
    }
    *offset = at;
    return tmpl_charge_bytes(run, at * 4); /* byte for byte, unlike what memchr and memcpy do */
}

/* ---- Adding up ---- */

/* Text that grows at its end: `s = s + x` in a loop costs x, not s. Only the string that ends where the buffer is filled to may
 * be extended in place; others share its bytes and spans. Its last span may so come to reach beyond an older string's end. */
typedef struct tmpl_tail {
    size_t used, capacity;
    char *data;
    pv_span *spans;
    size_t span_count, span_capacity;
} tmpl_tail;

static void append_spans(const tmpl_string *from, size_t shift, pv_span *spans, size_t *count)
{
    pv_span whole = {0, from->length};
    const pv_span *parts = from->marked ? &whole : from->spans;
    for (size_t i = 0; i < (from->marked ? 1 : from->span_count); i++) {
        size_t start = parts[i].start + shift, end = pv_min_size(parts[i].end, from->length) + shift;
        if (*count && spans[*count - 1].end >= start)
            spans[*count - 1].end = end;
        else
            spans[(*count)++] = (pv_span){start, end};
    }
}

static pv_status join_spans(tmpl_run *run, const tmpl_string *a, const tmpl_string *b, tmpl_string *sum)
{
    if (!tmpl_any_marked(a) && !tmpl_any_marked(b)) return PV_OK;
    sum->marked = a->marked && b->marked;
    if (sum->marked) return PV_OK;
    tmpl_tail *tail = sum->tail;
    size_t kept = a->marked ? 1 : a->span_count, count = kept + (b->marked ? 1 : b->span_count);
    bool in_place =
        tail == a->tail && kept && a->spans == tail->spans && kept == tail->span_count && count <= tail->span_capacity;
    if (!in_place) {
        size_t capacity = a->tail ? 2 * count : count;
        tail->spans = tmpl_arena_alloc(&run->arena, capacity * sizeof *tail->spans);
        if (!tail->spans) return tmpl_no_memory(run);
        tail->span_capacity = capacity;
        kept = 0;
        append_spans(a, 0, tail->spans, &kept);
    }
    append_spans(b, a->length, tail->spans, &kept);
    tail->span_count = kept;
    sum->spans = tail->spans;
    sum->span_count = (uint32_t)kept;
    return tmpl_charge(run, in_place ? count - a->span_count : count);
}

static pv_status join_bytes(tmpl_run *run, const tmpl_string *a, const tmpl_string *b, tmpl_string *sum)
{
    tmpl_tail *tail = a->tail;
    if (tail && a->data + a->length == tail->data + tail->used && b->length <= tail->capacity - tail->used) {
        memcpy(tail->data + tail->used, b->data, b->length);
        tail->used += b->length;
        sum->data = a->data;
        sum->tail = tail;
        return tmpl_charge_bytes(run, b->length);
    }
    size_t capacity = tail ? 2 * sum->length : sum->length; /* room ahead only for what has grown before */
    tmpl_tail *fresh = tmpl_arena_alloc(&run->arena, sizeof *fresh);
    char *data = fresh ? tmpl_arena_alloc(&run->arena, capacity) : NULL;
    if (!data) return tmpl_no_memory(run);
    memcpy(data, a->data, a->length);
    memcpy(data + a->length, b->data, b->length);
    *fresh = (tmpl_tail){.used = sum->length, .capacity = capacity, .data = data};
    sum->data = data;
    sum->tail = fresh;
    return tmpl_charge_bytes(run, sum->length);
}

pv_status tmpl_concat(tmpl_run *run, const tmpl_string *a, const tmpl_string *b, tmpl_value *out)
{
    tmpl_string *sum = tmpl_new_string(run, a->data, a->length + b->length);
    if (!sum) return tmpl_no_memory(run);
    *out = tmpl_str(sum);
    if (!a->length || !b->length) {
        *sum = a->length ? *a : *b;
        sum->safe = a->safe || b->safe;
        return PV_OK;
    }
    sum->safe = a->safe || b->safe;
    if (a->characters != SIZE_MAX && b->characters != SIZE_MAX) sum->characters = a->characters + b->characters;
    pv_status status = join_bytes(run, a, b, sum);
    return status == PV_OK ? join_spans(run, a, b, sum) : status;
}

/* ---- Builder ---- */

void tmpl_builder_init(tmpl_builder *builder, tmpl_run *run)
{
    *builder = (tmpl_builder){.run = run};
}

/* The output's buffers come from the allocator, to be handed to the caller, but count like the arena's. */
static void *grow_root(tmpl_run *run, void *pointer, size_t old_size, size_t new_size)
{
    tmpl_arena *arena = &run->arena;
    arena->over_limit = new_size > arena->limit - arena->total;
    if (arena->over_limit) return NULL;
    void *moved = pv_resize(arena->allocator, pointer, 1, new_size);
    if (!moved) return NULL;
    arena->total += new_size - old_size;
    run->steps += (new_size - old_size) / TMPL_MEMORY_PER_STEP;
    return moved;
}

static bool grow_buffer(tmpl_builder *builder, void **pointer, size_t *capacity, size_t needed, size_t element)
{
    size_t wanted = pv_max_size(needed, pv_max_size(*capacity * 2, 64));
    void *grown = builder->root ? grow_root(builder->run, *pointer, *capacity * element, wanted * element)
                                : tmpl_arena_grow(&builder->run->arena, *pointer, *capacity * element, wanted * element);
    if (!grown) {
        builder->status = tmpl_no_memory(builder->run);
        return false;
    }
    *pointer = grown;
    *capacity = wanted;
    return true;
}

static void mark(tmpl_builder *builder, size_t start, size_t end)
{
    if (builder->span_count && builder->spans[builder->span_count - 1].end == start) {
        builder->spans[builder->span_count - 1].end = end;
        return;
    }
    void *spans = builder->spans;
    if (builder->span_count == builder->span_capacity &&
        !grow_buffer(builder, &spans, &builder->span_capacity, builder->span_count + 1, sizeof(pv_span)))
        return;
    builder->spans = spans;
    builder->spans[builder->span_count++] = (pv_span){start, end};
}

void tmpl_add(tmpl_builder *builder, const char *data, size_t length, bool marked)
{
    if (builder->status != PV_OK) return;
    builder->status = tmpl_charge_bytes(builder->run, length);
    if (builder->status != PV_OK || !length) return;
    if (length > PV_TEMPLATE_MAX_OUTPUT - builder->length) {
        builder->status = tmpl_fail(builder->run, "the template writes more than %u MiB", PV_TEMPLATE_MAX_OUTPUT >> 20);
        return;
    }
    if (length >= builder->capacity - builder->length) { /* one byte is kept free for a NUL */
        void *text = builder->data;
        if (!grow_buffer(builder, &text, &builder->capacity, builder->length + length + 1, 1)) return;
        builder->data = text;
    }
    memcpy(builder->data + builder->length, data, length);
    if (marked) mark(builder, builder->length, builder->length + length);
    builder->length += length;
}

void tmpl_add_part(tmpl_builder *builder, const tmpl_string *string, size_t from, size_t to)
{
    if (string->marked || !string->span_count) {
        tmpl_add(builder, string->data + from, to - from, string->marked);
        return;
    }
    size_t at = from;
    for (uint32_t i = first_span(string, from); i < string->span_count && string->spans[i].start < to; i++) {
        size_t start = pv_max_size(string->spans[i].start, from), end = pv_min_size(string->spans[i].end, to);
        tmpl_add(builder, string->data + at, start - at, false);
        tmpl_add(builder, string->data + start, end - start, true);
        at = end;
    }
    tmpl_add(builder, string->data + at, to - at, false);
}

void tmpl_add_char(tmpl_builder *builder, uint32_t code_point, bool marked)
{
    char bytes[4];
    tmpl_add(builder, bytes, pv_utf8_encode(code_point, bytes), marked);
}

void tmpl_add_escaped(tmpl_builder *builder, const tmpl_string *string)
{
    static const struct {
        char plain;
        const char *escaped;
    } escapes[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    size_t done = 0;
    if (builder->status == PV_OK) builder->status = tmpl_charge_slow_bytes(builder->run, string->length);
    for (size_t i = 0; i < string->length && builder->status == PV_OK; i++) {
        const char c = string->data[i];
        if (c > '>' || c < '"') continue; /* most: neither of them */
        for (size_t e = 0; e < sizeof escapes / sizeof *escapes; e++) {
            if (c != escapes[e].plain) continue;
            tmpl_add_part(builder, string, done, i);
            tmpl_add(builder, escapes[e].escaped, strlen(escapes[e].escaped), tmpl_is_marked(string, i));
            done = i + 1;
        }
    }
    tmpl_add_part(builder, string, done, string->length);
}

pv_status tmpl_finish(tmpl_builder *builder, tmpl_value *out)
{
    if (builder->status != PV_OK) return builder->status;
    tmpl_string *string = tmpl_new_string(builder->run, builder->length ? builder->data : "", builder->length);
    if (!string) return tmpl_no_memory(builder->run);
    bool whole = builder->span_count == 1 && builder->spans[0].start == 0 && builder->spans[0].end == builder->length;
    string->safe = builder->safe;
    string->marked = whole;
    if (!whole) {
        string->spans = builder->spans;
        string->span_count = (uint32_t)builder->span_count;
    }
    *out = tmpl_str(string);
    return PV_OK;
}
