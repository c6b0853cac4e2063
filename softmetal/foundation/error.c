/* NSError, and the names that its dictionary uses. */
#include "foundation/foundation.h"
#include "objc/runtime.h"

#include <inttypes.h>

typedef struct sm_error {
    sm_object object;
    id domain, user_info;
    int64_t code;
} sm_error;

SM_STRING_CONSTANT(NSLocalizedDescriptionKey, "NSLocalizedDescription")
SM_STRING_CONSTANT(NSLocalizedFailureErrorKey, "NSLocalizedFailure")
SM_STRING_CONSTANT(NSLocalizedFailureReasonErrorKey, "NSLocalizedFailureReason")
SM_STRING_CONSTANT(NSLocalizedRecoverySuggestionErrorKey, "NSLocalizedRecoverySuggestion")
SM_STRING_CONSTANT(NSLocalizedRecoveryOptionsErrorKey, "NSLocalizedRecoveryOptions")
SM_STRING_CONSTANT(NSUnderlyingErrorKey, "NSUnderlyingError")
SM_STRING_CONSTANT(NSDebugDescriptionErrorKey, "NSDebugDescription")
SM_STRING_CONSTANT(NSFilePathErrorKey, "NSFilePath")
SM_STRING_CONSTANT(NSURLErrorKey, "NSURL")
SM_STRING_CONSTANT(NSCocoaErrorDomain, "NSCocoaErrorDomain")
SM_STRING_CONSTANT(NSPOSIXErrorDomain, "NSPOSIXErrorDomain")
SM_STRING_CONSTANT(NSOSStatusErrorDomain, "NSOSStatusErrorDomain")
SM_STRING_CONSTANT(NSMachErrorDomain, "NSMachErrorDomain")

static sm_error *as_error(id self)
{
    return (sm_error *)self;
}

static id init(id self, SEL _cmd, id domain, NSInteger code, id user_info)
{
    (void)_cmd;
    sm_error *error = as_error(self);
    error->domain = sm_retain(domain);
    error->code = code;
    error->user_info = sm_retain(user_info);
    return self;
}

static id with_domain(id self, SEL _cmd, id domain, NSInteger code, id user_info)
{
    id error = sm_new((Class)self);
    return error ? sm_autorelease(init(error, _cmd, domain, code, user_info)) : NULL;
}

static void dealloc(id self)
{
    sm_release(as_error(self)->domain);
    sm_release(as_error(self)->user_info);
}

static id domain(id self, SEL _cmd)
{
    (void)_cmd;
    return as_error(self)->domain;
}

static NSInteger code(id self, SEL _cmd)
{
    (void)_cmd;
    return as_error(self)->code;
}

static id empty_dictionary;

/* Never nil, as on a Mac. */
static id user_info(id self, SEL _cmd)
{
    (void)_cmd;
    return as_error(self)->user_info ? as_error(self)->user_info : empty_dictionary;
}

static id from_user_info(id self, const char *key)
{
    return as_error(self)->user_info ? sm_dictionary_get(as_error(self)->user_info, key) : NULL;
}

static id localized_description(id self, SEL _cmd)
{
    (void)_cmd;
    id text = from_user_info(self, "NSLocalizedDescription"), reason = from_user_info(self, "NSLocalizedFailureReason");
    if (text) return text;
    if (reason)
        return sm_autorelease(sm_string_createf("The operation couldn\xe2\x80\x99t be completed. %s", sm_string_utf8(reason)));
    return sm_autorelease(sm_string_createf("The operation couldn\xe2\x80\x99t be completed. (%s error %" PRId64 ".)",
                                            sm_error_domain(self) ? sm_error_domain(self) : "(null)", as_error(self)->code));
}

static id localized_failure_reason(id self, SEL _cmd)
{
    (void)_cmd;
    return from_user_info(self, "NSLocalizedFailureReason");
}

static id localized_recovery_suggestion(id self, SEL _cmd)
{
    (void)_cmd;
    return from_user_info(self, "NSLocalizedRecoverySuggestion");
}

static id localized_recovery_options(id self, SEL _cmd)
{
    (void)_cmd;
    return from_user_info(self, "NSLocalizedRecoveryOptions");
}

static id description(id self, SEL _cmd)
{
    const char *text = sm_string_utf8(localized_description(self, _cmd)), *name = sm_error_domain(self);
    return sm_autorelease(sm_string_createf("Error Domain=%s Code=%" PRId64 " \"%s\"", name ? name : "(null)",
                                            as_error(self)->code, text ? text : ""));
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    (void)_cmd;
    return sm_is_kind(other, &sm_error_class) && as_error(self)->code == as_error(other)->code &&
           sm_equal(as_error(self)->domain, as_error(other)->domain) &&
           sm_equal(as_error(self)->user_info, as_error(other)->user_info);
}

static NSUInteger hash(id self, SEL _cmd)
{
    (void)_cmd;
    return (NSUInteger)as_error(self)->code;
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

static const sm_method methods[] = {
    SM_METHOD("initWithDomain:code:userInfo:", "@@:@q@", init),
    SM_METHOD("domain", "@@:", domain),
    SM_METHOD("code", "q@:", code),
    SM_METHOD("userInfo", "@@:", user_info),
    SM_METHOD("localizedDescription", "@@:", localized_description),
    SM_METHOD("localizedFailureReason", "@@:", localized_failure_reason),
    SM_METHOD("localizedRecoverySuggestion", "@@:", localized_recovery_suggestion),
    SM_METHOD("localizedRecoveryOptions", "@@:", localized_recovery_options),
    SM_METHOD("description", "@@:", description),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", hash),
    SM_METHOD("copy", "@@:", copy),
};

static const sm_method class_methods[] = {
    SM_METHOD("errorWithDomain:code:userInfo:", "@@:@q@", with_domain),
};

sm_class sm_error_class = {
    .name = "NSError",
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_error),
    .dealloc = dealloc,
};
SM_REGISTER_AT_LOAD(sm_error_class)

__attribute__((constructor)) static void make_empty(void)
{
    empty_dictionary = sm_make_immortal(sm_dictionary_create(NULL, NULL, 0));
}

/* ---- For the other parts */

const char *sm_error_domain(id error)
{
    return error ? sm_string_utf8(as_error(error)->domain) : NULL;
}

int64_t sm_error_code(id error)
{
    return error ? as_error(error)->code : 0;
}

id sm_error_create_with(const char *domain_name, int64_t error_code, id info)
{
    id name = sm_string_create(domain_name);
    id error = sm_new(&sm_error_class);
    if (error) init(error, NULL, name, error_code, info);
    sm_release(name);
    sm_release(info);
    return error;
}

id sm_error_create(const char *domain_name, int64_t error_code, const char *text)
{
    id value = sm_string_create(text), key = NSLocalizedDescriptionKey;
    id error = sm_error_create_with(domain_name, error_code, value ? sm_dictionary_create(&key, &value, 1) : NULL);
    sm_release(value);
    return error;
}

void sm_error_set(id *error, const char *domain_name, int64_t error_code, const char *text)
{
    if (error) *error = sm_autorelease(sm_error_create(domain_name, error_code, text));
}
