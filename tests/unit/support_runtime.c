#include "support_runtime.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static void *reallocate(void *user, void *pointer, size_t size)
{
    rt_memory *memory = user;
    if (size == 0) {
        if (pointer) memory->live--;
        free(pointer);
        return NULL;
    }
    if (++memory->calls == memory->fail_at) return NULL;
    void *made = realloc(pointer, size);
    if (!pointer && made) {
        memory->live++;
        memset(made, 0xA5, size);
    }
    return made;
}

void rt_memory_init(rt_memory *memory, uint64_t fail_at)
{
    *memory = (rt_memory){.fail_at = fail_at};
    memory->allocator = (pv_allocator){reallocate, memory};
}

static pv_status rt_enumerate(const pv_backend *backend, const pv_environment *environment, pv_device_description *descriptions,
                              size_t capacity, size_t *count, pv_error *error)
{
    (void)backend, (void)environment, (void)error;
    if (capacity > 0) descriptions[0] = (pv_device_description){.id = "fake", .name = "host memory", .available = true};
    *count = 1;
    return PV_OK;
}

static pv_status rt_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                         pv_backend_device **device, pv_error *error)
{
    if (strcmp(id, "fake") != 0) return pv_fail(error, PV_NOT_FOUND, "no device %s", id);
    rt_device *made = pv_calloc(environment->allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a device");
    made->base.backend = backend;
    made->description =
        (pv_device_description){.id = "fake", .name = "host memory", .available = true, .max_buffer = UINT64_MAX};
    made->allocator = environment->allocator;
    made->declines = plain ? RT_DECLINE_NORM | RT_DECLINE_GLU | RT_DECLINE_PARTS | RT_DECLINE_STORE : 0;
    *device = &made->base;
    return PV_OK;
}

static bool rt_close(pv_backend_device *device)
{
    pv_free(((rt_device *)device)->allocator, device);
    return true;
}

static const pv_device_description *rt_describe(const pv_backend_device *device)
{
    return &((const rt_device *)device)->description;
}

static pv_status rt_alloc(pv_backend_device *base, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    (void)kind;
    rt_device *device = (rt_device *)base;
    if (++device->allocs == device->fail_alloc_at || bytes > SIZE_MAX)
        return pv_fail(error, PV_DEVICE_OUT_OF_MEMORY, "no %llu bytes", (unsigned long long)bytes);
    uint8_t *host = pv_calloc(device->allocator, (size_t)bytes, 1);
    if (!host) return pv_fail(error, PV_DEVICE_OUT_OF_MEMORY, "no %llu bytes", (unsigned long long)bytes);
    device->live_bytes += bytes;
    *buffer = (pv_buffer){.handle = host, .host = host, .bytes = bytes, .id = ++device->next_id};
    return PV_OK;
}

static void rt_free(pv_backend_device *base, pv_buffer *buffer)
{
    rt_device *device = (rt_device *)base;
    device->frees++;
    device->live_bytes -= buffer->bytes;
    pv_free(device->allocator, buffer->handle);
    *buffer = (pv_buffer){0};
}

static pv_status rt_import(pv_backend_device *base, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    (void)error;
    *buffer = (pv_buffer){.host = host, .bytes = bytes, .id = ++((rt_device *)base)->next_id};
    return PV_OK;
}

static pv_status rt_write(pv_backend_device *base, const pv_buffer *buffer, uint64_t offset, const void *bytes, uint64_t length,
                          pv_error *error)
{
    (void)base, (void)error;
    memcpy(buffer->host + offset, bytes, (size_t)length);
    return PV_OK;
}

static pv_status rt_read(pv_backend_device *base, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length,
                         pv_error *error)
{
    (void)base, (void)error;
    memcpy(bytes, buffer->host + offset, (size_t)length);
    return PV_OK;
}

static pv_status rt_weight_spec(const pv_backend_device *base, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                                pv_weight_spec *spec, pv_error *error)
{
    (void)base, (void)uses, (void)error;
    *spec = (pv_weight_spec){.layout = layout, .bytes = (uint64_t)rows * cols * 4, .alignment = 64, .row_tile = 1};
    return PV_OK;
}

static pv_status rt_upload(pv_backend_device *base, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows,
                           pv_error *error)
{
    (void)weight, (void)first, (void)count, (void)rows, (void)error;
    ((rt_device *)base)->uploads++;
    return PV_OK;
}

static bool rt_supports(const pv_backend_device *base, const pv_op *op)
{
    unsigned declines = ((const rt_device *)base)->declines;
    if (op->kind == PV_OP_rope) return !((declines & RT_DECLINE_STORE) && pv_tensor_present(&op->rope.store.pages));
    if (op->kind == PV_OP_rms_norm) return !(declines & RT_DECLINE_RMS_NORM);
    if (op->kind != PV_OP_linear) return true;
    bool norm = pv_tensor_present(&op->linear.norm), glu = op->linear.glu != PV_ACTIVATION_NONE;
    bool parts = !glu && op->linear.part_count > 1;
    if ((declines & RT_DECLINE_NORM) && norm) return false;
    if ((declines & RT_DECLINE_GLU) && glu) return false;
    if ((declines & RT_DECLINE_PARTS) && parts) return false;
    if ((declines & RT_DECLINE_NORM_WITH_GLU) && norm && glu) return false;
    if ((declines & RT_DECLINE_NORM_WITH_PARTS) && norm && parts) return false;
    return !((declines & RT_DECLINE_PLAIN_LINEAR) && !norm && !glu && !parts);
}

typedef struct rt_prepared {
    const pv_plan *plan;
} rt_prepared;

static pv_status rt_prepare(pv_backend_device *base, const pv_plan *plan, pv_prepared **prepared, pv_error *error)
{
    rt_device *device = (rt_device *)base;
    rt_prepared *made = pv_calloc(device->allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a prepared plan");
    device->prepares++;
    made->plan = plan;
    *prepared = (pv_prepared *)made;
    return PV_OK;
}

static void rt_release(pv_backend_device *base, pv_prepared *prepared)
{
    rt_device *device = (rt_device *)base;
    device->releases++;
    pv_free(device->allocator, prepared);
}

static pv_status rt_submit(pv_backend_device *base, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    (void)error;
    rt_device *device = (rt_device *)base;
    bool aborted = submission->abort && atomic_load(submission->abort);
    if (device->submits < RT_PLANS) {
        device->ran[device->submits] = aborted ? 0 : submission->plan_count;
        device->aborted[device->submits] = aborted;
    }
    device->submits++;
    if (!aborted) {
        const pv_step_counts *counts = pv_tensor_host(&submission->block);
        pv_step_output *outputs = pv_tensor_host(&submission->outputs);
        for (uint32_t i = 0; i < counts->logits; i++)
            outputs[i] = (pv_step_output){.token = (int32_t)i, .logprob = -1, .status = PV_OUTPUT_OK};
    }
    *fence = ++device->fence;
    return PV_OK;
}

static pv_status rt_wait(pv_backend_device *base, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    (void)timeout_ms;
    rt_device *device = (rt_device *)base;
    device->waits++;
    if (fence > 0 && fence <= RT_PLANS && device->aborted[fence - 1]) return pv_fail(error, PV_CANCELLED, "aborted");
    return PV_OK;
}

static size_t rt_counters(const pv_backend_device *base, pv_counter *counters, size_t capacity)
{
    if (capacity > 0) counters[0] = (pv_counter){"submit fake", ((const rt_device *)base)->submits};
    return 1;
}

const pv_backend rt_backend = {
    .name = "fake",
    .enumerate = rt_enumerate,
    .open = rt_open,
    .close = rt_close,
    .describe = rt_describe,
    .alloc = rt_alloc,
    .free = rt_free,
    .import = rt_import,
    .write = rt_write,
    .read = rt_read,
    .weight_spec = rt_weight_spec,
    .upload = rt_upload,
    .supports = rt_supports,
    .prepare = rt_prepare,
    .release = rt_release,
    .submit = rt_submit,
    .wait = rt_wait,
    .counters = rt_counters,
};
