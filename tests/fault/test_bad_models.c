/* Models that are broken, hostile or not what they say: each is a clear error that names the thing, and never a crash. The formats' own
 * rules are tested with the readers; here a whole model is loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/tiny.h"

typedef struct bytes {
    uint8_t *data;
    size_t length;
} bytes;

static pv_runtime *runtime;
static char path[96], folder[80];

static bytes read_all(const char *from)
{
    bytes b = {0};
    FILE *file = fopen(from, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    b.length = (size_t)ftell(file);
    rewind(file);
    b.data = malloc(b.length);
    assert_int_equal(fread(b.data, 1, b.length, file), b.length);
    fclose(file);
    return b;
}

/* What was there is removed, not cut: of a file that is cut and written again some systems wait for the disk. */
static void write_all(const char *to, const void *data, size_t length)
{
    unlink(to);
    FILE *file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/pensieve-bad-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    return pv_runtime_create(&(pv_runtime_options){.threads = 1}, &runtime, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    pv_runtime_destroy(runtime);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static pv_status load(const char *from, const pv_model_options *options, pv_error *error)
{
    pv_model *model = NULL;
    memset(error, 0, sizeof *error);
    pv_status status = pv_model_load(runtime, from, options, &model, error);
    assert_int_equal(error->status, status);
    assert_true((model != NULL) == (status == PV_OK));
    pv_model_destroy(model);
    return status;
}

static void expect(const char *from, pv_status status, const char *says)
{
    pv_error error;
    pv_status found = load(from, NULL, &error);
    if (found != status) fail_msg("wanted %s, got %s: %s", pv_status_name(status), pv_status_name(found), error.message);
    if (strstr(error.message, says) == NULL) fail_msg("'%s' does not say '%s'", error.message, says);
}

/* The tiny model with one place changed: `needle` must be there; `replacement` has its length. */
static void expect_changed(const void *needle, size_t length, const void *replacement, pv_status status, const char *says)
{
    bytes b = read_all(tiny_path("Q4_0"));
    uint8_t *at = memmem(b.data, b.length, needle, length);
    assert_non_null(at);
    memcpy(at, replacement, length);
    write_all(path, b.data, b.length);
    free(b.data);
    expect(path, status, says);
}

static void names_and_numbers_that_do_not_fit_the_architecture(void **state)
{
    (void)state;
    /* a u32 in GGUF: key, type 4, value */
    static const struct {
        const char *key;
        uint32_t from, to;
        pv_status status;
        const char *says;
    } numbers[] = {
        {"llama.block_count", 2, 0, PV_BAD_FILE, "block_count is 0"},
        {"llama.block_count", 2, 3, PV_NOT_FOUND, "blk.2."},
        {"llama.block_count", 2, 1, PV_UNSUPPORTED, "blk.1."},
        {"llama.block_count", 2, 4000000000u, PV_BAD_FILE, "block_count"},
        {"llama.embedding_length", 64, 32, PV_BAD_FILE, "[288, 64]"},
        {"llama.embedding_length", 64, 4000000000u, PV_BAD_FILE, "embedding_length"},
        {"llama.attention.head_count", 4, 0, PV_BAD_FILE, "head_count is 0"},
        {"llama.attention.head_count", 4, 3, PV_BAD_FILE, "heads"},
        {"llama.attention.head_count_kv", 2, 3, PV_BAD_FILE, "heads"},
        {"llama.attention.key_length", 16, 15, PV_BAD_FILE, "15"},
        {"llama.feed_forward_length", 128, 96, PV_BAD_FILE, "ffn_gate"},
        {"llama.rope.dimension_count", 16, 18, PV_BAD_FILE, "rope.dimension_count"},
        {"llama.context_length", 512, 0, PV_BAD_FILE, "context_length"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uint8_t needle[128], replacement[128];
        size_t length = strlen(numbers[i].key);
        uint32_t type = 4;
        memcpy(needle, numbers[i].key, length);
        memcpy(needle + length, &type, 4);
        memcpy(replacement, needle, length + 4);
        memcpy(needle + length + 4, &numbers[i].from, 4);
        memcpy(replacement + length + 4, &numbers[i].to, 4);
        expect_changed(needle, length + 8, replacement, numbers[i].status, numbers[i].says);
    }
    expect_changed("blk.1.ffn_up.weight", 19, "blk.1.ffn_uq.weight", PV_NOT_FOUND, "blk.1.ffn_up.weight");
    expect_changed("llama.block_count", 17, "llama.block_cound", PV_BAD_FILE, "block_count");
    expect_changed("general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", 37, "general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llamo", PV_UNSUPPORTED,
                   "llamo");
    expect_changed("gpt2", 4, "gptX", PV_UNSUPPORTED, "gptX");
}

static void weights_that_are_not_numbers(void **state)
{
    (void)state;
    pv_file *file = NULL;
    assert_int_equal(pv_file_open(runtime, tiny_path("Q4_0"), &file, NULL), PV_OK);
    for (size_t i = 0; i < pv_file_tensor_count(file); i++) {
        pv_tensor_info info;
        assert_int_equal(pv_file_tensor(file, i, &info, NULL), PV_OK);
        bytes b = read_all(tiny_path("Q4_0"));
        static const uint8_t nan_f16[] = {0x01, 0x7e}, inf_f32[] = {0, 0, 0x80, 0x7f};
        bool vector = strcmp(info.layout, "F32") == 0;
        /* the last block of the tensor: scale of 18 bytes, or an f32 */
        memcpy(b.data + info.offset + info.bytes - (vector ? 4 : 18), vector ? inf_f32 : nan_f16, vector ? 4 : 2);
        write_all(path, b.data, b.length);
        free(b.data);
        expect(path, PV_BAD_FILE, info.name);
        pv_error error;
        assert_int_equal(load(path, &(pv_model_options){.allow_non_finite = true}, &error), PV_OK);
    }
    pv_file_close(file);
}

static void files_cut_short_anywhere(void **state)
{
    (void)state;
    bytes b = read_all(tiny_path("Q4_0"));
    for (size_t length = 0; length < b.length; length += 1 + length / 97) {
        pv_error error;
        write_all(path, b.data, length);
        pv_status status = load(path, NULL, &error);
        assert_int_equal(status, PV_BAD_FILE);
        assert_true(error.message[0] != '\0');
    }
    free(b.data);
}

static void files_with_a_byte_changed_anywhere_in_the_header(void **state)
{
    (void)state;
    bytes b = read_all(tiny_path("Q8_0"));
    pv_file *file = NULL;
    pv_tensor_info first;
    assert_int_equal(pv_file_open(runtime, tiny_path("Q8_0"), &file, NULL), PV_OK);
    assert_int_equal(pv_file_tensor(file, 0, &first, NULL), PV_OK);
    uint64_t header = first.offset;
    pv_file_close(file);
    uint32_t random = 1;
    size_t refused = 0;
    for (uint64_t at = 0; at < header; at += 5) {
        random = random * 1664525u + 1013904223u;
        uint8_t kept = b.data[at];
        b.data[at] ^= (uint8_t)(1u << (random >> 29));
        write_all(path, b.data, b.length);
        pv_error error;
        refused += load(path, &(pv_model_options){.context = 64}, &error) != PV_OK;
        b.data[at] = kept;
    }
    assert_true(refused > 100);
    free(b.data);
}

static void files_that_cannot_be_had(void **state)
{
    (void)state;
    char absent[128];
    snprintf(absent, sizeof absent, "%s/absent.gguf", folder);
    expect(absent, PV_NOT_FOUND, "absent.gguf");
    expect(folder, PV_NOT_FOUND, folder); /* no model in it */
    expect("/dev/null", PV_IO, "/dev/null");
    if (geteuid() == 0) return; /* root reads everything */
    bytes b = read_all(tiny_path("Q4_0"));
    write_all(path, b.data, b.length);
    free(b.data);
    chmod(path, 0);
    expect(path, PV_IO, "denied");
    chmod(path, 0600);
}

static void what_does_not_fit_is_refused_with_numbers(void **state)
{
    (void)state;
    pv_error error;
    pv_budget budget;
    pv_model_options options = {.kv_bytes = 1ull << 46, .max_sequences = 256, .context = 512};
    assert_int_equal(pv_model_budget(runtime, tiny_path("Q4_0"), &options, &budget, &error), PV_OK);
    assert_int_equal(budget.total, budget.weights + budget.kv + budget.scratch + budget.other);
    /* more pages than all sequences can use are not taken */
    assert_true(budget.kv < 1ull << 32);
    options = (pv_model_options){.context = 1024};
    assert_int_equal(load(tiny_path("Q4_0"), &options, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "1024"));
    options = (pv_model_options){.kv_bytes = 5};
    assert_int_equal(load(tiny_path("Q4_0"), &options, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "kv_bytes"));
    options = (pv_model_options){.device = "metal:7"};
    assert_int_equal(load(tiny_path("Q4_0"), &options, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "metal:7"));
    assert_non_null(strstr(error.message, "cpu"));
}

static PV_BOOL stop_at_half(void *user, uint64_t done, uint64_t total)
{
    *(uint64_t *)user = done;
    return done < total / 2;
}

static void loading_can_be_cancelled(void **state)
{
    (void)state;
    pv_error error;
    uint64_t done = 0;
    pv_model_options options = {.progress = stop_at_half, .progress_user = &done};
    assert_int_equal(load(tiny_path("F32"), &options, &error), PV_CANCELLED);
    assert_true(done > 0);
}

/* Each of the most layers there may be looks for itself in a list of this length: looking for each entry anew would take hours. */
static void a_list_of_layers_that_is_very_long(void **state)
{
    enum { ENTRIES = 20000 };
    static const char before[] = "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"num_hidden_layers\": 1024, \"hidden_size\": 64, \"num_attention_heads\": 4,"
                                 "\"intermediate_size\": 64, \"vocab_size\": 128, \"num_experts\": 8, \"num_experts_per_tok\": 2, \"mlp_only_layers\": [";
    static const char header[] = "\x02\0\0\0\0\0\0\0{}";
    char config_path[128], weights_path[128], *config = malloc(sizeof before + 5 * ENTRIES + 8);
    size_t length = sizeof before - 1;
    (void)state;
    memcpy(config, before, length);
    for (int i = 0; i < ENTRIES; i++, length += 5) memcpy(config + length, "5000,", 5);
    memcpy(config + length, "5000]}", 6);
    snprintf(config_path, sizeof config_path, "%s/config.json", folder);
    snprintf(weights_path, sizeof weights_path, "%s/model.safetensors", folder);
    write_all(config_path, config, length + 6);
    write_all(weights_path, header, sizeof header - 1);
    expect(folder, PV_NOT_FOUND, "has no tensor model.embed_tokens.weight");
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers_that_do_not_fit_the_architecture),
        cmocka_unit_test(weights_that_are_not_numbers),
        cmocka_unit_test(files_cut_short_anywhere),
        cmocka_unit_test(files_with_a_byte_changed_anywhere_in_the_header),
        cmocka_unit_test(files_that_cannot_be_had),
        cmocka_unit_test(what_does_not_fit_is_refused_with_numbers),
        cmocka_unit_test(loading_can_be_cancelled),
        cmocka_unit_test(a_list_of_layers_that_is_very_long),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
