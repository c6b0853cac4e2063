/* GGUF metadata: values as they stand in the file, and their conversions. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "format/source_internal.h"

static const struct {
    uint8_t bytes; /* of one value; 0: its length is stated in the file */
    bool is_integer, is_signed;
    const char *name;
} types[] = {
    [PV_META_U8] = {1, true, false, "u8"},
    [PV_META_I8] = {1, true, true, "i8"},
    [PV_META_U16] = {2, true, false, "u16"},
    [PV_META_I16] = {2, true, true, "i16"},
    [PV_META_U32] = {4, true, false, "u32"},
    [PV_META_I32] = {4, true, true, "i32"},
    [PV_META_F32] = {4, false, true, "f32"},
    [PV_META_BOOL] = {1, false, false, "bool"},
    [PV_META_STRING] = {0, false, false, "a string"},
    [PV_META_ARRAY] = {0, false, false, "an array"},
    [PV_META_U64] = {8, true, false, "u64"},
    [PV_META_I64] = {8, true, true, "i64"},
    [PV_META_F64] = {8, false, true, "f64"},
};

bool pv_meta_type_is_known(uint32_t type)
{
    return type < sizeof types / sizeof *types;
}

uint32_t pv_meta_type_bytes(pv_meta_type type)
{
    return types[type].bytes;
}

/* The bits of one number, little-endian, sign-extended for signed integers. */
static uint64_t load_bits(pv_meta_type type, const uint8_t *data)
{
    uint32_t bytes = types[type].bytes;
    uint64_t bits = 0;
    for (uint32_t i = 0; i < bytes; i++) bits |= (uint64_t)data[i] << 8 * i;
    if (types[type].is_integer && types[type].is_signed && bytes < 8 && bits >> (8 * bytes - 1))
        bits |= UINT64_MAX << 8 * bytes;
    return bits;
}

static double load_number(pv_meta_type type, const uint8_t *data)
{
    uint64_t bits = load_bits(type, data);
    if (type == PV_META_F32) {
        uint32_t narrow = (uint32_t)bits;
        float value;
        memcpy(&value, &narrow, sizeof value);
        return (double)value;
    }
    if (type == PV_META_F64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return types[type].is_signed ? (double)(int64_t)bits : (double)bits;
}

static pv_status fail_kind(const pv_source *source, const pv_meta *meta, const char *wanted, pv_error *error)
{
    const char *file = source->files[0].name;
    const uint8_t *base = source->header ? source->header : source->files[0].mapping.bytes;
    uint64_t offset = (uint64_t)(meta->data - base);
    if (types[meta->type].bytes == 0)
        return pv_fail_at(error, PV_BAD_FILE, file, offset, "%s: metadata %s at offset %llu: found %s of %llu, wanted %s", file,
                          meta->key, (unsigned long long)offset, types[meta->type].name, (unsigned long long)meta->count,
                          wanted);
    return pv_fail_at(error, PV_BAD_FILE, file, offset, "%s: metadata %s at offset %llu: found %g (%s), wanted %s", file,
                      meta->key, (unsigned long long)offset, load_number(meta->type, meta->data), types[meta->type].name,
                      wanted);
}

size_t pv_source_meta_count(const pv_source *source)
{
    return source->meta_count;
}

const pv_meta *pv_source_meta_at(const pv_source *source, size_t index)
{
    return &source->metas[index];
}

const pv_meta *pv_source_meta(const pv_source *source, const char *key)
{
    uint32_t index;
    return pv_map_find(&source->meta_map, key, strlen(key), &index) ? &source->metas[index] : NULL;
}

pv_status pv_meta_u64(const pv_source *source, const char *key, uint64_t *value, bool *found, pv_error *error)
{
    const pv_meta *meta = pv_source_meta(source, key);
    *found = false;
    if (!meta) return PV_OK;
    uint64_t bits = types[meta->type].is_integer ? load_bits(meta->type, meta->data) : 0;
    if (!types[meta->type].is_integer || (types[meta->type].is_signed && (int64_t)bits < 0))
        return fail_kind(source, meta, "an integer of at least 0", error);
    *value = bits;
    *found = true;
    return PV_OK;
}

pv_status pv_meta_f64(const pv_source *source, const char *key, double *value, bool *found, pv_error *error)
{
    const pv_meta *meta = pv_source_meta(source, key);
    *found = false;
    if (!meta) return PV_OK;
    if (types[meta->type].bytes == 0 || meta->type == PV_META_BOOL) return fail_kind(source, meta, "a number", error);
    *value = load_number(meta->type, meta->data);
    *found = true;
    return PV_OK;
}

pv_status pv_meta_bool(const pv_source *source, const char *key, bool *value, bool *found, pv_error *error)
{
    const pv_meta *meta = pv_source_meta(source, key);
    *found = false;
    if (!meta) return PV_OK;
    if (meta->type != PV_META_BOOL) return fail_kind(source, meta, "a bool", error);
    *value = meta->data[0] != 0;
    *found = true;
    return PV_OK;
}

pv_status pv_meta_string(const pv_source *source, const char *key, const char **text, size_t *length, bool *found,
                         pv_error *error)
{
    const pv_meta *meta = pv_source_meta(source, key);
    *found = false;
    if (!meta) return PV_OK;
    if (meta->type != PV_META_STRING) return fail_kind(source, meta, "a string", error);
    *text = (const char *)meta->data;
    *length = (size_t)meta->count;
    *found = true;
    return PV_OK;
}

bool pv_meta_next_string(const pv_meta *meta, uint64_t *cursor, const char **text, size_t *length)
{
    if (meta->type != PV_META_ARRAY || meta->element != PV_META_STRING || *cursor >= meta->data_bytes) return false;
    uint64_t bytes = load_bits(PV_META_U64, meta->data + *cursor); /* inside: checked when the file was opened */
    *text = (const char *)meta->data + *cursor + 8;
    *length = (size_t)bytes;
    *cursor += 8 + bytes;
    return true;
}

double pv_meta_number(const pv_meta *meta, uint64_t index)
{
    pv_meta_type type = meta->type == PV_META_ARRAY ? meta->element : meta->type;
    if (types[type].bytes == 0 || index >= meta->count) return NAN;
    return load_number(type, meta->data + index * types[type].bytes);
}
