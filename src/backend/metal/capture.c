#include "backend/metal/capture.h"

#include <stdio.h>

#define TRACE_DOCUMENT 2 /* MTLCaptureDestinationGPUTraceDocument */

static void say(const pv_metal_device *device, const char *what, const char *why)
{
    char line[512];
    if (device->environment->log == NULL) return;
    snprintf(line, sizeof line, "the capture %.200s %s%s%.200s", device->environment->capture, what, why != NULL ? ": " : "",
             why != NULL ? why : "");
    device->environment->log(device->environment->log_user, why != NULL ? PV_LOG_WARNING : PV_LOG_INFO, line);
}

static bool begin_capture(const pv_metal_device *device, pv_id manager, pv_id url, pv_id *nserror)
{
    const pv_objc *objc = &device->objc;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLCaptureDescriptor);
    pv_msg_capture_object(objc, descriptor, device->queue);
    pv_msg_capture_destination(objc, descriptor, TRACE_DOCUMENT);
    pv_msg_capture_url(objc, descriptor, url);
    const bool begun = pv_msg_capture_start(objc, manager, descriptor, nserror);
    objc->release(descriptor);
    return begun;
}

void pv_metal_capture_start(pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    if (device->environment->capture == NULL || device->captured) return;
    device->captured = true;
    const pv_id url = pv_objc_url(objc, device->environment->capture);
    const pv_id manager =
        objc->classes.MTLCaptureManager != NULL ? pv_msg_capture_manager(objc, objc->classes.MTLCaptureManager) : NULL;
    if (manager == NULL || !pv_msg_capture_supports(objc, manager, TRACE_DOCUMENT)) {
        say(device, "is not made", "the system allows none; METAL_CAPTURE_ENABLED=1 in the environment does");
    } else if (url == NULL) {
        say(device, "is not made", "its path is no UTF-8");
    } else if (!begin_capture(device, manager, url, &nserror)) {
        const char *why = nserror != NULL ? pv_msg_string_utf8(objc, pv_msg_error_description(objc, nserror)) : NULL;
        say(device, "is not made", why != NULL ? why : "no reason given");
    } else {
        device->capturing = true;
    }
}

void pv_metal_capture_stop(pv_metal_device *device)
{
    if (!device->capturing) return;
    device->capturing = false;
    pv_msg_capture_stop(&device->objc, pv_msg_capture_manager(&device->objc, device->objc.classes.MTLCaptureManager));
    say(device, "is written", NULL);
}
