#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Name number i of "a|b"; false beyond the last. */
static bool name_at(const char *names, uint32_t i, char out[96])
{
    for (; i > 0 && names != NULL; i--) names = strchr(names, '|') != NULL ? strchr(names, '|') + 1 : NULL;
    if (names == NULL || names[0] == '\0') return false;
    snprintf(out, 96, "%.*s", (int)strcspn(names, "|"), names);
    return true;
}

static pv_status number_in_gguf(const pv_config *c, const char *name, double *value, bool *found, pv_error *error)
{
    char key[192];
    snprintf(key, sizeof key, "%s.%s", c->prefix, name);
    const pv_meta *meta = pv_source_meta(c->source, key);
    if (meta != NULL && meta->type == PV_META_ARRAY)
        return pv_fail_at(error, PV_UNSUPPORTED, key, PV_NO_OFFSET, "%s differs from layer to layer, which this version cannot run", key);
    return pv_meta_f64(c->source, key, value, found, error);
}

static bool default_of(const pv_config *c, const char *names, double *value)
{
    char name[96];
    for (const pv_config_default *d = c->gguf ? NULL : c->defaults; d != NULL && d->name != NULL; d++) {
        for (uint32_t i = 0; name_at(names, i, name); i++) {
            if (strcmp(name, d->name) != 0) continue;
            *value = d->value;
            return true;
        }
    }
    return false;
}

pv_status pv_config_number(const pv_config *c, const char *gguf, const char *huggingface, double *value, bool *found, pv_error *error)
{
    char name[96];
    *found = false;
    for (uint32_t i = 0; !*found && name_at(c->gguf ? gguf : huggingface, i, name); i++) {
        const pv_status status = c->gguf ? number_in_gguf(c, name, value, found, error) : pv_flat_number(&c->flat, name, value, found, error);
        if (status != PV_OK) return status;
    }
    if (!*found) *found = default_of(c, huggingface, value);
    return PV_OK;
}

static bool is_told(const pv_config *c, const char *name)
{
    char key[192];
    snprintf(key, sizeof key, "%s.%s", c->prefix != NULL ? c->prefix : "", name);
    if (c->gguf) return pv_source_meta(c->source, key) != NULL;
    const pv_flat_entry *entry = pv_flat_find(&c->flat, name);
    return entry != NULL && entry->type != PV_JSON_NULL;
}

/* The name that a message tells: the one that the file has, else the first. */
static const char *name_told(const pv_config *c, const char *gguf, const char *huggingface, char out[96])
{
    const char *names = c->gguf ? gguf : huggingface;
    for (uint32_t i = 0; name_at(names, i, out); i++)
        if (is_told(c, out)) return out;
    if (!name_at(names, 0, out)) snprintf(out, 96, "a setting");
    return out;
}

pv_status pv_config_count(const pv_config *c, const char *gguf, const char *huggingface, uint32_t low, uint32_t high, uint32_t missing,
                          uint32_t *out, pv_error *error)
{
    double value = 0;
    bool found = false;
    char name[96];
    pv_status status = pv_config_number(c, gguf, huggingface, &value, &found, error);
    if (status != PV_OK) return status;
    if (!found && missing == 0)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is missing from the model's configuration",
                          c->gguf ? gguf : huggingface);
    if (!found) value = missing;
    if (!(value >= low && value <= high) || value != floor(value))
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is %g, a whole number from %u to %u is wanted",
                          name_told(c, gguf, huggingface, name), value, low, high);
    *out = (uint32_t)value;
    return PV_OK;
}

pv_status pv_config_real(const pv_config *c, const char *gguf, const char *huggingface, double low, double high, double missing, double *out,
                         pv_error *error)
{
    double value = missing;
    bool found = false;
    char name[96];
    pv_status status = pv_config_number(c, gguf, huggingface, &value, &found, error);
    if (status != PV_OK) return status;
    if (!(value >= low && value <= high))
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is %g, a number from %g to %g is wanted",
                          name_told(c, gguf, huggingface, name), value, low, high);
    *out = value;
    return PV_OK;
}

pv_status pv_config_text(const pv_config *c, const char *gguf, const char *huggingface, char out[64], pv_error *error)
{
    char name[96], key[192];
    out[0] = '\0';
    for (uint32_t i = 0; out[0] == '\0' && name_at(c->gguf ? gguf : huggingface, i, name); i++) {
        const char *text = NULL;
        size_t length = 0;
        bool found = false;
        snprintf(key, sizeof key, "%s.%s", c->prefix != NULL ? c->prefix : "", name);
        pv_status status = c->gguf ? pv_meta_string(c->source, key, &text, &length, &found, error) : PV_OK;
        if (status != PV_OK) return status;
        if (!c->gguf) text = pv_flat_string(&c->flat, name), length = text != NULL ? strlen(text) : 0;
        if (text != NULL) snprintf(out, 64, "%.*s", (int)(length < 63 ? length : 63), text);
    }
    return PV_OK;
}
