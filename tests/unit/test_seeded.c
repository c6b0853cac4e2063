/* Weights from a seed: values that NumPy made (tests/golden/seeded.py prints them). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "format/seeded.h"

static const struct {
    const char *name;
    uint64_t cols, first, key; /* seed 42 */
    float centre, scale, weights[4];
} pinned[] = {
    {"model.embed_tokens.weight",
     64,
     0u,
     0x5d962ffb37fe8a24u,
     0x0.0p+0f,
     0x1.0000000000000p+0f,
     {-0x1.afc0180000000p-1f, 0x1.2aeed00000000p-2f, 0x1.fcf1d40000000p-1f, 0x1.6bae2c0000000p-1f}},
    {"model.embed_tokens.weight",
     64,
     1000000007u,
     0x5d962ffb37fe8a24u,
     0x0.0p+0f,
     0x1.0000000000000p+0f,
     {-0x1.2d28e80000000p-1f, 0x1.28c8c40000000p-1f, 0x1.0d11200000000p-4f, 0x1.77cff80000000p-2f}},
    {"model.layers.0.input_layernorm.weight",
     64,
     0u,
     0x571b88203f5c95f6u,
     0x1.0000000000000p+0f,
     0x1.99999a0000000p-4f,
     {0x1.170a960000000p+0f, 0x1.f9eefe0000000p-1f, 0x1.0fd4560000000p+0f, 0x1.d243820000000p-1f}},
    {"model.layers.0.input_layernorm.weight",
     64,
     1000000007u,
     0x571b88203f5c95f6u,
     0x1.0000000000000p+0f,
     0x1.99999a0000000p-4f,
     {0x1.08153c0000000p+0f, 0x1.ce8b000000000p-1f, 0x1.d51ae60000000p-1f, 0x1.1158e60000000p+0f}},
    {"model.layers.0.self_attn.q_proj.bias",
     64,
     0u,
     0x53a03a1ba12fe314u,
     0x0.0p+0f,
     0x1.99999a0000000p-4f,
     {-0x1.6c299a0000000p-5f, -0x1.8d53f40000000p-6f, 0x1.f676140000000p-5f, -0x1.0319ce0000000p-7f}},
    {"model.layers.0.self_attn.q_proj.bias",
     64,
     1000000007u,
     0x53a03a1ba12fe314u,
     0x0.0p+0f,
     0x1.99999a0000000p-4f,
     {0x1.4ba0860000000p-5f, 0x1.ffde660000000p-9f, 0x1.8f10660000000p-4f, 0x1.3e6ce60000000p-5f}},
    {"model.layers.1.mlp.down_proj.weight",
     576,
     0u,
     0xd6ec48fd21761182u,
     0x0.0p+0f,
     0x1.279a740000000p-4f,
     {0x1.389d1e0000000p-6f, 0x1.09057a0000000p-6f, 0x1.ed9dae0000000p-5f, -0x1.061ae20000000p-4f}},
    {"model.layers.1.mlp.down_proj.weight",
     576,
     1000000007u,
     0xd6ec48fd21761182u,
     0x0.0p+0f,
     0x1.279a740000000p-4f,
     {-0x1.19f1900000000p-4f, 0x1.f0d9b00000000p-5f, 0x1.a827740000000p-6f, 0x1.597b6c0000000p-9f}},
};

static void keys_ranges_and_weights_are_those_of_numpy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++) {
        float centre, scale, weights[4];
        assert_true(pv_seeded_key(42, pinned[i].name) == pinned[i].key);
        pv_seeded_range(pinned[i].name, pinned[i].cols, &centre, &scale);
        assert_memory_equal(&centre, &pinned[i].centre, sizeof centre);
        assert_memory_equal(&scale, &pinned[i].scale, sizeof scale);
        pv_seeded_fill(pinned[i].key, pinned[i].first, 4, centre, scale, weights);
        assert_memory_equal(weights, pinned[i].weights, sizeof weights);
    }
}

static void a_tensor_may_be_made_in_parts(void **state)
{
    float whole[1000], parts[1000];
    uint64_t key = pv_seeded_key(7, "model.layers.3.mlp.up_proj.weight");
    (void)state;
    pv_seeded_fill(key, 0, 1000, 0, 0.25f, whole);
    for (size_t first = 0; first < 1000; first += 125) pv_seeded_fill(key, first, 125, 0, 0.25f, parts + first);
    assert_memory_equal(whole, parts, sizeof whole);
    for (int i = 0; i < 1000; i++) assert_true(whole[i] >= -0.25f && whole[i] < 0.25f);
}

static void seeds_and_names_make_different_keys(void **state)
{
    (void)state;
    assert_true(pv_seeded_key(0, "") == 0xcbf29ce484222325u); /* FNV-1a of nothing */
    assert_true(pv_seeded_key(0, "a") == 0xaf63dc4c8601ec8cu);
    assert_true(pv_seeded_key(0, "foobar") == 0x85944171f73967e8u);
    assert_true(pv_seeded_key(1, "foobar") == (0x85944171f73967e8u ^ 0x9e3779b97f4a7c15u));
}

static void ranges_go_by_the_kind_of_tensor(void **state)
{
    static const struct {
        const char *name;
        float centre, scale;
    } cases[] = {
        {"norm.weight", 1, 0.1f},
        {"model.norm.weight", 1, 0.1f},
        {"model.layers.0.post_attention_layernorm.weight", 1, 0.1f},
        {"model.layers.0.self_attn.q_norm.weight", 1, 0.1f},
        {"model.layers.0.input_layernorm.bias", 0, 0.1f},
        {"model.embed_tokens.weight", 0, 1},
        {"lm_head.weight", 0, 0.5f},
        {"model.layers.0.self_attn.o_proj.weight", 0, 0.5f},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float centre = 9, scale = 9;
        pv_seeded_range(cases[i].name, 12, &centre, &scale); /* sqrt(3 / 12) = 1/2 */
        assert_true(centre == cases[i].centre && scale == cases[i].scale);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_ranges_and_weights_are_those_of_numpy),
        cmocka_unit_test(a_tensor_may_be_made_in_parts),
        cmocka_unit_test(seeds_and_names_make_different_keys),
        cmocka_unit_test(ranges_go_by_the_kind_of_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
