/* MTLCompileOptions. */
#include "metal/metal.h"

#include <string.h>

static sm_compile_options *of(id self)
{
    return (sm_compile_options *)self;
}

static id init(id self, SEL cmd)
{
    (void)cmd;
    of(self)->mathMode = SM_MATH_FAST;
    of(self)->mathFunctions = 0;
    of(self)->languageVersion = SM_LANGUAGE_NEWEST;
    of(self)->visibility = 0;
    return self;
}

static void dealloc(id self)
{
    sm_release(of(self)->macros);
    sm_release(of(self)->libraries);
    sm_release(of(self)->installName);
}

static id copy(id self, SEL cmd)
{
    (void)cmd;
    sm_compile_options *made = of(sm_new(&sm_compile_options_class));
    if (!made) return NULL;
    sm_object object = made->object;
    *made = *of(self);
    made->object = object;
    sm_retain(made->macros);
    sm_retain(made->libraries);
    sm_retain(made->installName);
    return (id)made;
}

/* The older name of the same thing. */
static BOOL fast_math(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->mathMode == SM_MATH_FAST;
}

static void set_fast_math(id self, SEL cmd, BOOL fast)
{
    (void)cmd;
    of(self)->mathMode = fast ? SM_MATH_FAST : SM_MATH_SAFE;
}

SM_ACCESSORS(sm_compile_options, mathMode, NSInteger)
SM_ACCESSORS(sm_compile_options, mathFunctions, NSInteger)
SM_ACCESSORS(sm_compile_options, languageVersion, NSUInteger)
SM_ACCESSORS(sm_compile_options, libraryType, NSInteger)
SM_ACCESSORS(sm_compile_options, optimizationLevel, NSInteger)
SM_ACCESSORS(sm_compile_options, visibility, NSInteger)
SM_ACCESSORS(sm_compile_options, invariance, BOOL)
SM_ACCESSORS(sm_compile_options, undefined, BOOL)
SM_ACCESSORS(sm_compile_options, logging, BOOL)
SM_ACCESSORS(sm_compile_options, maxThreads, NSUInteger)
SM_ACCESSORS(sm_compile_options, required, sm_size)
SM_OBJECT_ACCESSORS(sm_compile_options, macros, sm_store)
SM_OBJECT_ACCESSORS(sm_compile_options, libraries, sm_store)
SM_OBJECT_ACCESSORS(sm_compile_options, installName, sm_store_text)

static const sm_method methods[] = {
    SM_METHOD("init", "@@:", init),
    SM_METHOD("copy", "@@:", copy),
    SM_METHOD("fastMathEnabled", "B@:", fast_math),
    SM_METHOD("setFastMathEnabled:", "v@:B", set_fast_math),
    SM_PROPERTY("mathMode", "setMathMode:", "q", mathMode),
    SM_PROPERTY("mathFloatingPointFunctions", "setMathFloatingPointFunctions:", "q", mathFunctions),
    SM_PROPERTY("languageVersion", "setLanguageVersion:", "Q", languageVersion),
    SM_PROPERTY("libraryType", "setLibraryType:", "q", libraryType),
    SM_PROPERTY("optimizationLevel", "setOptimizationLevel:", "q", optimizationLevel),
    SM_PROPERTY("compileSymbolVisibility", "setCompileSymbolVisibility:", "q", visibility),
    SM_PROPERTY("preserveInvariance", "setPreserveInvariance:", "B", invariance),
    SM_PROPERTY("allowReferencingUndefinedSymbols", "setAllowReferencingUndefinedSymbols:", "B", undefined),
    SM_PROPERTY("enableLogging", "setEnableLogging:", "B", logging),
    SM_PROPERTY("maxTotalThreadsPerThreadgroup", "setMaxTotalThreadsPerThreadgroup:", "Q", maxThreads),
    SM_PROPERTY("requiredThreadsPerThreadgroup", "setRequiredThreadsPerThreadgroup:", SM_SIZE_TYPE, required),
    SM_PROPERTY("preprocessorMacros", "setPreprocessorMacros:", "@", macros),
    SM_PROPERTY("libraries", "setLibraries:", "@", libraries),
    SM_PROPERTY("installName", "setInstallName:", "@", installName),
};
sm_class sm_compile_options_class = {
    .name = "MTLCompileOptions", .size = sizeof(sm_compile_options), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_compile_options_class)
