/* Every Objective-C message that is sent to Core ML, and to Foundation for it: a row each, as in backend/metal/messages.h.
 *
 * X(result, name, class or protocol, selector, encoding, parameters, arguments)
 */
#ifndef PV_ANE_MESSAGES_H
#define PV_ANE_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct objc_object *id;
typedef struct objc_selector *sel;

#define PV_ANE_GETTERS(X)                                                                                              \
    X(id, feature_array, MLFeatureValue, "multiArrayValue", "@@:")                                                     \
    X(void *, multi_data, MLMultiArray, "dataPointer", "^v@:")                                                         \
    X(id, multi_strides, MLMultiArray, "strides", "@@:")                                                               \
    X(int64_t, multi_count, MLMultiArray, "count", "q@:")                                                              \
    X(int64_t, multi_type, MLMultiArray, "dataType", "q@:")                                                            \
    X(uint64_t, array_count, NSArray, "count", "Q@:")                                                                  \
    X(int64_t, number_integer, NSNumber, "integerValue", "q@:")                                                        \
    X(id, error_text, NSError, "localizedDescription", "@@:")                                                          \
    X(int64_t, error_code, NSError, "code", "q@:")                                                                     \
    X(const char *, string_utf8, NSString, "UTF8String", "*@:")

#define PV_ANE_CALLS(X)                                                                                                \
    X(id, element, NSArray, "objectAtIndex:", "@@:Q", (uint64_t index), (index))                                       \
    X(bool, is_kind, NSObject, "isKindOfClass:", "B@:#", (id class), (class))                                          \
    X(void, compute_units, MLModelConfiguration, "setComputeUnits:", "v@:q", (int64_t units), (units))                 \
    X(id, init_array, MLMultiArray, "initWithDataPointer:shape:dataType:strides:deallocator:error:", "@@:^v@q@@?^@",   \
      (void *data, id shape, int64_t type, id strides, void *deallocator, id *error),                                  \
      (data, shape, type, strides, deallocator, error))                                                                \
    X(id, init_features, MLDictionaryFeatureProvider, "initWithDictionary:error:", "@@:@^@",                           \
      (id dictionary, id *error), (dictionary, error))                                                                 \
    X(id, predict, MLModel, "predictionFromFeatures:error:", "@@:@^@", (id features, id *error), (features, error))    \
    X(id, feature_named, MLFeatureProvider, "featureValueForName:", "@@:@", (id name), (name))                         \
    X(bool, remove_file, NSFileManager, "removeItemAtURL:error:", "B@:@^@", (id url, id *error), (url, error))

/* Sent to a class, without arguments. */
#define PV_ANE_CLASS_GETTERS(X)                                                                                        \
    X(id, new_object, NSObject, "new", "@@:")                                                                          \
    X(id, alloc, NSObject, "alloc", "@@:")                                                                             \
    X(id, default_manager, NSFileManager, "defaultManager", "@@:")

/* Sent to a class. */
#define PV_ANE_CLASS_CALLS(X)                                                                                          \
    X(id, string, NSString, "stringWithUTF8String:", "@@:*", (const char *utf8), (utf8))                               \
    X(id, file_url, NSURL, "fileURLWithPath:", "@@:@", (id path), (path))                                              \
    X(id, number, NSNumber, "numberWithInteger:", "@@:q", (int64_t value), (value))                                    \
    X(id, array, NSArray, "arrayWithObjects:count:", "@@:^@Q", (const id *objects, uint64_t count), (objects, count))  \
    X(id, dictionary, NSDictionary, "dictionaryWithObjects:forKeys:count:", "@@:^@^@Q",                                \
      (const id *objects, const id *keys, uint64_t count), (objects, keys, count))                                     \
    X(id, compile, MLModel, "compileModelAtURL:error:", "@@:@^@", (id url, id *error), (url, error))                   \
    X(id, load_model, MLModel, "modelWithContentsOfURL:configuration:error:", "@@:@@^@",                               \
      (id url, id configuration, id *error), (url, configuration, error))                                              \
    X(id, feature, MLFeatureValue, "featureValueWithMultiArray:", "@@:@", (id array), (array))

#define PV_ANE_CLASSES(X)                                                                                              \
    X(NSString) X(NSURL) X(NSNumber) X(NSArray) X(NSDictionary) X(NSFileManager) X(MLModel) X(MLModelConfiguration)    \
    X(MLMultiArray) X(MLFeatureValue) X(MLDictionaryFeatureProvider)

#endif
