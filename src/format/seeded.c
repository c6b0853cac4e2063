#include "format/seeded.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define GOLDEN 0x9E3779B97F4A7C15u /* 2^64 / golden ratio, splitmix64's step */

uint64_t pv_seeded_key(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash ^ seed * GOLDEN;
}

static uint64_t splitmix64(uint64_t state)
{
    state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    state = (state ^ state >> 27) * 0x94d049bb133111ebu;
    return state ^ state >> 31;
}

void pv_seeded_fill(uint64_t key, uint64_t first, size_t count, float centre, float scale, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = splitmix64(key + (first + i + 1) * GOLDEN);
        float unit = (float)((int32_t)(bits >> 40) - (1 << 23)) * 0x1p-23f;
        float scaled = scale * unit;
        out[i] = centre + scaled;
    }
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), wanted = strlen(suffix);
    return length >= wanted && memcmp(name + length - wanted, suffix, wanted) == 0;
}

void pv_seeded_range(const char *name, uint64_t cols, float *centre, float *scale)
{
    static const struct {
        const char *suffix;
        float centre, scale;
    } ranges[] = {{"norm.weight", 1, 0.1f}, {".bias", 0, 0.1f}, {"embed_tokens.weight", 0, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (!ends_with(name, ranges[i].suffix)) continue;
        *centre = ranges[i].centre;
        *scale = ranges[i].scale;
        return;
    }
    *centre = 0;
    *scale = (float)sqrt(3.0 / (double)(cols ? cols : 1));
}
