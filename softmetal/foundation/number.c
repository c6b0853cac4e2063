/* NSNumber, and NSValue as far as it holds one. */
#include "foundation/foundation.h"
#include "objc/runtime.h"

#include <inttypes.h>
#include <string.h>

typedef struct sm_number {
    sm_object object;
    char type[2]; /* Objective-C encoding */
    union {
        int64_t integer;
        uint64_t natural; /* of type Q */
        double real;      /* of types f and d */
    } value;
} sm_number;

static sm_number *as_number(id self)
{
    return (sm_number *)self;
}

static bool is_real(id self)
{
    return as_number(self)->type[0] == 'f' || as_number(self)->type[0] == 'd';
}

static bool is_natural(id self)
{
    return as_number(self)->type[0] == 'Q';
}

static int64_t integer(id self)
{
    if (!is_real(self)) return as_number(self)->value.integer;
    double value = as_number(self)->value.real;
    if (value != value) return 0;
    if (value >= 9223372036854775808.0) return INT64_MAX;
    return value > -9223372036854775808.0 ? (int64_t)value : INT64_MIN;
}

static uint64_t natural(id self)
{
    if (!is_real(self)) return as_number(self)->value.natural;
    double value = as_number(self)->value.real;
    return value >= 18446744073709551616.0 ? UINT64_MAX : value > 0 ? (uint64_t)value : (uint64_t)integer(self);
}

static double real(id self)
{
    if (is_real(self)) return as_number(self)->value.real;
    return is_natural(self) ? (double)as_number(self)->value.natural : (double)as_number(self)->value.integer;
}

/* For each C type: name, its encoding in a number, its encoding as an argument, C type, member, getter's source. */
#define SM_NUMBER_TYPES(X)                                                                                                     \
    X(char, Char, "c", int8_t, integer)                                                                                        \
    X(unsigned_char, UnsignedChar, "C", uint8_t, integer)                                                                      \
    X(short, Short, "s", int16_t, integer)                                                                                     \
    X(unsigned_short, UnsignedShort, "S", uint16_t, integer)                                                                   \
    X(int, Int, "i", int32_t, integer)                                                                                         \
    X(unsigned_int, UnsignedInt, "I", uint32_t, integer)                                                                       \
    X(long, Long, "q", int64_t, integer)                                                                                       \
    X(unsigned_long, UnsignedLong, "Q", uint64_t, natural)                                                                     \
    X(long_long, LongLong, "q", int64_t, integer)                                                                              \
    X(unsigned_long_long, UnsignedLongLong, "Q", uint64_t, natural)                                                            \
    X(integer, Integer, "q", int64_t, integer)                                                                                 \
    X(unsigned_integer, UnsignedInteger, "Q", uint64_t, natural)                                                               \
    X(float, Float, "f", float, real)                                                                                          \
    X(double, Double, "d", double, real)

#define SM_NUMBER_FUNCTIONS(name, Name, encoding, ctype, member)                                                               \
    static id init_##name(id self, SEL _cmd, ctype value)                                                                      \
    {                                                                                                                          \
        (void)_cmd;                                                                                                            \
        as_number(self)->type[0] = *encoding;                                                                                  \
        as_number(self)->value.member = value;                                                                                 \
        return self;                                                                                                           \
    }                                                                                                                          \
    static id with_##name(id self, SEL _cmd, ctype value)                                                                      \
    {                                                                                                                          \
        id number = sm_new((Class)self);                                                                                       \
        return number ? sm_autorelease(init_##name(number, _cmd, value)) : NULL;                                               \
    }                                                                                                                          \
    static ctype get_##name(id self, SEL _cmd)                                                                                 \
    {                                                                                                                          \
        (void)_cmd;                                                                                                            \
        return (ctype)member(self);                                                                                            \
    }
SM_NUMBER_TYPES(SM_NUMBER_FUNCTIONS)

/* BOOL is a char in a number, but its encoding as an argument is that of the platform. */
static id init_bool(id self, SEL _cmd, BOOL value)
{
    return init_char(self, _cmd, value != 0);
}

static id with_bool(id self, SEL _cmd, BOOL value)
{
    return with_char(self, _cmd, value != 0);
}

static BOOL get_bool(id self, SEL _cmd)
{
    (void)_cmd;
    return is_real(self) ? real(self) != 0 : integer(self) != 0;
}

static const char *objc_type(id self, SEL _cmd)
{
    (void)_cmd;
    return as_number(self)->type;
}

/* ---- Comparison */

static NSInteger order(double one, double other)
{
    return (one > other) - (one < other);
}

static NSInteger compare(id self, SEL _cmd, id other)
{
    (void)_cmd;
    if (!sm_is_kind(other, &sm_number_class)) return 1;
    if (is_real(self) || is_real(other)) return order(real(self), real(other));
    bool negative = !is_natural(self) && integer(self) < 0, other_negative = !is_natural(other) && integer(other) < 0;
    if (negative != other_negative) return negative ? -1 : 1;
    if (negative) return (integer(self) > integer(other)) - (integer(self) < integer(other));
    return (natural(self) > natural(other)) - (natural(self) < natural(other));
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    return other && sm_is_kind(other, &sm_number_class) && compare(self, _cmd, other) == 0;
}

/* Equal numbers of different types have the same. */
static NSUInteger hash(id self, SEL _cmd)
{
    (void)_cmd;
    return is_real(self) && real(self) != (double)integer(self) ? (NSUInteger)(real(self) * 2654435761.0) : natural(self);
}

static id string_value(id self, SEL _cmd)
{
    (void)_cmd;
    if (is_real(self)) return sm_autorelease(sm_string_createf("%.17g", real(self)));
    if (is_natural(self)) return sm_autorelease(sm_string_createf("%" PRIu64, natural(self)));
    return sm_autorelease(sm_string_createf("%" PRId64, integer(self)));
}

static id copy(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

#define SM_NUMBER_METHODS(name, Name, encoding, ctype, member) SM_METHOD("initWith" #Name ":", "@@:" encoding, init_##name),
#define SM_NUMBER_CLASS_METHODS(name, Name, encoding, ctype, member)                                                           \
    SM_METHOD("numberWith" #Name ":", "@@:" encoding, with_##name),

static const sm_method methods[] = {
    SM_METHOD("initWithBool:", "@@:B", init_bool),
    SM_METHOD("charValue", "c@:", get_char),
    SM_METHOD("unsignedCharValue", "C@:", get_unsigned_char),
    SM_METHOD("shortValue", "s@:", get_short),
    SM_METHOD("unsignedShortValue", "S@:", get_unsigned_short),
    SM_METHOD("intValue", "i@:", get_int),
    SM_METHOD("unsignedIntValue", "I@:", get_unsigned_int),
    SM_METHOD("longValue", "q@:", get_long),
    SM_METHOD("unsignedLongValue", "Q@:", get_unsigned_long),
    SM_METHOD("longLongValue", "q@:", get_long_long),
    SM_METHOD("unsignedLongLongValue", "Q@:", get_unsigned_long_long),
    SM_METHOD("integerValue", "q@:", get_integer),
    SM_METHOD("unsignedIntegerValue", "Q@:", get_unsigned_integer),
    SM_METHOD("floatValue", "f@:", get_float),
    SM_METHOD("doubleValue", "d@:", get_double),
    SM_METHOD("boolValue", "B@:", get_bool),
    SM_METHOD("objCType", "*@:", objc_type),
    SM_METHOD("compare:", "q@:@", compare),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("isEqualToNumber:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", hash),
    SM_METHOD("stringValue", "@@:", string_value),
    SM_METHOD("description", "@@:", string_value),
    SM_METHOD("copy", "@@:", copy),
    SM_NUMBER_TYPES(SM_NUMBER_METHODS) //
};

static const sm_method class_methods[] = {
    SM_METHOD("numberWithBool:", "@@:B", with_bool),
    SM_NUMBER_TYPES(SM_NUMBER_CLASS_METHODS) //
};

static sm_class value_class = {.name = "NSValue", .size = sizeof(sm_object)};

sm_class sm_number_class = {
    .name = "NSNumber",
    .super = &value_class,
    SM_METHODS(methods),
    SM_CLASS_METHODS(class_methods),
    .size = sizeof(sm_number),
};
SM_REGISTER_AT_LOAD(sm_number_class)

/* ---- For the other parts */

id sm_number_create_uint(uint64_t value)
{
    id number = sm_new(&sm_number_class);
    return number ? init_unsigned_long(number, NULL, value) : NULL;
}

id sm_number_create_double(double value)
{
    id number = sm_new(&sm_number_class);
    return number ? init_double(number, NULL, value) : NULL;
}

uint64_t sm_number_uint(id number)
{
    return number ? natural(number) : 0;
}
