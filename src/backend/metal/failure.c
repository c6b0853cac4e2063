/* What an NSError of Metal means. Codes live in two spaces: the public domain's, and the driver's own, which stand in the description
 * ("… (00000003:kIOGPUCommandBufferCallbackErrorHang)", "… (IOAF code 5)"). An unknown one is transient: it is tried once more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/metal/metal.h"

#define DOMAIN "MTLCommandBufferErrorDomain"

/* The driver's words say more than the public code, which is often 1, internal. */
static const struct {
    const char *words;
    pv_status status;
} driver[] = {
    {"InnocentVictim", PV_DEVICE_TRANSIENT},      {"IOAF code 5", PV_DEVICE_TRANSIENT},
    {"SubmissionsIgnored", PV_DEVICE_LOST},       {"IOAF code 4", PV_DEVICE_LOST},
    {"ImpactingInteractivity", PV_DEVICE_TRANSIENT}, {"IOAF code e", PV_DEVICE_TRANSIENT},
    {"0000000e:", PV_DEVICE_TRANSIENT},           {"BackgroundExecutionNotPermitted", PV_DEVICE_TRANSIENT},
    {"OutOfMemory", PV_DEVICE_OUT_OF_MEMORY},     {"Insufficient Memory", PV_DEVICE_OUT_OF_MEMORY},
    {"IOAF code 8", PV_DEVICE_OUT_OF_MEMORY},     {"00000008:", PV_DEVICE_OUT_OF_MEMORY},
    {"CallbackErrorHang", PV_DEVICE_TRANSIENT},   {"CallbackErrorTimeout", PV_DEVICE_TRANSIENT},
    {"IOAF code 2", PV_DEVICE_TRANSIENT},         {"CallbackErrorPageFault", PV_DEVICE_LOST},
    {"DeviceRemoved", PV_DEVICE_LOST},
};

static const struct {
    int64_t code;
    pv_status status;
} public_codes[] = {
    {1, PV_DEVICE_TRANSIENT},     /* internal */
    {2, PV_DEVICE_TRANSIENT},     /* time-out */
    {3, PV_DEVICE_LOST},          /* page fault: the context is poisoned */
    {4, PV_DEVICE_LOST},          /* access revoked */
    {7, PV_DEVICE_TRANSIENT},     /* not permitted now */
    {8, PV_DEVICE_OUT_OF_MEMORY},
    {9, PV_INTERNAL},             /* invalid resource: ours */
    {10, PV_INTERNAL},            /* memoryless */
    {11, PV_DEVICE_LOST},         /* removed */
};

pv_status pv_metal_classify(const char *domain, int64_t code, const char *description)
{
    for (size_t i = 0; description != NULL && i < sizeof driver / sizeof driver[0]; i++) {
        if (strstr(description, driver[i].words) != NULL) return driver[i].status;
    }
    if (domain == NULL || strcmp(domain, DOMAIN) != 0) return PV_DEVICE_TRANSIENT;
    for (size_t i = 0; i < sizeof public_codes / sizeof public_codes[0]; i++) {
        if (public_codes[i].code == code) return public_codes[i].status;
    }
    return PV_DEVICE_TRANSIENT;
}

pv_status pv_metal_failure(const pv_metal_device *device, pv_id nserror, const char *what, pv_error *error)
{
    const pv_objc *objc = &device->objc;
    if (nserror == NULL) return pv_fail_at(error, PV_DEVICE_TRANSIENT, device->description.id, PV_NO_OFFSET, "%s failed, without a reason", what);
    const char *domain = pv_msg_string_utf8(objc, pv_msg_error_domain(objc, nserror));
    const char *description = pv_msg_string_utf8(objc, pv_msg_error_description(objc, nserror));
    const int64_t code = pv_msg_error_code(objc, nserror);
    const pv_status status = pv_metal_classify(domain, code, description);
    pv_fail_at(error, status, device->description.id, PV_NO_OFFSET, "%s failed: %s (%s %lld)", what,
               description != NULL ? description : "no description", domain != NULL ? domain : "no domain", (long long)code);
    if (error != NULL) error->backend_code = code;
    return status;
}
