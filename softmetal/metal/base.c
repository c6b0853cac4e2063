/* What Metal objects have in common: a device, a label, and how misuse is told. */
#include "metal/metal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

id sm_base_new(Class class, sm_device *device)
{
    id object = sm_new(class);
    if (object) ((sm_base *)object)->device = (sm_device *)sm_retain((id)device);
    return object;
}

id sm_base_device(id self, SEL cmd)
{
    (void)cmd;
    return (id)((sm_base *)self)->device;
}

id sm_base_label(id self, SEL cmd)
{
    (void)cmd;
    return ((sm_base *)self)->label;
}

void sm_base_set_label(id self, SEL cmd, id label)
{
    (void)cmd;
    sm_store_text(&((sm_base *)self)->label, label);
}

void sm_base_dealloc(id self)
{
    sm_base *base = (sm_base *)self;
    sm_release(base->label);
    sm_release((id)base->device);
}

const char *sm_label_of(id object, const char *otherwise)
{
    id label = object ? ((sm_base *)object)->label : NULL;
    const char *text = label ? sm_string_utf8(label) : NULL;
    return text && *text ? text : otherwise;
}

id sm_text_copy(id string)
{
    string = sm_expect_kind(string, &sm_string_class, "setting a text");
    return string ? sm_string_create(sm_string_utf8(string)) : NULL;
}

id sm_own(id object)
{
    static const Class copied[] = {&sm_compile_options_class, &sm_pipeline_descriptor_class, &sm_function_descriptor_class};
    for (size_t i = 0; i < SM_COUNT(copied); i++) {
        if (sm_is_kind(object, copied[i])) return ((id(*)(id, SEL))sm_implementation(object, "copy"))(object, NULL);
    }
    return sm_retain(object);
}

char *sm_copy_text(const char *text)
{
    return sm_copy_bytes(text, strlen(text));
}

void sm_store(id *place, id object)
{
    id before = *place;
    *place = sm_retain(object);
    sm_release(before);
}

void sm_store_text(id *place, id string)
{
    id before = *place;
    *place = sm_text_copy(string);
    sm_release(before);
}

id sm_expect_kind(id object, Class class, const char *where)
{
    if (!object) return NULL;
    if (object->magic == SM_ENDED) {
        sm_reportf(SOFTMETAL_USE_AFTER_END, "[%s]: a %s that has ended was passed", where, object->isa->name);
        return NULL;
    }
    if (sm_is_kind(object, class)) return object;
    sm_misuse(where, "a %s was passed where a %s belongs", object->isa ? object->isa->name : "thing that is no object",
              class->name);
    return NULL;
}

void sm_misuse(const char *method, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sm_reportf(SOFTMETAL_VALIDATION, "[%s]: %s", method, text);
}
