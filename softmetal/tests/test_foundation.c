/* Foundation as a host of Metal uses it. */
#include "objc_support.h"

#include "foundation/dispatch.h"
#include "foundation/encoding.h"

#include <math.h>
#include <unistd.h>

static void *pool;
static uint64_t live;

static int setup(void **state)
{
    (void)state;
    live = sm_live_objects();
    pool = objc_autoreleasePoolPush();
    return 0;
}

/* Every test gives back all that it made. */
static int teardown(void **state)
{
    (void)state;
    objc_autoreleasePoolPop(pool);
    return sm_live_objects() == live ? 0 : -1;
}

/* objc_msgSend for a result and the types of the arguments behind the selector. */
#define CALL(result, ...) (result(*)(id, SEL, ##__VA_ARGS__)) sm_sender()
static SEL sel(const char *name)
{
    return sel_registerName(name);
}

static const char *utf8(id string)
{
    return ((const char *(*)(id, SEL))sm_sender())(string, sel("UTF8String"));
}

static id alloc(const char *name)
{
    return send(class_named(name), "alloc");
}

/* ---- NSString */

static void strings_hold_utf8(void **state)
{
    (void)state;
    id string = text("Gr\xc3\xbc\xc3\x9f"
                     "e, \xf0\x9f\x8d\x8e!");
    assert_string_equal(utf8(string), "Gr\xc3\xbc\xc3\x9f"
                                      "e, \xf0\x9f\x8d\x8e!");
    static const uint16_t units[] = {'G', 'r', 0xfc, 0xdf, 'e', ',', ' ', 0xd83c, 0xdf4e, '!'};
    assert_int_equal(send_uint(string, "length"), 10);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal((CALL(uint16_t, uint64_t))(string, sel("characterAtIndex:"), i), units[i]);
    assert_reports(SOFTMETAL_VALIDATION, "index 10 of a string of length 10",
                   assert_int_equal((CALL(uint16_t, uint64_t))(string, sel("characterAtIndex:"), 10), 0));
    id plain = text("plain");
    assert_int_equal((CALL(uint16_t, uint64_t))(plain, sel("characterAtIndex:"), 4), 'n');
    assert_int_equal(send_uint(text(""), "length"), 0);
    assert_string_equal(utf8(text("")), "");
    assert_string_equal(utf8(send(class_named("NSString"), "string")), "");
    id made = (CALL(id, const char *))(alloc("NSString"), sel("initWithUTF8String:"), "made");
    assert_string_equal(utf8(made), "made");
    sm_release(made);
}

static void strings_that_are_none(void **state)
{
    (void)state;
    static const char *const broken[] = {"\x80", "\xc3",     "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                         "\xff", "a\xe2\x82"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_null(text(broken[i]));
        assert_null((CALL(id, const char *))(alloc("NSString"), sel("initWithUTF8String:"), broken[i]));
    }
    assert_reports(SOFTMETAL_VALIDATION, "stringWithUTF8String:]: the text is NULL", assert_null(text(NULL)));
}

static id from_bytes(const void *bytes, uint64_t length, uint64_t encoding)
{
    return sm_autorelease((CALL(id, const void *, uint64_t, uint64_t))(alloc("NSString"), sel("initWithBytes:length:encoding:"),
                                                                       bytes, length, encoding));
}

static void encodings(void **state)
{
    (void)state;
    assert_string_equal(utf8(from_bytes("abcdef", 3, SM_ASCII)), "abc");
    assert_null(from_bytes("ab\xe9", 3, SM_ASCII));
    assert_string_equal(utf8(from_bytes("\xe9t\xe9", 3, SM_LATIN1)), "\xc3\xa9t\xc3\xa9");
    assert_string_equal(utf8(from_bytes("\xc3\xa9", 2, SM_UTF8)), "\xc3\xa9");
    assert_string_equal(utf8(from_bytes("\xe9\0\x3c\xd8\x4e\xdf", 6, SM_UTF16_LITTLE)), "\xc3\xa9\xf0\x9f\x8d\x8e");
    assert_string_equal(utf8(from_bytes("\0\xe9", 2, SM_UTF16_BIG)), "\xc3\xa9");
    assert_string_equal(utf8(from_bytes("\xff\xfe\xe9\0", 4, SM_UTF16)), "\xc3\xa9");
    assert_string_equal(utf8(from_bytes("\x4e\xf3\x01\0", 4, SM_UTF32_LITTLE)), "\xf0\x9f\x8d\x8e");
    assert_null(from_bytes("\x3c\xd8", 2, SM_UTF16_LITTLE)); /* half a pair */
    assert_null(from_bytes("\x4e\xdf\x3c\xd8", 4, SM_UTF16_LITTLE));
    assert_null(from_bytes("abc", 3, SM_UTF16_LITTLE));
    assert_null(from_bytes("abc", 3, 999));
    assert_string_equal(utf8(from_bytes(NULL, 0, SM_UTF8)), "");
    assert_int_equal(send_uint(from_bytes("a\0b", 3, SM_UTF8), "length"), 3);

    id string = text("\xc3\xa9t\xc3\xa9 \xf0\x9f\x8d\x8e");
    static const struct {
        uint64_t encoding, bytes;
    } lengths[] = {{SM_UTF8, 10}, {SM_UTF16, 12}, {SM_UTF16_LITTLE, 12}, {SM_UTF32_LITTLE, 20}, {SM_ASCII, 0}, {SM_LATIN1, 0}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        assert_int_equal((CALL(uint64_t, uint64_t))(string, sel("lengthOfBytesUsingEncoding:"), lengths[i].encoding),
                         lengths[i].bytes);
    assert_int_equal((CALL(uint64_t, uint64_t))(text("\xc3\xa9t\xc3\xa9"), sel("lengthOfBytesUsingEncoding:"), SM_LATIN1), 3);
    assert_true((CALL(uint64_t, uint64_t))(string, sel("maximumLengthOfBytesUsingEncoding:"), SM_UTF8) >= 10);
    assert_string_equal((CALL(const char *, uint64_t))(string, sel("cStringUsingEncoding:"), SM_UTF8), utf8(string));
    assert_string_equal((CALL(const char *, uint64_t))(text("\xc3\xa9"), sel("cStringUsingEncoding:"), SM_LATIN1), "\xe9");
    assert_null((CALL(const char *, uint64_t))(string, sel("cStringUsingEncoding:"), SM_ASCII));
    id data = (CALL(id, uint64_t))(text("\xc3\xa9"), sel("dataUsingEncoding:"), SM_UTF16);
    assert_int_equal(send_uint(data, "length"), 4);
    assert_memory_equal(sm_data_bytes(data), "\xff\xfe\xe9\0", 4);
    data = (CALL(id, uint64_t, BOOL))(string, sel("dataUsingEncoding:allowLossyConversion:"), SM_ASCII, true);
    assert_int_equal(send_uint(data, "length"), 5);
    assert_memory_equal(sm_data_bytes(data), "?t? ?", 5);
}

static bool c_string(id string, char *buffer, uint64_t capacity, uint64_t encoding)
{
    return (CALL(BOOL, char *, uint64_t, uint64_t))(string, sel("getCString:maxLength:encoding:"), buffer, capacity, encoding);
}

static void c_strings_fit_or_not(void **state)
{
    (void)state;
    char buffer[8];
    memset(buffer, '#', sizeof buffer);
    assert_true(c_string(text("four"), buffer, 5, SM_UTF8));
    assert_memory_equal(buffer, "four\0###", 8);
    memset(buffer, '#', sizeof buffer);
    assert_false(c_string(text("four"), buffer, 4, SM_UTF8));
    assert_memory_equal(buffer, "########", 8);
    assert_true(c_string(text("abc"), buffer, 8, SM_UTF16_LITTLE));
    assert_memory_equal(buffer, "a\0b\0c\0\0", 8);
    assert_false(c_string(text("abc"), buffer, 7, SM_UTF16_LITTLE));
}

static void strings_are_compared(void **state)
{
    (void)state;
    id one = text("matmul_f16"), same = text("matmul_f16"), other = text("matmul_f32");
    assert_true(send_test(one, "isEqualToString:", same));
    assert_true(send_test(one, "isEqual:", same));
    assert_false(send_test(one, "isEqual:", other));
    assert_false(send_test(one, "isEqual:", class_named("NSString")));
    assert_false(send_test(one, "isEqualToString:", NULL));
    assert_true(send_uint(one, "hash") == send_uint(same, "hash"));
    assert_true(send_uint(one, "hash") != send_uint(other, "hash"));
    assert_int_equal((CALL(int64_t, id))(one, sel("compare:"), other), -1);
    assert_int_equal((CALL(int64_t, id))(other, sel("compare:"), one), 1);
    assert_int_equal((CALL(int64_t, id))(one, sel("compare:"), same), 0);
    assert_int_equal((CALL(int64_t, id))(text("ABC"), sel("caseInsensitiveCompare:"), text("abc")), 0);
    assert_true(send_test(one, "hasPrefix:", text("matmul")));
    assert_false(send_test(one, "hasPrefix:", text("atmul")));
    assert_false(send_test(one, "hasPrefix:", text("matmul_f16_and_more")));
    assert_true(send_test(one, "hasSuffix:", text("f16")));
    assert_false(send_test(one, "hasSuffix:", text("f32")));
    assert_true(send_test(one, "containsString:", text("mul_f")));
    assert_false(send_test(one, "containsString:", text("mulf")));
    assert_reports(SOFTMETAL_VALIDATION, "containsString:]: the argument is nil",
                   assert_false(send_test(one, "containsString:", NULL)));
    sm_range range = (CALL(sm_range, id, uint64_t))(text("\xc3\xa9ta l"), sel("rangeOfString:options:"), text("TA"), 1);
    assert_int_equal(range.location, 1);
    assert_int_equal(range.length, 2);
    range = (CALL(sm_range, id, uint64_t))(text("eta"), sel("rangeOfString:options:"), text("TA"), 0);
    assert_true(range.location == INT64_MAX);
}

static void strings_from_strings(void **state)
{
    (void)state;
    id both = send_id(text("head "), "stringByAppendingString:", text("tail"));
    assert_string_equal(utf8(both), "head tail");
    assert_string_equal(utf8(send_id(both, "stringByAppendingString:", text(""))), "head tail");
    assert_reports(SOFTMETAL_VALIDATION, "stringByAppendingString:]: the argument is nil",
                   assert_null(send_id(both, "stringByAppendingString:", NULL)));
    assert_string_equal(utf8(send_id(class_named("NSString"), "stringWithString:", both)), "head tail");
    id copy = send(both, "copy");
    assert_ptr_equal(copy, both);
    sm_release(copy);
    assert_ptr_equal(send(both, "description"), both);
    assert_int_equal((CALL(int64_t))(text(" -42 apples"), sel("integerValue")), -42);
    assert_int_equal((CALL(int))(text("99999999999"), sel("intValue")), INT32_MAX);
    assert_true((CALL(double))(text("2.5e3"), sel("doubleValue")) == 2500.0);
    id built = sm_string_createf("%s:%d:%d", "program_source", 3, 7);
    assert_string_equal(utf8(built), "program_source:3:7");
    sm_release(built);
    assert_null(sm_string_create(NULL));
    assert_null(sm_string_utf8(NULL));
}

/* ---- NSError */

static void errors(void **state)
{
    (void)state;
    id key = text("NSLocalizedDescription"), value = text("Compute function exceeds limits");
    id info = (CALL(id, const id *, const id *, uint64_t))(class_named("NSDictionary"),
                                                           sel("dictionaryWithObjects:forKeys:count:"), &value, &key, 1);
    id error =
        (CALL(id, id, int64_t, id))(class_named("NSError"), sel("errorWithDomain:code:userInfo:"), text("AGXMetal"), -3, info);
    assert_string_equal(utf8(send(error, "domain")), "AGXMetal");
    assert_int_equal((CALL(int64_t))(error, sel("code")), -3);
    assert_string_equal(utf8(send(error, "localizedDescription")), "Compute function exceeds limits");
    assert_null(send(error, "localizedFailureReason"));
    assert_ptr_equal(send(error, "userInfo"), info);
    assert_string_equal(utf8(send(error, "description")), "Error Domain=AGXMetal Code=-3 \"Compute function exceeds limits\"");
    assert_int_equal(sm_error_code(error), -3);
    assert_string_equal(sm_error_domain(error), "AGXMetal");

    id bare = (CALL(id, id, int64_t, id))(class_named("NSError"), sel("errorWithDomain:code:userInfo:"), text("Bare"), 8, NULL);
    assert_string_equal(utf8(send(bare, "localizedDescription")),
                        "The operation couldn\xe2\x80\x99t be completed. (Bare error 8.)");
    assert_non_null(send(bare, "userInfo"));
    assert_int_equal(send_uint(send(bare, "userInfo"), "count"), 0);
    assert_false(send_test(bare, "isEqual:", error));
    id same = (CALL(id, id, int64_t, id))(class_named("NSError"), sel("errorWithDomain:code:userInfo:"), text("Bare"), 8, NULL);
    assert_true(send_test(bare, "isEqual:", same));
}

static void errors_of_the_library(void **state)
{
    (void)state;
    id error = NULL;
    sm_error_set(&error, "MTLLibraryErrorDomain", 3, "program_source:3:7: error: expected ';'");
    assert_string_equal(utf8(send(error, "localizedDescription")), "program_source:3:7: error: expected ';'");
    assert_int_equal(send_uint(error, "retainCount"), 1);
    sm_error_set(NULL, "MTLLibraryErrorDomain", 3, "nobody asks");
}

/* ---- NSArray */

static id array_of(const char *class, size_t count, id *objects)
{
    return (CALL(id, const id *, uint64_t))(class_named(class), sel("arrayWithObjects:count:"), objects, count);
}

static id at(id array, uint64_t index)
{
    return (CALL(id, uint64_t))(array, sel("objectAtIndex:"), index);
}

static void arrays(void **state)
{
    (void)state;
    id objects[] = {text("a"), text("b"), text("c")};
    id array = array_of("NSArray", 3, objects);
    assert_int_equal(send_uint(array, "count"), 3);
    for (uint64_t i = 0; i < 3; i++) assert_ptr_equal(at(array, i), objects[i]);
    assert_int_equal(send_uint(objects[0], "retainCount"), 2);
    assert_reports(SOFTMETAL_VALIDATION, "-[NSArray objectAtIndex:]: index 3 is beyond its 3 objects",
                   assert_null(at(array, 3)));
    assert_ptr_equal(send(array, "firstObject"), objects[0]);
    assert_ptr_equal(send(array, "lastObject"), objects[2]);
    assert_int_equal((CALL(uint64_t, id))(array, sel("indexOfObject:"), text("b")), 1);
    assert_true((CALL(uint64_t, id))(array, sel("indexOfObject:"), text("z")) == INT64_MAX);
    assert_true(send_test(array, "containsObject:", text("c")));
    assert_true(send_test(array, "isEqual:", array_of("NSArray", 3, objects)));
    assert_false(send_test(array, "isEqual:", array_of("NSArray", 2, objects)));
    id empty = send(class_named("NSArray"), "array");
    assert_int_equal(send_uint(empty, "count"), 0);
    assert_null(send(empty, "firstObject"));
    assert_null(send(empty, "lastObject"));
    id holes[] = {objects[0], NULL};
    assert_reports(SOFTMETAL_VALIDATION, "an object is nil", assert_null(array_of("NSArray", 2, holes)));
    assert_int_equal(send_uint(objects[0], "retainCount"), 4); /* its own, and three arrays that the pool holds */
}

static void mutable_arrays(void **state)
{
    (void)state;
    id array = send(class_named("NSMutableArray"), "array");
    for (int i = 0; i < 100; i++)
        (CALL(void, id))(array, sel("addObject:"), sm_autorelease(sm_number_create_uint((uint64_t)i)));
    assert_int_equal(send_uint(array, "count"), 100);
    for (uint64_t i = 0; i < 100; i++) assert_int_equal(sm_number_uint(at(array, i)), i);
    (CALL(void, id, uint64_t))(array, sel("insertObject:atIndex:"), text("first"), 0);
    (CALL(void, uint64_t, id))(array, sel("replaceObjectAtIndex:withObject:"), 1, text("second"));
    (CALL(void, uint64_t))(array, sel("removeObjectAtIndex:"), 2);
    assert_string_equal(utf8(at(array, 0)), "first");
    assert_string_equal(utf8(at(array, 1)), "second");
    assert_int_equal(sm_number_uint(at(array, 2)), 2);
    assert_reports(SOFTMETAL_VALIDATION, "-[NSMutableArray addObject:]: an object is nil", send_id(array, "addObject:", NULL));
    assert_reports(SOFTMETAL_VALIDATION, "index 100 is beyond its 100 objects",
                   (CALL(void, uint64_t))(array, sel("removeObjectAtIndex:"), 100));
    assert_reports(SOFTMETAL_VALIDATION, "index 101 is beyond its 100 objects",
                   (CALL(void, id, uint64_t))(array, sel("insertObject:atIndex:"), text("x"), 101));
    send_id(array, "removeObject:", text("first"));
    send(array, "removeLastObject");
    assert_int_equal(send_uint(array, "count"), 98);
    id copy = send(array, "copy"), other = send(copy, "mutableCopy");
    send(array, "removeAllObjects");
    send(array, "removeLastObject");
    assert_int_equal(send_uint(array, "count"), 0);
    assert_int_equal(send_uint(copy, "count"), 98);
    assert_string_equal(object_getClassName(copy), "NSArray");
    assert_string_equal(object_getClassName(other), "NSMutableArray");
    sm_release(copy);
    sm_release(other);
}

typedef struct enumeration {
    unsigned long state;
    id *items;
    unsigned long *mutations, extra[5];
} enumeration;

static uint64_t next_items(id collection, enumeration *state, id *room, uint64_t capacity)
{
    return (CALL(uint64_t, enumeration *, id *, uint64_t))(collection, sel("countByEnumeratingWithState:objects:count:"), state,
                                                           room, capacity);
}

static void enumerations(void **state)
{
    (void)state;
    id objects[] = {text("a"), text("b"), text("c")}, room[2];
    id array = array_of("NSMutableArray", 3, objects), enumerator = send(array, "objectEnumerator");
    for (int i = 0; i < 3; i++) assert_ptr_equal(send(enumerator, "nextObject"), objects[i]);
    assert_null(send(enumerator, "nextObject"));
    enumerator = send(array, "objectEnumerator");
    send(enumerator, "nextObject");
    assert_int_equal(send_uint(send(enumerator, "allObjects"), "count"), 2);
    enumeration going = {0};
    size_t seen = 0;
    for (uint64_t count; (count = next_items(array, &going, room, 2)) > 0;) {
        for (uint64_t i = 0; i < count; i++) assert_ptr_equal(going.items[i], objects[seen++]);
    }
    assert_int_equal(seen, 3);
    unsigned long before = *going.mutations;
    send_id(array, "addObject:", objects[0]);
    assert_true(*going.mutations != before);
}

/* ---- NSDictionary */

static void dictionaries(void **state)
{
    (void)state;
    id keys[] = {text("GROUPS"), text("HEADS"), text("GROUPS")}, values[] = {text("1"), text("2"), text("3")};
    id dictionary = (CALL(id, const id *, const id *, uint64_t))(class_named("NSDictionary"),
                                                                 sel("dictionaryWithObjects:forKeys:count:"), values, keys, 3);
    assert_int_equal(send_uint(dictionary, "count"), 2);
    assert_ptr_equal(send_id(dictionary, "objectForKey:", text("GROUPS")), values[2]); /* the later one */
    assert_null(send_id(dictionary, "objectForKey:", text("NONE")));
    assert_null(send_id(dictionary, "objectForKey:", NULL));
    assert_ptr_equal(sm_dictionary_get(dictionary, "HEADS"), values[1]);
    assert_null(sm_dictionary_get(NULL, "HEADS"));
    assert_int_equal(send_uint(send(dictionary, "allKeys"), "count"), 2);
    assert_ptr_equal(send(send(dictionary, "keyEnumerator"), "nextObject"), keys[0]);
    assert_ptr_equal(send(send(dictionary, "objectEnumerator"), "nextObject"), values[2]);
    enumeration going = {0};
    id room[4];
    assert_int_equal(next_items(dictionary, &going, room, 4), 2);
    assert_ptr_equal(going.items[1], keys[1]);
    id changing = send(dictionary, "mutableCopy");
    assert_true(send_test(changing, "isEqual:", dictionary));
    (CALL(void, id, id))(changing, sel("setObject:forKey:"), text("4"), text("HEADS"));
    (CALL(void, id, id))(changing, sel("setObject:forKey:"), text("5"), text("MORE"));
    assert_int_equal(send_uint(changing, "count"), 3);
    assert_string_equal(utf8(sm_dictionary_get(changing, "HEADS")), "4");
    assert_string_equal(utf8(sm_dictionary_get(dictionary, "HEADS")), "2");
    assert_false(send_test(changing, "isEqual:", dictionary));
    send_id(changing, "removeObjectForKey:", text("MORE"));
    send_id(changing, "removeObjectForKey:", text("NEVER"));
    assert_int_equal(send_uint(changing, "count"), 2);
    assert_reports(SOFTMETAL_VALIDATION, "a value is nil",
                   (CALL(void, id, id))(changing, sel("setObject:forKey:"), (id)NULL, text("HEADS")));
    send(changing, "removeAllObjects");
    assert_int_equal(send_uint(changing, "count"), 0);
    sm_release(changing);
    assert_int_equal(send_uint(send(class_named("NSMutableDictionary"), "dictionary"), "count"), 0);
}

/* ---- NSNumber */

#define NUMBER(type, ctor, value) (CALL(id, type))(class_named("NSNumber"), sel(ctor), value)

static void numbers(void **state)
{
    (void)state;
    assert_int_equal((CALL(int8_t))(NUMBER(int8_t, "numberWithChar:", -5), sel("charValue")), -5);
    assert_int_equal((CALL(uint8_t))(NUMBER(uint8_t, "numberWithUnsignedChar:", 250), sel("unsignedCharValue")), 250);
    assert_int_equal((CALL(int16_t))(NUMBER(int16_t, "numberWithShort:", -300), sel("shortValue")), -300);
    assert_int_equal((CALL(uint16_t))(NUMBER(uint16_t, "numberWithUnsignedShort:", 65000), sel("unsignedShortValue")), 65000);
    assert_int_equal((CALL(int))(NUMBER(int, "numberWithInt:", -70000), sel("intValue")), -70000);
    assert_int_equal((CALL(uint32_t))(NUMBER(uint32_t, "numberWithUnsignedInt:", 4000000000u), sel("unsignedIntValue")),
                     4000000000u);
    assert_int_equal((CALL(int64_t))(NUMBER(int64_t, "numberWithLong:", INT64_MIN), sel("longValue")), INT64_MIN);
    assert_true((CALL(uint64_t))(NUMBER(uint64_t, "numberWithUnsignedLong:", UINT64_MAX), sel("unsignedLongValue")) ==
                UINT64_MAX);
    assert_int_equal((CALL(int64_t))(NUMBER(int64_t, "numberWithLongLong:", -1), sel("longLongValue")), -1);
    assert_true((CALL(uint64_t))(NUMBER(uint64_t, "numberWithUnsignedLongLong:", UINT64_MAX), sel("unsignedLongLongValue")) ==
                UINT64_MAX);
    assert_int_equal((CALL(int64_t))(NUMBER(int64_t, "numberWithInteger:", -9), sel("integerValue")), -9);
    assert_int_equal((CALL(uint64_t))(NUMBER(uint64_t, "numberWithUnsignedInteger:", 9), sel("unsignedIntegerValue")), 9);
    assert_true((CALL(float))(NUMBER(float, "numberWithFloat:", 0.1f), sel("floatValue")) == 0.1f);
    assert_true((CALL(double))(NUMBER(double, "numberWithDouble:", 0.1), sel("doubleValue")) == 0.1);
    assert_int_equal((CALL(BOOL))(NUMBER(BOOL, "numberWithBool:", true), sel("boolValue")), 1);
    assert_int_equal((CALL(BOOL))(NUMBER(double, "numberWithDouble:", 0.5), sel("boolValue")), 1);
    assert_int_equal((CALL(BOOL))(NUMBER(int, "numberWithInt:", 256), sel("boolValue")), 1);
    assert_int_equal((CALL(BOOL))(NUMBER(int, "numberWithInt:", 0), sel("boolValue")), 0);
    id made = (CALL(id, int))(alloc("NSNumber"), sel("initWithInt:"), 6);
    assert_true((CALL(double))(made, sel("doubleValue")) == 6.0);
    sm_release(made);
}

static void numbers_are_converted(void **state)
{
    (void)state;
    assert_int_equal((CALL(int))(NUMBER(double, "numberWithDouble:", -2.9), sel("intValue")), -2);
    assert_true((CALL(uint64_t))(NUMBER(double, "numberWithDouble:", 1e19), sel("unsignedLongLongValue")) ==
                10000000000000000000u);
    assert_true((CALL(int64_t))(NUMBER(double, "numberWithDouble:", 1e300), sel("longLongValue")) == INT64_MAX);
    assert_true((CALL(int64_t))(NUMBER(double, "numberWithDouble:", -1e300), sel("longLongValue")) == INT64_MIN);
    assert_true((CALL(int64_t))(NUMBER(double, "numberWithDouble:", (double)NAN), sel("longLongValue")) == 0);
    assert_true((CALL(double))(NUMBER(uint64_t, "numberWithUnsignedLong:", UINT64_MAX), sel("doubleValue")) ==
                18446744073709551616.0);
    id five = NUMBER(int, "numberWithInt:", 5), real = NUMBER(double, "numberWithDouble:", 5.0);
    assert_true(send_test(five, "isEqual:", real));
    assert_true(send_uint(five, "hash") == send_uint(real, "hash"));
    assert_false(send_test(five, "isEqual:", text("5")));
    assert_int_equal((CALL(int64_t, id))(NUMBER(int, "numberWithInt:", -1), sel("compare:"),
                                         NUMBER(uint64_t, "numberWithUnsignedLong:", UINT64_MAX)),
                     -1);
    assert_string_equal(utf8(send(NUMBER(int, "numberWithInt:", -12), "stringValue")), "-12");
    assert_string_equal(utf8(send(NUMBER(uint64_t, "numberWithUnsignedLong:", UINT64_MAX), "description")),
                        "18446744073709551615");
    assert_string_equal((CALL(const char *))(NUMBER(float, "numberWithFloat:", 1.0f), sel("objCType")), "f");
    id library = sm_number_create_double(2.0);
    assert_int_equal(sm_number_uint(library), 2);
    sm_release(library);
}

/* ---- NSURL, NSData */

static void urls(void **state)
{
    (void)state;
    id url = send_id(class_named("NSURL"), "fileURLWithPath:", text("/tmp/a b/100%/k\xc3\xa4.metallib"));
    assert_string_equal(utf8(send(url, "absoluteString")), "file:///tmp/a%20b/100%25/k%C3%A4.metallib");
    assert_string_equal(utf8(send(url, "path")), "/tmp/a b/100%/k\xc3\xa4.metallib");
    assert_true((CALL(BOOL))(url, sel("isFileURL")));
    assert_string_equal(utf8(send(url, "lastPathComponent")), "k\xc3\xa4.metallib");
    id again = send_id(class_named("NSURL"), "URLWithString:", send(url, "absoluteString"));
    assert_true(send_test(url, "isEqual:", again));
    assert_true(send_uint(url, "hash") == send_uint(again, "hash"));
    assert_string_equal(utf8(send(again, "path")), utf8(send(url, "path")));
    assert_true((CALL(BOOL))(again, sel("isFileURL")));
    id web = send_id(class_named("NSURL"), "URLWithString:", text("https://example.com/a%2Fb?c=d#e"));
    assert_false((CALL(BOOL))(web, sel("isFileURL")));
    assert_string_equal(utf8(send(web, "path")), "/a/b");
    assert_null(send_id(class_named("NSURL"), "URLWithString:", text("file:///a b")));
    assert_null(send_id(class_named("NSURL"), "URLWithString:", text("file:///a%2")));
    assert_null(send_id(class_named("NSURL"), "URLWithString:", text("file:///a%zz")));
    assert_reports(SOFTMETAL_VALIDATION, "fileURLWithPath:]: the argument is nil",
                   assert_null(send_id(class_named("NSURL"), "fileURLWithPath:", NULL)));
    char folder[4096], expected[5000];
    assert_non_null(getcwd(folder, sizeof folder));
    snprintf(expected, sizeof expected, "%s/relative.bin", folder);
    id relative = sm_url_create_path("relative.bin");
    assert_string_equal(sm_url_path(relative), expected);
    sm_release(relative);
}

static void data(void **state)
{
    (void)state;
    char bytes[] = "metallib";
    id one = (CALL(id, const void *, uint64_t))(class_named("NSData"), sel("dataWithBytes:length:"), bytes, 8);
    bytes[0] = 'X';
    assert_int_equal(send_uint(one, "length"), 8);
    assert_memory_equal((CALL(const void *))(one, sel("bytes")), "metallib", 8);
    id other = sm_autorelease(sm_data_create("metallib", 8));
    assert_true(send_test(one, "isEqual:", other));
    id borrowed = (CALL(id, void *, uint64_t, BOOL))(class_named("NSData"), sel("dataWithBytesNoCopy:length:freeWhenDone:"),
                                                     bytes, 8, false);
    assert_ptr_equal((CALL(const void *))(borrowed, sel("bytes")), bytes);
    assert_int_equal(send_uint(send(class_named("NSData"), "data"), "length"), 0);
    assert_reports(
        SOFTMETAL_VALIDATION, "dataWithBytes:length:]: the bytes are NULL",
        assert_null((CALL(id, const void *, uint64_t))(class_named("NSData"), sel("dataWithBytes:length:"), NULL, 8)));
}

/* ---- NSProcessInfo, NSBundle, NSDate */

typedef struct version {
    int64_t major, minor, patch;
} version;

#if defined(__x86_64__)
static IMP struct_sender = objc_msgSend_stret;
#else
static IMP struct_sender = objc_msgSend;
#endif

static void the_process(void **state)
{
    (void)state;
    id info = send(class_named("NSProcessInfo"), "processInfo");
    assert_ptr_equal(send(class_named("NSProcessInfo"), "processInfo"), info);
    version here = ((version(*)(id, SEL))struct_sender)(info, sel("operatingSystemVersion"));
    assert_int_equal(here.major, 15);
    assert_int_equal(here.minor, 0);
    assert_int_equal(here.patch, 0);
    sm_process_set_macos(13);
    here = ((version(*)(id, SEL))struct_sender)(info, sel("operatingSystemVersion"));
    assert_int_equal(here.major, 13);
    SEL at_least = sel("isOperatingSystemAtLeastVersion:");
    assert_true((CALL(BOOL, version))(info, at_least, ((version){13, 0, 0})));
    assert_true((CALL(BOOL, version))(info, at_least, ((version){12, 9, 9})));
    assert_false((CALL(BOOL, version))(info, at_least, ((version){13, 0, 1})));
    assert_false((CALL(BOOL, version))(info, at_least, ((version){13, 1, 0})));
    assert_false((CALL(BOOL, version))(info, at_least, ((version){15, 0, 0})));
    sm_process_set_macos(0);
    assert_true((CALL(BOOL, version))(info, at_least, ((version){15, 0, 0})));
    assert_true(send_uint(info, "physicalMemory") > 1u << 20);
    assert_true(send_uint(info, "processorCount") >= 1);
    assert_int_equal((CALL(int))(info, sel("processIdentifier")), getpid());
    id bundle = send(class_named("NSBundle"), "mainBundle");
    assert_non_null(bundle);
    assert_null(send(bundle, "bundleIdentifier"));
    assert_null((CALL(id, id, id))(bundle, sel("pathForResource:ofType:"), text("default"), text("metallib")));
    assert_non_null(strstr(utf8(send(bundle, "executablePath")), "test_foundation"));
    assert_true(send_test(send(bundle, "executablePath"), "hasPrefix:", send(bundle, "bundlePath")));
}

static void dates(void **state)
{
    (void)state;
    id start = send(class_named("NSDate"), "date"),
       later = (CALL(id, double))(class_named("NSDate"), sel("dateWithTimeIntervalSinceNow:"), 100);
    double between = (CALL(double, id))(later, sel("timeIntervalSinceDate:"), start);
    assert_true(between >= 100 && between < 200);
    id epoch = (CALL(id, double))(class_named("NSDate"), sel("dateWithTimeIntervalSince1970:"), 978307200.0);
    assert_true((CALL(double))(epoch, sel("timeIntervalSinceReferenceDate")) == 0.0);
    assert_true((CALL(double))(epoch, sel("timeIntervalSinceNow")) < 0.0);
}

/* ---- libdispatch */

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(struct block *self);
    const struct descriptor {
        unsigned long reserved, size;
    } * descriptor;
    int *count;
    id semaphore;
} block;

static const struct descriptor block_layout = {0, sizeof(block)};

static void count_call(block *self)
{
    __atomic_fetch_add(self->count, 1, __ATOMIC_SEQ_CST);
    if (self->semaphore) dispatch_semaphore_signal(self->semaphore);
}

static block counting(int *count, id semaphore)
{
    return (block){&_NSConcreteStackBlock, 0, 0, count_call, &block_layout, count, semaphore};
}

static void dispatch_data(void **state)
{
    (void)state;
    char bytes[] = "code";
    int destroyed = 0;
    const void *mapped;
    size_t size;
    id copied = dispatch_data_create(bytes, 4, NULL, NULL);
    bytes[0] = 'X';
    id map = dispatch_data_create_map(copied, &mapped, &size);
    assert_int_equal(size, 4);
    assert_memory_equal(mapped, "code", 4);
    assert_int_equal(dispatch_data_get_size(copied), 4);
    dispatch_release(map);
    dispatch_release(copied);
    block destructor = counting(&destroyed, NULL);
    id borrowed = dispatch_data_create(bytes, 4, dispatch_get_global_queue(0, 0), &destructor);
    assert_ptr_equal(sm_data_bytes(borrowed), bytes);
    assert_int_equal(sm_data_length(borrowed), 4);
    dispatch_retain(borrowed);
    dispatch_release(borrowed);
    assert_int_equal(destroyed, 0);
    dispatch_release(borrowed);
    assert_int_equal(destroyed, 1);
    id freed =
        dispatch_data_create(strdup("given"), 5, NULL, (void *)_dispatch_data_destructor_free); /* a leak checker sees if not */
    dispatch_release(freed);
}

static void dispatch_semaphores(void **state)
{
    (void)state;
    id semaphore = dispatch_semaphore_create(2);
    assert_int_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_FOREVER), 0);
    assert_int_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_NOW), 0);
    assert_int_not_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_NOW), 0);
    assert_int_not_equal(dispatch_semaphore_wait(semaphore, dispatch_time(DISPATCH_TIME_NOW, 1000000)), 0);
    dispatch_semaphore_signal(semaphore);
    assert_int_equal(dispatch_semaphore_wait(semaphore, dispatch_time(DISPATCH_TIME_NOW, 1000000)), 0);
    dispatch_release(semaphore);
    assert_null(dispatch_semaphore_create(-1));
    assert_true(dispatch_time(DISPATCH_TIME_FOREVER, 5) == DISPATCH_TIME_FOREVER);
    assert_true(dispatch_time(1000, -2000) == 1);
    assert_true(dispatch_time(UINT64_MAX - 5, 100) == DISPATCH_TIME_FOREVER);
}

static int order[1000], order_count;
static void note(void *context)
{
    order[order_count++] = (int)(intptr_t)context;
} /* no lock: the queue is serial */

static void dispatch_queues(void **state)
{
    (void)state;
    id queue = dispatch_queue_create("serial", NULL), semaphore = dispatch_semaphore_create(0);
    assert_string_equal(dispatch_queue_get_label(queue), "serial");
    for (intptr_t i = 0; i < 999; i++) dispatch_async_f(queue, (void *)i, note);
    dispatch_sync_f(queue, (void *)(intptr_t)999, note);
    assert_int_equal(order_count, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(order[i], i);

    int count = 0;
    block work = counting(&count, semaphore);
    for (int i = 0; i < 50; i++) dispatch_async(dispatch_get_global_queue(0, 0), &work);
    for (int i = 0; i < 50; i++) assert_int_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_FOREVER), 0);
    assert_int_equal(count, 50);
    work.semaphore = NULL;
    dispatch_sync(queue, &work);
    assert_int_equal(count, 51);
    dispatch_release(queue);
    dispatch_release(semaphore);
    for (int i = 0; i < 10000 && sm_live_objects() > live; i++)
        usleep(1000); /* threads that leave let go of their queue and block */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(strings_hold_utf8),
        TEST(strings_that_are_none),
        TEST(encodings),
        TEST(c_strings_fit_or_not),
        TEST(strings_are_compared),
        TEST(strings_from_strings),
        TEST(errors),
        TEST(errors_of_the_library),
        TEST(arrays),
        TEST(mutable_arrays),
        TEST(enumerations),
        TEST(dictionaries),
        TEST(numbers),
        TEST(numbers_are_converted),
        TEST(urls),
        TEST(data),
        TEST(the_process),
        TEST(dates),
        TEST(dispatch_data),
        TEST(dispatch_semaphores),
        TEST(dispatch_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
