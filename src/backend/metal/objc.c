#include "backend/metal/objc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* CoreGraphics comes first: without it a command-line program finds no device. */
static const char *const apples[] = {
    "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics",
    "/usr/lib/libobjc.A.dylib",
    "/System/Library/Frameworks/Foundation.framework/Foundation",
    "/System/Library/Frameworks/Metal.framework/Metal",
};
#define PV_APPLES (sizeof apples / sizeof apples[0])

static pv_status open_library(const char *path, void **library, pv_error *error)
{
    *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (*library != NULL) return PV_OK;
    const char *why = dlerror();
#ifndef __APPLE__
    if (path == apples[0]) return pv_fail_at(error, PV_NOT_FOUND, "metal", PV_NO_OFFSET, "this system has no Metal");
#endif
    return pv_fail_at(error, PV_NOT_FOUND, "metal", PV_NO_OFFSET, "%s cannot be opened: %s", path, why != NULL ? why : "no reason given");
}

/* The symbol in any of the libraries that are open. */
static pv_status find(const pv_objc *objc, const char *name, void *symbol, pv_error *error)
{
    for (size_t i = 0; i < PV_APPLES && objc->libraries[i] != NULL; i++) {
        void *found = dlsym(objc->libraries[i], name);
        if (found != NULL) {
            memcpy(symbol, &found, sizeof found); /* of any pointer type, functions included */
            return PV_OK;
        }
    }
    return pv_fail_at(error, PV_NOT_FOUND, "metal", PV_NO_OFFSET, "the Objective-C and Metal libraries have no %s", name);
}

static pv_status find_symbols(pv_objc *objc, pv_sel (**name_selector)(const char *), pv_id (**get_class)(const char *), pv_error *error)
{
    const struct {
        const char *name;
        void *symbol;
    } wanted[] = {
        {"objc_msgSend", &objc->send},
        {"objc_autoreleasePoolPush", &objc->push},
        {"objc_autoreleasePoolPop", &objc->pop},
        {"objc_retain", &objc->retain},
        {"objc_release", &objc->release},
        {"MTLCreateSystemDefaultDevice", &objc->create_device},
        {"_NSConcreteStackBlock", &objc->stack_block},
        {"sel_registerName", name_selector},
        {"objc_getClass", get_class},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const pv_status status = find(objc, wanted[i].name, wanted[i].symbol, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

/* A class of a newer system than this one is NULL: who uses it asks. */
static void look_up(pv_objc *objc, pv_sel (*name_selector)(const char *), pv_id (*get_class)(const char *))
{
#define PV_METAL_SELECTOR(result, name, class, selector, encoding, ...) objc->selectors.name = name_selector(selector);
    PV_METAL_GETTERS(PV_METAL_SELECTOR)
    PV_METAL_CALLS(PV_METAL_SELECTOR)
    PV_METAL_CLASS_GETTERS(PV_METAL_SELECTOR)
    PV_METAL_CLASS_CALLS(PV_METAL_SELECTOR)
#undef PV_METAL_SELECTOR
    objc->selectors.new_ = name_selector("new");
#define PV_METAL_CLASS(name) objc->classes.name = get_class(#name);
    PV_METAL_CLASSES(PV_METAL_CLASS)
#undef PV_METAL_CLASS
}

pv_status pv_objc_open(const char *stand_in, pv_objc *objc, pv_error *error)
{
    pv_sel (*name_selector)(const char *) = NULL;
    pv_id (*get_class)(const char *) = NULL;
    pv_status status = PV_OK;
    memset(objc, 0, sizeof *objc);
    if (stand_in != NULL) {
        status = open_library(stand_in, &objc->libraries[0], error);
    } else {
        for (size_t i = 0; i < PV_APPLES && status == PV_OK; i++) status = open_library(apples[i], &objc->libraries[i], error);
    }
    if (status == PV_OK) status = find_symbols(objc, &name_selector, &get_class, error);
    if (status == PV_OK) {
        look_up(objc, name_selector, get_class);
    } else {
        pv_objc_close(objc);
    }
    return status;
}

void pv_objc_close(pv_objc *objc)
{
    for (size_t i = PV_APPLES; i-- > 0;) {
        if (objc->libraries[i] != NULL) dlclose(objc->libraries[i]);
    }
    memset(objc, 0, sizeof *objc);
}
