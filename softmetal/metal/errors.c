/* The NSErrors of command buffers, and the names of Metal's domains as hosts find them. */
#include "metal/metal.h"

SM_STRING_CONSTANT(MTLCommandBufferErrorDomain, SM_COMMAND_DOMAIN)
SM_STRING_CONSTANT(MTLCommandBufferEncoderInfoErrorKey, "MTLCommandBufferEncoderInfoErrorKey")
SM_STRING_CONSTANT(MTLLibraryErrorDomain, SM_LIBRARY_DOMAIN)

extern const id NSLocalizedDescriptionKey;

id sm_command_error_create(const sm_outcome *outcome, id encoders)
{
    id text = sm_string_create(outcome->text);
    if (!text || !encoders) {
        sm_release(text);
        return sm_error_create(outcome->domain, outcome->code, outcome->text);
    }
    id keys[] = {NSLocalizedDescriptionKey, MTLCommandBufferEncoderInfoErrorKey}, values[] = {text, encoders};
    id error = sm_error_create_with(outcome->domain, outcome->code, sm_dictionary_create(keys, values, SM_COUNT(keys)));
    sm_release(text);
    return error;
}

const char *sm_error_text(id error)
{
    IMP description = error ? sm_implementation(error, "localizedDescription") : NULL;
    return description ? sm_string_utf8(((id(*)(id, SEL))description)(error, NULL)) : "unknown error";
}
