#include "model/mlx_names.h"

#include <stdio.h>
#include <string.h>

/* How names end: Hugging Face's, and which rows of it (pv_role.interleaved), and MLX's. */
static const struct {
    const char *huggingface;
    uint8_t interleaved;
    const char *mlx;
} endings[] = {
    {".experts.%u.gate_proj.weight", 0, ".switch_mlp.gate_proj.weight"},
    {".experts.%u.up_proj.weight", 0, ".switch_mlp.up_proj.weight"},
    {".experts.%u.down_proj.weight", 0, ".switch_mlp.down_proj.weight"},
    {".experts.%u.w1.weight", 0, ".switch_mlp.gate_proj.weight"},
    {".experts.%u.w3.weight", 0, ".switch_mlp.up_proj.weight"},
    {".experts.%u.w2.weight", 0, ".switch_mlp.down_proj.weight"},
    {".experts.gate_up_proj", 1, ".experts.gate_proj.weight"},
    {".experts.gate_up_proj", 2, ".experts.up_proj.weight"},
    {".experts.down_proj", 0, ".experts.down_proj.weight"},
    {".experts.gate_up_proj_bias", 1, ".experts.gate_proj.bias"},
    {".experts.gate_up_proj_bias", 2, ".experts.up_proj.bias"},
    {".experts.down_proj_bias", 0, ".experts.down_proj.bias"},
};

bool pv_mlx_name(const pv_source *source, const pv_role *role, uint32_t layer, char name[128])
{
    if (!role->experts || pv_source_get_kind(source) != PV_SOURCE_SAFETENSORS) return false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t length = strlen(role->huggingface), end = strlen(endings[i].huggingface);
        if (role->interleaved != endings[i].interleaved || length < end || strcmp(role->huggingface + length - end, endings[i].huggingface) != 0) continue;
        char pattern[128], found[128];
        snprintf(pattern, sizeof pattern, "%.*s%s", (int)(length - end), role->huggingface, endings[i].mlx);
        pv_role_name(pattern, layer, 0, found);
        if (pv_source_find(source, found) == NULL) return false;
        memcpy(name, found, sizeof found);
        return true;
    }
    return false;
}
