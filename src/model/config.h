/* A model's settings: one interface over GGUF metadata and config.json. */
#ifndef PV_MODEL_CONFIG_H
#define PV_MODEL_CONFIG_H

#include "format/source.h"
#include "model/flat.h"

/* What a configuration's class fills in where config.json leaves it out. */
typedef struct pv_config_default {
    const char *name;
    double value;
} pv_config_default;

typedef struct pv_config {
    pv_source *source;
    const char *prefix; /* GGUF: "llama" */
    pv_flat flat;       /* SafeTensors: config.json */
    bool gguf;
    const pv_config_default *defaults; /* SafeTensors: up to one without a name; NULL: none */
} pv_config;

/* Names stand in pairs: that in GGUF without its prefix, and that in config.json. "a|b" is a, or b where a is absent; "" is never there. */
pv_status pv_config_number(const pv_config *config, const char *gguf, const char *huggingface, double *value, bool *found, pv_error *error);
/* A whole number in [low, high]; `missing` where it is absent, and 0 there means that it must not be. */
pv_status pv_config_count(const pv_config *config, const char *gguf, const char *huggingface, uint32_t low, uint32_t high, uint32_t missing,
                          uint32_t *out, pv_error *error);
/* A real number in [low, high]. */
pv_status pv_config_real(const pv_config *config, const char *gguf, const char *huggingface, double low, double high, double missing,
                         double *out, pv_error *error);
/* Text, cut to fit; empty if absent. */
pv_status pv_config_text(const pv_config *config, const char *gguf, const char *huggingface, char out[64], pv_error *error);

#endif
