/* MTLFunctionDescriptor. */
#include "metal/metal.h"

static sm_function_descriptor *of(id self)
{
    return (sm_function_descriptor *)self;
}

SM_OBJECT_ACCESSORS(sm_function_descriptor, name, sm_store_text)
SM_OBJECT_ACCESSORS(sm_function_descriptor, specializedName, sm_store_text)
SM_OBJECT_ACCESSORS(sm_function_descriptor, binaryArchives, sm_store)
SM_ACCESSORS(sm_function_descriptor, options, NSUInteger)
SM_GETTER(sm_function_descriptor, constantValues, id)

static void set_values(id self, SEL cmd, id values)
{
    (void)cmd;
    id copy =
        sm_constant_values_copy(sm_expect_kind(values, &sm_constant_values_class, "MTLFunctionDescriptor setConstantValues:"));
    sm_store(&of(self)->constantValues, copy);
    sm_release(copy);
}

static void dealloc(id self)
{
    sm_release(of(self)->name);
    sm_release(of(self)->specializedName);
    sm_release(of(self)->binaryArchives);
    sm_release(of(self)->constantValues);
}

static id make(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return sm_autorelease(sm_new(&sm_function_descriptor_class));
}

static id copy(id self, SEL cmd)
{
    id made = sm_new(&sm_function_descriptor_class);
    if (!made) return NULL;
    set_name(made, cmd, of(self)->name);
    set_specializedName(made, cmd, of(self)->specializedName);
    set_binaryArchives(made, cmd, of(self)->binaryArchives);
    set_values(made, cmd, of(self)->constantValues);
    set_options(made, cmd, of(self)->options);
    return made;
}

static const sm_method methods[] = {
    SM_METHOD("copy", "@@:", copy),
    SM_PROPERTY("name", "setName:", "@", name),
    SM_PROPERTY("specializedName", "setSpecializedName:", "@", specializedName),
    SM_PROPERTY("binaryArchives", "setBinaryArchives:", "@", binaryArchives),
    SM_PROPERTY("options", "setOptions:", "Q", options),
    SM_METHOD("constantValues", "@@:", get_constantValues),
    SM_METHOD("setConstantValues:", "v@:@", set_values),
};
static const sm_method class_methods[] = {SM_METHOD("functionDescriptor", "@@:", make)};
sm_class sm_function_descriptor_class = {.name = "MTLFunctionDescriptor",
                                         .size = sizeof(sm_function_descriptor),
                                         .dealloc = dealloc,
                                         SM_METHODS(methods),
                                         SM_CLASS_METHODS(class_methods)};
SM_REGISTER_AT_LOAD(sm_function_descriptor_class)
