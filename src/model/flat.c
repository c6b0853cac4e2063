#include "model/flat.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_ENTRIES 65536
#define MAX_PATH 512

typedef struct walk {
    pv_json json;
    char path[MAX_PATH];
    size_t length[PV_JSON_MAX_DEPTH + 1]; /* of the path above each open container */
    uint32_t index[PV_JSON_MAX_DEPTH + 1];
    uint32_t depth;
} walk;

static void set_leaf(walk *w, const char *name, size_t length)
{
    size_t base = w->length[w->depth];
    snprintf(w->path + base, MAX_PATH - base, "%s%.*s", base > 0 ? "." : "", (int)(length < MAX_PATH ? length : MAX_PATH), name);
}

static pv_status add(pv_flat *flat, const walk *w, pv_error *error)
{
    static const char *const spelling[] = {[PV_JSON_TRUE] = "true", [PV_JSON_FALSE] = "false", [PV_JSON_NULL] = "null"};
    const pv_json *json = &w->json;
    if (flat->count >= MAX_ENTRIES)
        return pv_fail_at(error, PV_BAD_FILE, flat->file, json->start, "%s: more than %d values", flat->file, MAX_ENTRIES);
    if (!pv_grow(flat->text.allocator, (void **)&flat->entries, &flat->capacity, flat->count + 1, sizeof *flat->entries))
        return pv_fail_memory(error, sizeof *flat->entries, flat->file);
    pv_flat_entry *entry = &flat->entries[flat->count++];
    entry->type = json->type;
    entry->number = 0;
    if (json->type == PV_JSON_NUMBER) {
        pv_status status = pv_json_double(json, &entry->number, error);
        if (status != PV_OK) return status;
    }
    entry->path = flat->text.length;
    pv_bytes_add(&flat->text, w->path, strlen(w->path) + 1);
    entry->value = flat->text.length;
    if (json->type == PV_JSON_STRING || json->type == PV_JSON_NUMBER)
        pv_bytes_add(&flat->text, json->string, json->string_length);
    else
        pv_bytes_add(&flat->text, spelling[json->type], strlen(spelling[json->type]));
    pv_bytes_add(&flat->text, "", 1);
    return flat->text.failed ? pv_fail_memory(error, json->string_length, flat->file) : PV_OK;
}

static void open_container(walk *w)
{
    w->depth++;
    w->length[w->depth] = strlen(w->path);
    w->index[w->depth] = 0;
}

pv_status pv_flat_read(const pv_allocator *allocator, const char *text, size_t length, const char *file, pv_flat *flat, pv_error *error)
{
    *flat = (pv_flat){.file = file};
    pv_bytes_init(&flat->text, allocator);
    walk w = {.depth = 0};
    bool array[PV_JSON_MAX_DEPTH + 1] = {false};
    pv_json_init(&w.json, allocator, text, length, file);
    pv_status status;
    while ((status = pv_json_next(&w.json, error)) == PV_OK && w.json.type != PV_JSON_END) {
        /* the reader has already entered or left a container when it hands out its bracket: keep kinds of our own */
        pv_json_type type = w.json.type;
        bool element = w.depth > 0 && array[w.depth] && type != PV_JSON_ARRAY_END;
        if (element) {
            char number[16];
            snprintf(number, sizeof number, "%u", w.index[w.depth]++);
            set_leaf(&w, number, strlen(number));
        }
        if (type == PV_JSON_KEY) {
            set_leaf(&w, w.json.string, w.json.string_length);
        } else if (type == PV_JSON_OBJECT || type == PV_JSON_ARRAY) {
            open_container(&w);
            array[w.depth] = type == PV_JSON_ARRAY;
        } else if (type == PV_JSON_OBJECT_END || type == PV_JSON_ARRAY_END) {
            w.depth--;
        } else if ((status = add(flat, &w, error)) != PV_OK) {
            break;
        }
    }
    pv_json_free(&w.json);
    if (status != PV_OK) pv_flat_free(flat);
    return status;
}

void pv_flat_free(pv_flat *flat)
{
    if (flat->text.allocator != NULL) pv_free(flat->text.allocator, flat->entries);
    pv_bytes_free(&flat->text);
    *flat = (pv_flat){0};
}

const char *pv_flat_value(const pv_flat *flat, const pv_flat_entry *entry)
{
    return flat->text.data + entry->value;
}

const char *pv_flat_path(const pv_flat *flat, const pv_flat_entry *entry)
{
    return flat->text.data + entry->path;
}

const pv_flat_entry *pv_flat_find(const pv_flat *flat, const char *path)
{
    for (size_t i = 0; i < flat->count; i++)
        if (strcmp(pv_flat_path(flat, &flat->entries[i]), path) == 0) return &flat->entries[i];
    return NULL;
}

pv_status pv_flat_number(const pv_flat *flat, const char *path, double *value, bool *found, pv_error *error)
{
    const pv_flat_entry *entry = pv_flat_find(flat, path);
    *found = entry != NULL && entry->type != PV_JSON_NULL;
    if (!*found) return PV_OK;
    if (entry->type != PV_JSON_NUMBER)
        return pv_fail_at(error, PV_BAD_FILE, flat->file, PV_NO_OFFSET, "%s: %s is '%.64s', a number is wanted", flat->file, path,
                          pv_flat_value(flat, entry));
    *value = entry->number;
    return PV_OK;
}

const char *pv_flat_string(const pv_flat *flat, const char *path)
{
    const pv_flat_entry *entry = pv_flat_find(flat, path);
    return entry != NULL && entry->type == PV_JSON_STRING ? pv_flat_value(flat, entry) : NULL;
}

bool pv_flat_true(const pv_flat *flat, const char *path)
{
    const pv_flat_entry *entry = pv_flat_find(flat, path);
    return entry != NULL && entry->type == PV_JSON_TRUE;
}
