/* The device's properties by world, libraries, functions with constants, pipelines, reflection, archives, counters, capture. */
#include "host_fixture.h"

#include <semaphore.h>
#include <unistd.h>

static const char *program;

static bool supports(id device, int64_t family)
{
    return SEND(BOOL, (int64_t), device, "supportsFamily:", family);
}

/* ---- Device */

static id device_of(const softmetal_world *world)
{
    host.set_world(world);
    id device = host.create_device();
    assert_non_null(device);
    return device;
}

static void default_world(void **state)
{
    (void)state;
    host.reset();
    void *pool = host.push_pool();
    id device = device_of(NULL), again = host.create_device();
    assert_ptr_equal(device, again); /* as on a Mac */
    assert_string_equal(text_of(get(device, "name")), "softmetal (software, not a GPU)");
    for (int64_t family = 1; family <= 9; family++) assert_true(supports(device, 1000 + family));
    assert_false(supports(device, 1010));
    assert_true(supports(device, 2002) && supports(device, 3003) && supports(device, 5001));
    assert_false(supports(device, 5002));
    assert_false(supports(device, 9999));
    assert_true(test(device, "hasUnifiedMemory"));
    assert_int_equal(number(device, "recommendedMaxWorkingSetSize"), UINT64_C(8) << 30);
    assert_int_equal(number(device, "maxBufferLength"), UINT64_C(4) << 30);
    assert_int_equal(number(device, "maxThreadgroupMemoryLength"), 32768);
    MTLSize most = SEND_STRUCT(MTLSize, (), device, "maxThreadsPerThreadgroup");
    assert_int_equal(most.width, 1024);
    assert_int_equal(most.height, 1024);
    assert_int_equal(most.depth, 1024);
    assert_true(number(device, "registryID") != 0);
    assert_int_equal(number(device, "maxTransferRate"), 0);
    assert_int_equal(number(device, "location"), 0);
    assert_true(test(device, "isHeadless"));
    assert_false(test(device, "isLowPower"));
    assert_false(test(device, "isRemovable"));
    assert_non_null(strstr(text_of(get(get(device, "architecture"), "name")), "softmetal"));
    assert_int_equal(((uint32_t (*)(void))find("CGMainDisplayID"))(), 0);
    release(device);
    release(again);
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
    assert_no_reports();
}

static void other_worlds(void **state)
{
    (void)state;
    host.reset();
    void *pool = host.push_pool();
    softmetal_world world = {.device_name = "M1 of a test",
                             .apple_family = 7,
                             .macos_major = 12,
                             .working_set = 1 << 30,
                             .max_buffer = 1 << 20,
                             .max_threads = 512,
                             .threadgroup_memory = 16384};
    id device = device_of(&world);
    assert_string_equal(text_of(get(device, "name")), "softmetal M1 of a test");
    assert_true(supports(device, 1007));
    assert_false(supports(device, 1008));
    assert_false(supports(device, 5001)); /* Metal 3 came with macOS 13 */
    assert_int_equal(SEND_STRUCT(MTLSize, (), device, "maxThreadsPerThreadgroup").width, 512);
    assert_int_equal(number(device, "recommendedMaxWorkingSetSize"), 1 << 30);
    softmetal_world discrete = {.discrete = true, .apple_family = 10, .macos_major = 26};
    id other = device_of(&discrete);
    assert_ptr_not_equal(device, other);
    assert_true(number(device, "registryID") != number(other, "registryID"));
    assert_false(test(other, "hasUnifiedMemory"));
    assert_false(supports(other, 1007));
    assert_true(supports(other, 2002));
    assert_int_equal(number(other, "location"), 1);
    softmetal_world newest = {.apple_family = 10, .macos_major = 26};
    id third = device_of(&newest);
    assert_true(supports(third, 1010) && supports(third, 5002));
    release(device);
    release(other);
    release(third);
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
    assert_no_reports();
}

/* More threads than any GPU has are as many as it has; what cannot be is no device, and told. */
static void impossible_worlds(void **state)
{
    (void)state;
    host.reset();
    void *pool = host.push_pool();
    softmetal_world many = {.max_threads = 5000};
    id device = device_of(&many);
    assert_int_equal(SEND_STRUCT(MTLSize, (), device, "maxThreadsPerThreadgroup").width, 1024);
    release(device);
    assert_no_reports();
    if (!*SOFTMETAL_EMULATOR) { /* which notes every page, and has no room for so many */
        softmetal_world large = {.workers = 5000, .threadgroup_memory = UINT32_MAX};
        host.set_world(&large);
        assert_null(host.create_device());
        assert_reported(SOFTMETAL_VALIDATION, "no device: there is no memory for 5000 workers");
    }
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
}

static id library_with(id device, const char *source, id options)
{
    id error = NULL;
    return SEND(id, (id, id, id *), device, "newLibraryWithSource:options:error:", string(source), options, &error);
}

/* What the family or the language's version lacks does not compile; small limits bind pipelines. */
static void worlds_limit_kernels(void **state)
{
    (void)state;
    static const char matrices[] =
        "#include <metal_stdlib>\nusing namespace metal;\n"
        "kernel void m(device float *x [[buffer(0)]]) { simdgroup_float8x8 a; simdgroup_load(a, x); simdgroup_store(a, x); }\n";
    static const char bfloats[] = "#include <metal_stdlib>\nusing namespace metal;\n"
                                  "kernel void b(device bfloat *x [[buffer(0)]]) { x[0] = bfloat(1.0f); }\n";
    softmetal_world lacking = {.no_simdgroup_matrix = true, .no_bfloat = true};
    fixture f = open_fixture(NULL);
    id error = NULL, first = new_library(f.device, matrices, &error), second = new_library(f.device, bfloats, &error);
    assert_non_null(first);
    assert_non_null(second);
    release(first);
    release(second);
    close_fixture(&f);
    f = open_fixture(&lacking);
    assert_null(new_library(f.device, matrices, &error));
    assert_non_null(strstr(error_text(error), "simdgroup"));
    assert_null(new_library(f.device, bfloats, &error));
    assert_non_null(strstr(error_text(error), "bfloat"));
    close_fixture(&f);
    static const struct {
        NSUInteger version;
        bool matrices, bfloats;
    } versions[] = {{2 << 16 | 2, false, false}, {2 << 16 | 3, true, false}, {3 << 16, true, false}, {3 << 16 | 1, true, true}};
    f = open_fixture(NULL);
    for (size_t i = 0; i < 4; i++) {
        id options = new_of("MTLCompileOptions");
        set_number(options, "setLanguageVersion:", versions[i].version);
        id made[] = {library_with(f.device, matrices, options), library_with(f.device, bfloats, options)};
        assert_int_equal(made[0] != NULL, versions[i].matrices);
        assert_int_equal(made[1] != NULL, versions[i].bfloats);
        for (int k = 0; k < 2; k++) release(made[k]);
        release(options);
    }
    close_fixture(&f);
    softmetal_world small = {.max_threads = 32, .threadgroup_memory = 8192};
    f = open_fixture(&small);
    assert_int_equal(number(kernel(&f, FILL), "maxTotalThreadsPerThreadgroup"), 32);
    id narrow = new_function(f.library, "narrow"), roomy = new_function(f.library, "roomy");
    assert_null(new_pipeline(f.device, narrow, &error));
    assert_non_null(strstr(error_text(error), "max_total_threads_per_threadgroup (64) exceeds the maximum allowed (32)"));
    assert_null(new_pipeline(f.device, roomy, &error));
    assert_non_null(strstr(error_text(error), "Threadgroup memory size (16384) exceeds the maximum allowed (8192)"));
    release(narrow);
    release(roomy);
    close_fixture(&f);
}

/* ---- Libraries */

static void libraries(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id names = get(f.library, "functionNames"), error = NULL;
    assert_int_equal(number(names, "count"), KERNELS);
    bool found = false;
    for (NSUInteger i = 0; i < KERNELS; i++)
        found = found || strcmp(text_of(SEND(id, (NSUInteger), names, "objectAtIndex:", i)), "scale") == 0;
    assert_true(found);
    id function = new_function(f.library, "scale");
    assert_string_equal(text_of(get(function, "name")), "scale");
    assert_int_equal(number(function, "functionType"), 3);
    assert_ptr_equal(get(function, "device"), f.device);
    assert_int_equal(number(get(function, "functionConstantsDictionary"), "count"), 0);
    release(function);
    id url = SEND(id, (id), host.class_named("NSURL"), "fileURLWithPath:", string("/tmp/some.metallib"));
    assert_null(SEND(id, (id, id *), f.device, "newLibraryWithURL:error:", url, &error));
    assert_string_equal(error_domain(error), "MTLLibraryErrorDomain");
    assert_non_null(strstr(error_text(error), "/tmp/some.metallib"));
    error = NULL;
    assert_null(SEND(id, (id, id *), f.device, "newLibraryWithData:error:", NULL, &error));
    assert_non_null(error);
    assert_null(get(f.device, "newDefaultLibrary"));
    assert_no_reports();
    assert_null(new_function(f.library, "nothing"));
    assert_no_reports();
    assert_null(SEND(id, (id, id, id *), f.device, "newLibraryWithSource:options:error:", NULL, NULL, &error));
    assert_reported(SOFTMETAL_VALIDATION, "newLibraryWithSource:options:error:]: the source is nil");
    close_fixture(&f);
}

static void compile_options(void **state)
{
    (void)state;
    static const char source[] = "#include <metal_stdlib>\nusing namespace metal;\n"
                                 "kernel void k(device uint *out [[buffer(0)]]) { out[0] = WIDTH; out[1] = NAME; }\n";
    fixture f = open_fixture(NULL);
    id options = new_of("MTLCompileOptions"), error = NULL;
    assert_true(test(options, "fastMathEnabled"));
    assert_int_equal(number(options, "mathMode"), 2);
    set_flag(options, "setFastMathEnabled:", false);
    assert_int_equal(number(options, "mathMode"), 0);
    set_number(options, "setLanguageVersion:", 3 << 16 | 1);
    id keys[] = {string("WIDTH"), string("NAME")};
    id values[] = {SEND(id, (int), host.class_named("NSNumber"), "numberWithInt:", 64), string("7u")};
    id macros = SEND(id, (const id *, const id *, NSUInteger), host.class_named("NSDictionary"),
                     "dictionaryWithObjects:forKeys:count:", values, keys, 2);
    set_object(options, "setPreprocessorMacros:", macros);
    id copy = get(options, "copy");
    assert_int_equal(number(copy, "languageVersion"), 3 << 16 | 1);
    id library = SEND(id, (id, id, id *), f.device, "newLibraryWithSource:options:error:", string(source), copy, &error);
    if (!library) fail_msg("%s", error_text(error));
    id function = new_function(library, "k"), pipeline = new_pipeline(f.device, function, &error),
       memory = new_buffer(f.device, 16, SHARED);
    if (!pipeline) fail_msg("%s", error_text(error));
    id buffer = get(f.queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, pipeline);
    set_buffer(encoder, memory, 0, 0);
    dispatch_threads(encoder, size1(1), size1(1));
    end(encoder);
    finish(buffer);
    const uint32_t *words = contents(memory);
    assert_int_equal(words[0], 64);
    assert_int_equal(words[1], 7);
    assert_null(new_library(f.device, source, &error)); /* without them it is no program */
    id all[] = {options, copy, library, function, pipeline, memory};
    for (int i = 0; i < 6; i++) release(all[i]);
    assert_no_reports();
    close_fixture(&f);
}

typedef struct answer {
    sem_t told;
    id object, reflection, error;
} answer;

static void on_made(block *self, id object, id error)
{
    answer *is = self->context;
    is->object = get(object, "retain");
    is->error = get(error, "retain");
    sem_post(&is->told);
}

static void on_reflected(block *self, id object, id reflection, id error)
{
    ((answer *)self->context)->reflection = get(reflection, "retain");
    on_made(self, object, error);
}

static void wait_for(answer *is)
{
    while (sem_wait(&is->told) != 0) continue;
}

static void completion_handlers(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    answer is = {.object = NULL};
    sem_init(&is.told, 0, 0);
    block made = BLOCK(on_made, &is), reflected = BLOCK(on_reflected, &is);
    SEND(void, (id, id, block *), f.device, "newLibraryWithSource:options:completionHandler:", string(fixture_source), NULL,
         &made);
    wait_for(&is);
    id library = is.object;
    assert_non_null(library);
    assert_null(is.error);
    SEND(void, (id, id, block *), f.device,
         "newLibraryWithSource:options:completionHandler:", string("kernel void k() { oops }"), NULL, &made);
    wait_for(&is);
    assert_null(is.object);
    assert_int_equal(error_code(is.error), 3);
    release(is.error);
    id function = new_function(library, "scale");
    SEND(void, (id, block *), f.device, "newComputePipelineStateWithFunction:completionHandler:", function, &made);
    wait_for(&is);
    assert_non_null(is.object);
    release(is.object);
    SEND(void, (id, NSUInteger, block *), f.device, "newComputePipelineStateWithFunction:options:completionHandler:", function,
         1, &reflected);
    wait_for(&is);
    assert_non_null(is.object);
    assert_int_equal(number(get(is.reflection, "bindings"), "count"), 3);
    release(is.object);
    release(is.reflection);
    release(function);
    release(library);
    sem_destroy(&is.told);
    assert_no_reports();
    close_fixture(&f);
}

/* ---- Functions with constants */

static const char constants_source[] = "#include <metal_stdlib>\nusing namespace metal;\n"
                                       "constant uint width [[function_constant(0)]];\n"
                                       "constant bool doubled [[function_constant(1)]];\n"
                                       "constant float by [[function_constant(2)]];\n"
                                       "constant bool has_by = is_function_constant_defined(by);\n"
                                       "kernel void k(device float *out [[buffer(0)]])\n"
                                       "{ out[0] = float(width) * (doubled ? 2.0f : 1.0f); out[1] = has_by ? by : -1.0f; }\n";

static id specialise(id library, id values, id *error)
{
    return SEND(id, (id, id, id *), library, "newFunctionWithName:constantValues:error:", string("k"), values, error);
}

static void run_k(fixture *f, id function, float first, float second)
{
    id error = NULL, pipeline = new_pipeline(f->device, function, &error), memory = new_buffer(f->device, 16, SHARED);
    if (!pipeline) fail_msg("%s", error_text(error));
    id buffer = get(f->queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, pipeline);
    set_buffer(encoder, memory, 0, 0);
    dispatch_threads(encoder, size1(1), size1(1));
    end(encoder);
    finish(buffer);
    const float *out = contents(memory);
    assert_true(out[0] == first);
    assert_true(out[1] == second);
    release(memory);
    release(pipeline);
}

static void set_constant(id values, const void *value, NSUInteger type, NSUInteger index)
{
    SEND(void, (const void *, NSUInteger, NSUInteger), values, "setConstantValue:type:atIndex:", value, type, index);
}

enum { TYPE_FLOAT = 3, TYPE_UINT = 33, TYPE_BOOL = 53 };

static void function_constants(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id error = NULL, library = new_library(f.device, constants_source, &error);
    if (!library) fail_msg("%s", error_text(error));
    id plain = new_function(library, "k"), dictionary = get(plain, "functionConstantsDictionary");
    assert_int_equal(number(dictionary, "count"), 3);
    id width = SEND(id, (id), dictionary, "objectForKey:", string("width"));
    assert_string_equal(text_of(get(width, "name")), "width");
    assert_int_equal(number(width, "index"), 0);
    assert_int_equal(number(width, "type"), TYPE_UINT);
    assert_true(test(width, "required"));
    assert_false(test(SEND(id, (id), dictionary, "objectForKey:", string("by")), "required"));

    id values = new_of("MTLFunctionConstantValues");
    const uint32_t seven = 7, nine = 9;
    const bool yes = true;
    const float half = 0.5f;
    set_constant(values, &seven, TYPE_UINT, 0);
    assert_null(specialise(library, values, &error));
    assert_string_equal(error_domain(error), "MTLLibraryErrorDomain");
    assert_non_null(strstr(error_text(error), "doubled"));
    set_constant(values, &yes, TYPE_BOOL, 1);
    id first = specialise(library, values, &error);
    if (!first) fail_msg("%s", error_text(error));
    assert_int_equal(number(get(first, "functionConstantsDictionary"), "count"), 0);
    set_constant(values, &half, TYPE_FLOAT, 2);
    SEND(void, (const void *, NSUInteger, id), values, "setConstantValue:type:withName:", &nine, TYPE_UINT, string("width"));
    id copy = get(values, "copy");
    call(values, "reset");
    assert_null(specialise(library, values, &error));
    id descriptor = get(host.class_named("MTLFunctionDescriptor"), "functionDescriptor");
    set_object(descriptor, "setName:", string("k"));
    set_object(descriptor, "setConstantValues:", copy);
    set_object(descriptor, "setSpecializedName:", string("k_nine"));
    id second = SEND(id, (id, id *), library, "newFunctionWithDescriptor:error:", descriptor, &error);
    if (!second) fail_msg("%s", error_text(error));
    assert_string_equal(text_of(get(second, "name")), "k_nine");
    run_k(&f, first, 14, -1);
    run_k(&f, second, 18, 0.5f);
    assert_null(new_pipeline(f.device, plain, &error)); /* not specialised */
    assert_non_null(strstr(error_text(error), "width"));
    assert_no_reports();
    set_constant(values, &seven, 58, 0);
    assert_reported(SOFTMETAL_VALIDATION, "constant 0 cannot have the data type 58");
    id all[] = {plain, values, copy, first, second, library};
    for (int i = 0; i < 6; i++) release(all[i]);
    close_fixture(&f);
}

/* ---- Pipelines */

static void pipelines(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id error = NULL, function = new_function(f.library, "scale"), descriptor = new_of("MTLComputePipelineDescriptor"),
       reflection = NULL;
    label(descriptor, "scaler");
    set_object(descriptor, "setComputeFunction:", function);
    set_number(descriptor, "setMaxTotalThreadsPerThreadgroup:", 256);
    set_number(SEND(id, (NSUInteger), get(descriptor, "buffers"), "objectAtIndexedSubscript:", 1), "setMutability:", 2);
    id copy = get(descriptor, "copy");
    assert_int_equal(number(SEND(id, (NSUInteger), get(copy, "buffers"), "objectAtIndexedSubscript:", 1), "mutability"), 2);
    id pipeline = SEND(id, (id, NSUInteger, id *, id *), f.device,
                       "newComputePipelineStateWithDescriptor:options:reflection:error:", copy, 3, &reflection, &error);
    if (!pipeline) fail_msg("%s", error_text(error));
    assert_string_equal(text_of(get(pipeline, "label")), "scaler");
    assert_int_equal(number(pipeline, "maxTotalThreadsPerThreadgroup"), 256);
    assert_int_equal(number(pipeline, "threadExecutionWidth"), 32);
    assert_int_equal(number(pipeline, "staticThreadgroupMemoryLength"), 0);
    assert_int_equal(number(kernel(&f, NARROW), "maxTotalThreadsPerThreadgroup"), 64);
    id bindings = get(reflection, "bindings");
    assert_int_equal(number(bindings, "count"), 3);
    static const struct {
        const char *name;
        NSUInteger size;
        uint64_t access;
    } wanted[] = {{"x", 4, 0}, {"y", 4, 1}, {"by", 8, 0}};
    for (NSUInteger i = 0; i < 3; i++) {
        id binding = SEND(id, (NSUInteger), bindings, "objectAtIndex:", i);
        assert_string_equal(text_of(get(binding, "name")), wanted[i].name);
        assert_int_equal(number(binding, "index"), i);
        assert_int_equal(number(binding, "bufferDataSize"), wanted[i].size);
        assert_int_equal(number(binding, "access"), wanted[i].access);
        assert_int_equal(number(binding, "type"), 0);
    }
    assert_int_equal(number(get(reflection, "arguments"), "count"), 3);
    set_number(descriptor, "setMaxTotalThreadsPerThreadgroup:", 2048);
    assert_null(SEND(id, (id, NSUInteger, id *, id *), f.device,
                     "newComputePipelineStateWithDescriptor:options:reflection:error:", descriptor, 0, NULL, &error));
    assert_non_null(strstr(error_text(error), "maxTotalThreadsPerThreadgroup (2048) exceeds the maximum allowed (1024)"));
    assert_no_reports();
    call(descriptor, "reset");
    assert_null(get(descriptor, "computeFunction"));
    assert_null(SEND(id, (id, NSUInteger, id *, id *), f.device,
                     "newComputePipelineStateWithDescriptor:options:reflection:error:", descriptor, 0, NULL, &error));
    assert_reported(SOFTMETAL_VALIDATION, "the function is nil");
    id all[] = {pipeline, copy, descriptor, function};
    for (int i = 0; i < 4; i++) release(all[i]);
    close_fixture(&f);
}

/* ---- Archives */

enum { FAIL_ON_MISS = 4 };

static id file_url(const char *path)
{
    return SEND(id, (id), host.class_named("NSURL"), "fileURLWithPath:", string(path));
}

static id open_archive(id device, const char *path, id *error)
{
    id descriptor = new_of("MTLBinaryArchiveDescriptor");
    if (path) set_object(descriptor, "setUrl:", file_url(path));
    id archive = SEND(id, (id, id *), device, "newBinaryArchiveWithDescriptor:error:", descriptor, error);
    release(descriptor);
    return archive;
}

static id described(fixture *f, const char *name, id archive)
{
    id descriptor = new_of("MTLComputePipelineDescriptor"), function = new_function(f->library, name);
    set_object(descriptor, "setComputeFunction:", function);
    if (archive)
        set_object(descriptor, "setBinaryArchives:",
                   SEND(id, (const id *, NSUInteger), host.class_named("NSArray"), "arrayWithObjects:count:", &archive, 1));
    release(function);
    return descriptor;
}

static bool makes_pipeline(fixture *f, const char *name, id archive, NSUInteger options)
{
    id descriptor = described(f, name, archive), error = NULL;
    id pipeline = SEND(id, (id, NSUInteger, id *, id *), f->device,
                       "newComputePipelineStateWithDescriptor:options:reflection:error:", descriptor, options, NULL, &error);
    assert_true((pipeline != NULL) == (error == NULL));
    release(pipeline);
    release(descriptor);
    return pipeline != NULL;
}

static void use_archive(const char *path)
{
    fixture f = open_fixture(NULL);
    id error = NULL, archive = open_archive(f.device, path, &error);
    if (!archive) fail_msg("%s", error_text(error));
    assert_true(makes_pipeline(&f, "fill", archive, FAIL_ON_MISS));
    assert_false(makes_pipeline(&f, "scale", archive, FAIL_ON_MISS));
    assert_true(makes_pipeline(&f, "scale", archive, 0));
    assert_false(makes_pipeline(&f, "fill", NULL, FAIL_ON_MISS));
    release(archive);
    assert_no_reports();
    close_fixture(&f);
}

static void archive_of_another_process(void **state)
{
    (void)state;
    use_archive(getenv("ARCHIVE"));
}

static void damage(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

static void archives(void **state)
{
    (void)state;
    char path[] = "/tmp/softmetal_archive_XXXXXX";
    close(mkstemp(path));
    fixture f = open_fixture(NULL);
    id error = NULL, archive = open_archive(f.device, NULL, &error), descriptor = described(&f, "fill", NULL);
    assert_non_null(archive);
    assert_true(SEND(BOOL, (id, id *), archive, "addComputePipelineFunctionsWithDescriptor:error:", descriptor, &error));
    if (!SEND(BOOL, (id, id *), archive, "serializeToURL:error:", file_url(path), &error)) fail_msg("%s", error_text(error));
    assert_false(SEND(BOOL, (id, id *), archive, "serializeToURL:error:", file_url("/nowhere/at/all"), &error));
    assert_string_equal(error_domain(error), "MTLBinaryArchiveDomain");
    assert_non_null(strstr(error_text(error), "/nowhere/at/all"));
    host.inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_ARCHIVE});
    assert_null(open_archive(f.device, path, &error));
    assert_int_equal(error_code(error), 1);
    release(descriptor);
    release(archive);
    assert_no_reports();
    close_fixture(&f);

    use_archive(path);
    setenv("ARCHIVE", path, 1);
    assert_int_equal(run_process(program, "archive"), 0);

    f = open_fixture(NULL);
    for (long at = 0; at < 40; at += 9) { /* magic, number, key, hash */
        damage(path, at);
        error = NULL;
        assert_null(open_archive(f.device, path, &error));
        assert_string_equal(error_domain(error), "MTLBinaryArchiveDomain");
        assert_int_equal(error_code(error), 1);
        damage(path, at);
    }
    assert_int_equal(truncate(path, 20), 0);
    assert_null(open_archive(f.device, path, &error));
    assert_int_equal(truncate(path, 0), 0);
    assert_null(open_archive(f.device, path, &error));
    unlink(path);
    assert_null(open_archive(f.device, path, &error));
    assert_non_null(strstr(error_text(error), "No such file"));
    assert_no_reports();
    close_fixture(&f);
}

static id specialised(fixture *f, id library, uint32_t width, bool doubled, bool in_turn)
{
    id values = new_of("MTLFunctionConstantValues"), error = NULL;
    if (in_turn) set_constant(values, &width, TYPE_UINT, 0);
    set_constant(values, &doubled, TYPE_BOOL, 1);
    if (!in_turn) set_constant(values, &width, TYPE_UINT, 0);
    id function = specialise(library, values, &error), descriptor = new_of("MTLComputePipelineDescriptor");
    if (!function) fail_msg("%s", error_text(error));
    assert_ptr_equal(get(function, "device"), f->device);
    set_object(descriptor, "setComputeFunction:", function);
    release(function);
    release(values);
    return descriptor;
}

static bool is_archived(fixture *f, id archive, id descriptor)
{
    id error = NULL,
       list = SEND(id, (const id *, NSUInteger), host.class_named("NSArray"), "arrayWithObjects:count:", &archive, 1);
    set_object(descriptor, "setBinaryArchives:", list);
    id pipeline =
        SEND(id, (id, NSUInteger, id *, id *), f->device,
             "newComputePipelineStateWithDescriptor:options:reflection:error:", descriptor, FAIL_ON_MISS, NULL, &error);
    release(pipeline);
    release(descriptor);
    return pipeline != NULL;
}

/* An archive tells specialisations apart, and texts, and not the order in which values were set. */
static void archives_of_constants(void **state)
{
    (void)state;
    static const char other_source[] = "#include <metal_stdlib>\nusing namespace metal;\n"
                                       "constant uint width [[function_constant(0)]];\n"
                                       "constant bool doubled [[function_constant(1)]];\n"
                                       "kernel void k(device float *out [[buffer(0)]]) { out[0] = doubled ? 1 : width; }\n";
    fixture f = open_fixture(NULL);
    id error = NULL, library = new_library(f.device, constants_source, &error),
       other = new_library(f.device, other_source, &error);
    id archive = open_archive(f.device, NULL, &error), descriptor = specialised(&f, library, 7, true, true);
    assert_true(SEND(BOOL, (id, id *), archive, "addComputePipelineFunctionsWithDescriptor:error:", descriptor, &error));
    assert_true(is_archived(&f, archive, descriptor));
    assert_true(is_archived(&f, archive, specialised(&f, library, 7, true, false)));
    assert_false(is_archived(&f, archive, specialised(&f, library, 8, true, true)));
    assert_false(is_archived(&f, archive, specialised(&f, library, 7, false, true)));
    assert_false(is_archived(&f, archive, specialised(&f, other, 7, true, true)));
    release(archive);
    release(library);
    release(other);
    assert_no_reports();
    close_fixture(&f);
}

/* ---- Counters */

static id new_samples(fixture *f, NSUInteger count)
{
    id sets = get(f->device, "counterSets"), error = NULL, descriptor = new_of("MTLCounterSampleBufferDescriptor");
    assert_int_equal(number(sets, "count"), 1);
    id set = SEND(id, (NSUInteger), sets, "objectAtIndex:", 0);
    assert_string_equal(text_of(get(set, "name")), text_of(*(id *)find("MTLCommonCounterSetTimestamp")));
    assert_string_equal(text_of(get(SEND(id, (NSUInteger), get(set, "counters"), "objectAtIndex:", 0), "name")),
                        "GPUTimestamp");
    set_object(descriptor, "setCounterSet:", set);
    set_number(descriptor, "setSampleCount:", count);
    id samples = SEND(id, (id, id *), f->device, "newCounterSampleBufferWithDescriptor:error:", descriptor, &error);
    assert_true((samples != NULL) == (error == NULL));
    release(descriptor);
    return samples;
}

static void counter_samples(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    assert_true(SEND(BOOL, (NSUInteger), f.device, "supportsCounterSampling:", 0));
    assert_false(SEND(BOOL, (NSUInteger), f.device, "supportsCounterSampling:", 2));
    assert_null(new_samples(&f, 0));
    assert_null(new_samples(&f, 5000));
    id samples = new_samples(&f, 4), memory = new_buffer(f.device, 256, SHARED), resolved = new_buffer(f.device, 64, SHARED);
    id pass = get(host.class_named("MTLComputePassDescriptor"), "computePassDescriptor");
    id attachment = SEND(id, (NSUInteger), get(pass, "sampleBufferAttachments"), "objectAtIndexedSubscript:", 0);
    assert_int_equal(number(attachment, "startOfEncoderSampleIndex"), UINT64_MAX);
    set_object(attachment, "setSampleBuffer:", samples);
    set_number(attachment, "setStartOfEncoderSampleIndex:", 0);
    set_number(attachment, "setEndOfEncoderSampleIndex:", 2);
    set_number(pass, "setDispatchType:", 1);
    uint64_t cpu[2], gpu[2];
    SEND(void, (uint64_t *, uint64_t *), f.device, "sampleTimestamps:gpuTimestamp:", &cpu[0], &gpu[0]);
    id buffer = get(f.queue, "commandBuffer"), encoder = SEND(id, (id), buffer, "computeCommandEncoderWithDescriptor:", pass);
    assert_int_equal(number(encoder, "dispatchType"), 1);
    uint32_t value = 1;
    set_pipeline(encoder, kernel(&f, FILL));
    set_buffer(encoder, memory, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(64), size1(32));
    end(encoder);
    id blit = get(buffer, "blitCommandEncoder");
    SEND(void, (id, NSRange, id, NSUInteger), blit, "resolveCounters:inRange:destinationBuffer:destinationOffset:", samples,
         ((NSRange){0, 3}), resolved, 8);
    end(blit);
    finish(buffer);
    SEND(void, (uint64_t *, uint64_t *), f.device, "sampleTimestamps:gpuTimestamp:", &cpu[1], &gpu[1]);
    id data = SEND(id, (NSRange), samples, "resolveCounterRange:", ((NSRange){0, 4}));
    assert_int_equal(number(data, "length"), 32);
    const uint64_t *times = SEND(const void *, (), data, "bytes"), *copied = contents(resolved);
    assert_true(gpu[0] <= times[0] && times[0] <= times[2] && times[2] <= gpu[1]);
    assert_true(times[1] == UINT64_MAX && times[3] == UINT64_MAX); /* not taken */
    assert_int_equal(copied[1], times[0]);
    assert_int_equal(copied[3], times[2]);
    assert_no_reports();
    assert_null(SEND(id, (NSRange), samples, "resolveCounterRange:", ((NSRange){3, 2})));
    assert_reported(SOFTMETAL_VALIDATION, "samples {3, 2} are not among the buffer's 4");
    id all[] = {samples, memory, resolved};
    for (int i = 0; i < 3; i++) release(all[i]);
    close_fixture(&f);

    softmetal_world discrete = {.discrete = true};
    f = open_fixture(&discrete);
    assert_true(SEND(BOOL, (NSUInteger), f.device, "supportsCounterSampling:", 2));
    samples = new_samples(&f, 2);
    buffer = get(f.queue, "commandBuffer");
    encoder = get(buffer, "computeCommandEncoder");
    SEND(void, (id, NSUInteger, BOOL), encoder, "sampleCountersInBuffer:atSampleIndex:withBarrier:", samples, 1, 1);
    end(encoder);
    finish(buffer);
    times = SEND(const void *, (), SEND(id, (NSRange), samples, "resolveCounterRange:", ((NSRange){0, 2})), "bytes");
    assert_true(times[0] == UINT64_MAX && times[1] != UINT64_MAX);
    release(samples);
    assert_no_reports();
    close_fixture(&f);
}

/* Between dispatches, in worlds whose devices can: the threads of each. */
static void statistics_count_threads(void **state)
{
    (void)state;
    softmetal_world world = {.sample_dispatches = true, .statistics = true};
    fixture f = open_fixture(&world);
    id sets = get(f.device, "counterSets"), error = NULL, descriptor = new_of("MTLCounterSampleBufferDescriptor");
    assert_int_equal(number(sets, "count"), 2);
    id set = SEND(id, (NSUInteger), sets, "objectAtIndex:", 1);
    assert_string_equal(text_of(get(set, "name")), text_of(*(id *)find("MTLCommonCounterSetStatistic")));
    assert_true(SEND(BOOL, (NSUInteger), f.device, "supportsCounterSampling:", 2));
    set_object(descriptor, "setCounterSet:", set);
    set_number(descriptor, "setSampleCount:", 513); /* of 64 bytes: more than 32 KiB */
    assert_null(SEND(id, (id, id *), f.device, "newCounterSampleBufferWithDescriptor:error:", descriptor, &error));
    set_number(descriptor, "setSampleCount:", 3);
    id samples = SEND(id, (id, id *), f.device, "newCounterSampleBufferWithDescriptor:error:", descriptor, &error);
    id memory = new_buffer(f.device, 256, SHARED), buffer = get(f.queue, "commandBuffer");
    id encoder = get(buffer, "computeCommandEncoder");
    uint32_t value = 1;
    set_pipeline(encoder, kernel(&f, FILL));
    set_buffer(encoder, memory, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    SEND(void, (id, NSUInteger, BOOL), encoder, "sampleCountersInBuffer:atSampleIndex:withBarrier:", samples, 0, 1);
    dispatch_threads(encoder, size1(64), size1(32));
    SEND(void, (id, NSUInteger, BOOL), encoder, "sampleCountersInBuffer:atSampleIndex:withBarrier:", samples, 1, 1);
    end(encoder);
    finish(buffer);
    id data = SEND(id, (NSRange), samples, "resolveCounterRange:", ((NSRange){0, 3}));
    assert_int_equal(number(data, "length"), 3 * 64);
    const uint64_t *counted = SEND(const void *, (), data, "bytes");
    assert_int_equal(counted[15] - counted[7], 64);
    assert_true(counted[0] == 0 && counted[16] == UINT64_MAX && counted[23] == UINT64_MAX); /* the third was not taken */
    release(descriptor);
    release(samples);
    release(memory);
    assert_no_reports();
    close_fixture(&f);
}

/* ---- Capture, and what there is none of */

static void capture_says_no(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id manager = get(host.class_named("MTLCaptureManager"), "sharedCaptureManager"),
       descriptor = new_of("MTLCaptureDescriptor"), error = NULL;
    assert_non_null(manager);
    assert_false(SEND(BOOL, (int64_t), manager, "supportsDestination:", 2));
    set_object(descriptor, "setCaptureObject:", f.queue);
    assert_false(SEND(BOOL, (id, id *), manager, "startCaptureWithDescriptor:error:", descriptor, &error));
    assert_string_equal(error_text(error), "softmetal captures nothing");
    assert_false(test(manager, "isCapturing"));
    call(manager, "stopCapture");
    id scope = SEND(id, (id), manager, "newCaptureScopeWithCommandQueue:", f.queue);
    label(scope, "scope");
    call(scope, "beginScope");
    call(scope, "endScope");
    assert_ptr_equal(get(scope, "commandQueue"), f.queue);
    release(scope);
    release(descriptor);
    assert_no_reports();
    assert_null(SEND(id, (id, NSUInteger, NSUInteger), f.device,
                     "newIndirectCommandBufferWithDescriptor:maxCommandCount:options:", NULL, 4, 0));
    assert_reported(SOFTMETAL_VALIDATION, "softmetal has no indirect command buffers");
    close_fixture(&f);
}

int main(int count, char **arguments)
{
    program = arguments[0];
    open_library();
    const struct CMUnitTest child[] = {cmocka_unit_test(archive_of_another_process)};
    if (count == 2 && strcmp(arguments[1], "archive") == 0) return cmocka_run_group_tests(child, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_world),
        cmocka_unit_test(other_worlds),
        cmocka_unit_test(impossible_worlds),
        cmocka_unit_test(worlds_limit_kernels),
        cmocka_unit_test(libraries),
        cmocka_unit_test(compile_options),
        cmocka_unit_test(completion_handlers),
        cmocka_unit_test(function_constants),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(archives),
        cmocka_unit_test(archives_of_constants),
        cmocka_unit_test(counter_samples),
        cmocka_unit_test(statistics_count_threads),
        cmocka_unit_test(capture_says_no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
