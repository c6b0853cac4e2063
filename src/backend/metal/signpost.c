#include "backend/metal/signpost.h"

#include <dlfcn.h>
#include <string.h>

#define INTERVAL_BEGIN 1 /* os_signpost_type_t */
#define INTERVAL_END 2
#define NO_ID 0 /* OS_SIGNPOST_ID_NULL; all ones is OS_SIGNPOST_ID_INVALID */

/* The log keeps where a text stands in the image, not its bytes: names and formats are constants of a section of their own. */
#ifdef __APPLE__
#define LOGGED __attribute__((section("__TEXT,__oslogstring,cstring_literals")))
#else
#define LOGGED
#endif
static const char prepare_name[] LOGGED = "prepare", encode_name[] LOGGED = "encode", step_name[] LOGGED = "step";
static const char text_format[] LOGGED = "%{public}s", no_format[] LOGGED = "";
static const char *const names[PV_SIGNPOSTS] = {prepare_name, encode_name, step_name};

static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (found != NULL) memcpy(function, &found, sizeof found);
    return found != NULL;
}

void pv_signposts_open(pv_signposts *signposts)
{
    void *(*create)(const char *subsystem, const char *category) = NULL;
    Dl_info image;
    *signposts = (pv_signposts){0};
    void *program = dlopen(NULL, RTLD_NOW); /* libSystem is in every program */
    if (program == NULL) return;
    if (dladdr(text_format, &image) != 0 && find(program, "os_log_create", &create) &&
        find(program, "os_signpost_enabled", &signposts->enabled) &&
        find(program, "os_signpost_id_generate", &signposts->generate) &&
        find(program, "_os_signpost_emit_with_name_impl", &signposts->emit)) {
        signposts->image = image.dli_fbase;
        signposts->log = create("pensieve", "Metal"); /* the system's own, one for ever */
    }
    dlclose(program);
}

uint64_t pv_signpost_begin(const pv_signposts *signposts, pv_signpost what, const char *text)
{
    if (signposts == NULL || signposts->log == NULL || !signposts->enabled(signposts->log)) return NO_ID;
    const uint64_t id = signposts->generate(signposts->log);
    if (id == NO_ID || id == UINT64_MAX) return NO_ID;
    /* one argument that is no scalar; it is a public string, of the eight bytes of its address */
    uint8_t arguments[12] = {0x02, 1, 0x22, sizeof text};
    memcpy(arguments + 4, &text, sizeof text);
    signposts->emit(signposts->image, signposts->log, INTERVAL_BEGIN, id, names[what], text_format, arguments,
                    sizeof arguments);
    return id;
}

void pv_signpost_end(const pv_signposts *signposts, pv_signpost what, uint64_t id)
{
    uint8_t none[2] = {0, 0};
    if (signposts == NULL || signposts->log == NULL || id == NO_ID) return;
    signposts->emit(signposts->image, signposts->log, INTERVAL_END, id, names[what], no_format, none, sizeof none);
}
