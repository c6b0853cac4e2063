/* What an NSError of Metal means.
 *
 * Codes live in two spaces. The public domain's say what happened, but for 1, "internal", behind which the driver hides all the rest.
 * The driver's own stand in the description, by number and sometimes by name: "(00000003:kIOGPUCommandBufferCallbackErrorHang)",
 * "(IOAF code 5)", "(IOAF code -536870211)"; they are codes of the domain below, too. What neither says is tried once more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/metal/metal.h"

#define COMMAND_BUFFER_DOMAIN "MTLCommandBufferErrorDomain"
#define DRIVER_DOMAIN "IOGPUCommandQueueErrorDomain"

typedef struct meaning {
    int64_t code;
    pv_status status;
} meaning;

static const meaning public_codes[] = {
    {2, PV_DEVICE_TRANSIENT}, /* time-out */
    {3, PV_DEVICE_LOST},      /* page fault: the context is poisoned */
    {4, PV_DEVICE_LOST},      /* access revoked, after too many errors */
    {7, PV_DEVICE_TRANSIENT}, /* not permitted, now */
    {8, PV_DEVICE_OUT_OF_MEMORY},
    {9, PV_INTERNAL},         /* invalid resource: ours */
    {10, PV_INTERNAL},        /* memoryless */
    {11, PV_DEVICE_LOST},     /* removed */
    {12, PV_INTERNAL},        /* stack overflow in a kernel: ours */
};

static const meaning driver_codes[] = {
    {0x2, PV_DEVICE_TRANSIENT},                /* time-out */
    {0x3, PV_DEVICE_TRANSIENT},                /* hang, which the system ended */
    {0x4, PV_DEVICE_LOST},                     /* submissions ignored */
    {0x5, PV_DEVICE_TRANSIENT},                /* innocent victim of somebody else's */
    {0x6, PV_DEVICE_TRANSIENT},                /* background execution not permitted */
    {0x8, PV_DEVICE_OUT_OF_MEMORY},
    {0x9, PV_INTERNAL},                        /* invalid resource */
    {0xb, PV_DEVICE_LOST},                     /* page fault */
    {0xe, PV_DEVICE_TRANSIENT},                /* impacting interactivity */
    {(int32_t)0xe00002bd, PV_DEVICE_OUT_OF_MEMORY}, /* kIOReturnNoMemory */
    {(int32_t)0xe00002be, PV_DEVICE_OUT_OF_MEMORY}, /* kIOReturnNoResources */
    {(int32_t)0xe00002c0, PV_DEVICE_LOST},     /* kIOReturnNoDevice */
    {(int32_t)0xe00002d6, PV_DEVICE_TRANSIENT}, /* kIOReturnTimeout */
    {(int32_t)0xe00002e2, PV_DEVICE_TRANSIENT}, /* kIOReturnNotPermitted */
};

static const meaning *find(const meaning *meanings, size_t count, int64_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (meanings[i].code == code) return &meanings[i];
    }
    return NULL;
}

static bool read_number(const char *text, int base, char stop, int64_t *code)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, base);
    if (end == text || *end != stop || errno != 0) return false;
    *code = value > INT32_MAX && value <= UINT32_MAX ? (int32_t)value : value; /* an IOReturn, printed without its sign */
    return true;
}

/* "(0000000e:…)" is hexadecimal, "(IOAF code 14)" decimal. */
static bool driver_code(const char *description, int64_t *code)
{
    static const char spelled[] = "(IOAF code ";
    const char *at = strstr(description, spelled);
    if (at != NULL) return read_number(at + sizeof spelled - 1, 10, ')', code);
    for (at = strchr(description, '('); at != NULL; at = strchr(at + 1, '(')) {
        if (strspn(at + 1, "0123456789abcdefABCDEF") == 8 && read_number(at + 1, 16, ':', code)) return true;
    }
    return false;
}

pv_status pv_metal_classify(const char *domain, int64_t code, const char *description)
{
    const bool public = domain != NULL && strcmp(domain, COMMAND_BUFFER_DOMAIN) == 0;
    const meaning *found = public ? find(public_codes, sizeof public_codes / sizeof public_codes[0], code) : NULL;
    if (found != NULL) return found->status;
    const bool known = domain != NULL && strcmp(domain, DRIVER_DOMAIN) == 0;
    if (!known && (description == NULL || !driver_code(description, &code))) return PV_DEVICE_TRANSIENT;
    found = find(driver_codes, sizeof driver_codes / sizeof driver_codes[0], code);
    return found != NULL ? found->status : PV_DEVICE_TRANSIENT;
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
