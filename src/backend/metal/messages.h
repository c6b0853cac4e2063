/* Every Objective-C message that this backend sends: one row each, from which come the typed wrapper, the selector and the check of
 * its signature. A variadic cast of objc_msgSend puts arguments in the wrong places on Apple Silicon, so there is none.
 *
 * X(result, name, class or protocol, selector, encoding, parameters, arguments)
 */
#ifndef PV_METAL_MESSAGES_H
#define PV_METAL_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pv_objc_object *pv_id;
typedef struct pv_objc_selector *pv_sel;

typedef struct pv_metal_size {
    uint64_t width, height, depth;
} pv_metal_size;
typedef struct pv_metal_range {
    uint64_t location, length;
} pv_metal_range;

/* Messages whose last parameter list is empty take the receiver only. */
#define PV_METAL_GETTERS(X)                                                                                            \
    X(pv_id, device_name, MTLDevice, "name", "@@:")                                                                    \
    X(uint64_t, device_registry_id, MTLDevice, "registryID", "Q@:")                                                    \
    X(bool, device_unified, MTLDevice, "hasUnifiedMemory", "B@:")                                                      \
    X(uint64_t, device_working_set, MTLDevice, "recommendedMaxWorkingSetSize", "Q@:")                                  \
    X(uint64_t, device_allocated, MTLDevice, "currentAllocatedSize", "Q@:")                                            \
    X(uint64_t, device_max_buffer, MTLDevice, "maxBufferLength", "Q@:")                                                \
    X(uint64_t, device_max_threadgroup_memory, MTLDevice, "maxThreadgroupMemoryLength", "Q@:")                         \
    X(pv_id, queue_command_buffer, MTLCommandQueue, "commandBufferWithUnretainedReferences", "@@:")                    \
    X(void, command_buffer_commit, MTLCommandBuffer, "commit", "v@:")                                                  \
    X(void, command_buffer_wait, MTLCommandBuffer, "waitUntilCompleted", "v@:")                                        \
    X(uint64_t, command_buffer_status, MTLCommandBuffer, "status", "Q@:")                                              \
    X(pv_id, command_buffer_error, MTLCommandBuffer, "error", "@@:")                                                   \
    X(double, command_buffer_gpu_start, MTLCommandBuffer, "GPUStartTime", "d@:")                                       \
    X(double, command_buffer_gpu_end, MTLCommandBuffer, "GPUEndTime", "d@:")                                           \
    X(pv_id, device_counter_sets, MTLDevice, "counterSets", "@@:")                                                     \
    X(pv_id, counter_set_name, MTLCounterSet, "name", "@@:")                                                           \
    X(pv_id, pass_samples, MTLComputePassDescriptor, "sampleBufferAttachments", "@@:")                                 \
    X(void, encoder_pop_group, MTLCommandEncoder, "popDebugGroup", "v@:")                                              \
    X(void, capture_stop, MTLCaptureManager, "stopCapture", "v@:")                                                     \
    X(uint64_t, array_count, NSArray, "count", "Q@:")                                                                  \
    X(uint64_t, data_length, NSData, "length", "Q@:")                                                                  \
    X(const void *, data_bytes, NSData, "bytes", "^v@:")                                                               \
    X(void, encoder_end, MTLCommandEncoder, "endEncoding", "v@:")                                                      \
    X(void *, buffer_contents, MTLBuffer, "contents", "^v@:")                                                          \
    X(uint64_t, buffer_length, MTLBuffer, "length", "Q@:")                                                             \
    X(uint64_t, pipeline_max_threads, MTLComputePipelineState, "maxTotalThreadsPerThreadgroup", "Q@:")                 \
    X(uint64_t, pipeline_width, MTLComputePipelineState, "threadExecutionWidth", "Q@:")                                \
    X(uint64_t, pipeline_threadgroup_memory, MTLComputePipelineState, "staticThreadgroupMemoryLength", "Q@:")          \
    X(void, residency_commit, MTLResidencySet, "commit", "v@:")                                                        \
    X(void, residency_request, MTLResidencySet, "requestResidency", "v@:")                                             \
    X(void, residency_end, MTLResidencySet, "endResidency", "v@:")                                                     \
    X(int64_t, error_code, NSError, "code", "q@:")                                                                     \
    X(pv_id, error_domain, NSError, "domain", "@@:")                                                                   \
    X(pv_id, error_description, NSError, "localizedDescription", "@@:")                                                \
    X(const char *, string_utf8, NSString, "UTF8String", "*@:")

#define PV_METAL_CALLS(X)                                                                                              \
    X(pv_id, device_new_queue, MTLDevice, "newCommandQueueWithMaxCommandBufferCount:", "@@:Q", (uint64_t most), (most)) \
    X(bool, device_supports_family, MTLDevice, "supportsFamily:", "B@:q", (int64_t family), (family))                  \
    X(pv_id, device_new_buffer, MTLDevice, "newBufferWithLength:options:", "@@:QQ",                                    \
      (uint64_t length, uint64_t options), (length, options))                                                          \
    X(pv_id, device_new_buffer_no_copy, MTLDevice, "newBufferWithBytesNoCopy:length:options:deallocator:", "@@:^vQQ@?", \
      (void *bytes, uint64_t length, uint64_t options, void *block), (bytes, length, options, block))                  \
    X(pv_id, device_new_library, MTLDevice, "newLibraryWithSource:options:error:", "@@:@@^@",                          \
      (pv_id source, pv_id options, pv_id *error), (source, options, error))                                           \
    X(pv_id, device_new_pipeline, MTLDevice, "newComputePipelineStateWithDescriptor:options:reflection:error:",        \
      "@@:@Q^@^@", (pv_id descriptor, uint64_t options, void *reflection, pv_id *error),                               \
      (descriptor, options, reflection, error))                                                                        \
    X(pv_id, device_new_archive, MTLDevice, "newBinaryArchiveWithDescriptor:error:", "@@:@^@",                         \
      (pv_id descriptor, pv_id *error), (descriptor, error))                                                           \
    X(pv_id, device_new_residency_set, MTLDevice, "newResidencySetWithDescriptor:error:", "@@:@^@",                    \
      (pv_id descriptor, pv_id *error), (descriptor, error))                                                           \
    X(void, queue_add_residency_set, MTLCommandQueue, "addResidencySet:", "v@:@", (pv_id set), (set))                  \
    X(pv_id, command_buffer_encoder, MTLCommandBuffer, "computeCommandEncoderWithDispatchType:", "@@:Q",               \
      (uint64_t type), (type))                                                                                         \
    X(void, command_buffer_on_completed, MTLCommandBuffer, "addCompletedHandler:", "v@:@?", (void *block), (block))    \
    X(void, encoder_pipeline, MTLComputeCommandEncoder, "setComputePipelineState:", "v@:@", (pv_id pipeline), (pipeline)) \
    X(void, encoder_buffers, MTLComputeCommandEncoder, "setBuffers:offsets:withRange:", "v@:^@^Q{_NSRange=QQ}",        \
      (const pv_id *buffers, const uint64_t *offsets, pv_metal_range range), (buffers, offsets, range))                \
    X(void, encoder_threadgroup_memory, MTLComputeCommandEncoder, "setThreadgroupMemoryLength:atIndex:", "v@:QQ",      \
      (uint64_t length, uint64_t index), (length, index))                                                              \
    X(void, encoder_dispatch, MTLComputeCommandEncoder, "dispatchThreadgroups:threadsPerThreadgroup:",                 \
      "v@:{MTLSize=QQQ}{MTLSize=QQQ}", (pv_metal_size groups, pv_metal_size threads), (groups, threads))               \
    X(void, encoder_barrier, MTLComputeCommandEncoder, "memoryBarrierWithScope:", "v@:Q", (uint64_t scope), (scope))   \
    X(pv_id, library_new_function, MTLLibrary, "newFunctionWithName:constantValues:error:", "@@:@@^@",                 \
      (pv_id name, pv_id values, pv_id *error), (name, values, error))                                                 \
    X(void, constants_set, MTLFunctionConstantValues, "setConstantValue:type:atIndex:", "v@:^vQQ",                     \
      (const void *value, uint64_t type, uint64_t index), (value, type, index))                                        \
    X(void, options_fast_math, MTLCompileOptions, "setFastMathEnabled:", "v@:B", (bool enabled), (enabled))            \
    X(void, options_math_mode, MTLCompileOptions, "setMathMode:", "v@:q", (int64_t mode), (mode))                      \
    X(void, options_math_functions, MTLCompileOptions, "setMathFloatingPointFunctions:", "v@:q", (int64_t functions),  \
      (functions))                                                                                                     \
    X(void, options_language, MTLCompileOptions, "setLanguageVersion:", "v@:Q", (uint64_t version), (version))         \
    X(void, descriptor_function, MTLComputePipelineDescriptor, "setComputeFunction:", "v@:@", (pv_id function), (function)) \
    X(void, descriptor_label, MTLComputePipelineDescriptor, "setLabel:", "v@:@", (pv_id label), (label))               \
    X(void, descriptor_archives, MTLComputePipelineDescriptor, "setBinaryArchives:", "v@:@", (pv_id archives), (archives)) \
    X(bool, archive_add, MTLBinaryArchive, "addComputePipelineFunctionsWithDescriptor:error:", "B@:@^@",               \
      (pv_id descriptor, pv_id *error), (descriptor, error))                                                           \
    X(bool, archive_serialize, MTLBinaryArchive, "serializeToURL:error:", "B@:@^@", (pv_id url, pv_id *error), (url, error)) \
    X(void, archive_descriptor_url, MTLBinaryArchiveDescriptor, "setUrl:", "v@:@", (pv_id url), (url))                 \
    X(void, residency_add, MTLResidencySet, "addAllocation:", "v@:@", (pv_id allocation), (allocation))                \
    X(void, residency_remove, MTLResidencySet, "removeAllocation:", "v@:@", (pv_id allocation), (allocation))          \
    X(bool, device_supports_sampling, MTLDevice, "supportsCounterSampling:", "B@:Q", (uint64_t point), (point))        \
    X(void, device_timestamps, MTLDevice, "sampleTimestamps:gpuTimestamp:", "v@:^Q^Q",                                 \
      (uint64_t *cpu, uint64_t *gpu), (cpu, gpu))                                                                      \
    X(pv_id, device_new_samples, MTLDevice, "newCounterSampleBufferWithDescriptor:error:", "@@:@^@",                   \
      (pv_id descriptor, pv_id *error), (descriptor, error))                                                           \
    X(void, samples_counter_set, MTLCounterSampleBufferDescriptor, "setCounterSet:", "v@:@", (pv_id set), (set))       \
    X(void, samples_storage, MTLCounterSampleBufferDescriptor, "setStorageMode:", "v@:Q", (uint64_t mode), (mode))     \
    X(void, samples_count, MTLCounterSampleBufferDescriptor, "setSampleCount:", "v@:Q", (uint64_t count), (count))     \
    X(pv_id, samples_resolve, MTLCounterSampleBuffer, "resolveCounterRange:", "@@:{_NSRange=QQ}", (pv_metal_range range), (range)) \
    X(pv_id, pass_samples_at, MTLComputePassSampleBufferAttachmentDescriptorArray, "objectAtIndexedSubscript:",        \
      "@@:Q", (uint64_t index), (index))                                                                               \
    X(void, pass_sample_buffer, MTLComputePassSampleBufferAttachmentDescriptor, "setSampleBuffer:", "v@:@",            \
      (pv_id samples), (samples))                                                                                      \
    X(void, pass_sample_start, MTLComputePassSampleBufferAttachmentDescriptor, "setStartOfEncoderSampleIndex:",        \
      "v@:Q", (uint64_t index), (index))                                                                               \
    X(void, pass_sample_end, MTLComputePassSampleBufferAttachmentDescriptor, "setEndOfEncoderSampleIndex:",            \
      "v@:Q", (uint64_t index), (index))                                                                               \
    X(void, pass_dispatch_type, MTLComputePassDescriptor, "setDispatchType:", "v@:Q", (uint64_t type), (type))         \
    X(pv_id, command_buffer_encoder_of, MTLCommandBuffer, "computeCommandEncoderWithDescriptor:", "@@:@",              \
      (pv_id pass), (pass))                                                                                            \
    X(void, encoder_sample, MTLComputeCommandEncoder, "sampleCountersInBuffer:atSampleIndex:withBarrier:", "v@:@QB",    \
      (pv_id samples, uint64_t index, bool barrier), (samples, index, barrier))                                        \
    X(void, encoder_push_group, MTLCommandEncoder, "pushDebugGroup:", "v@:@", (pv_id name), (name))                    \
    X(bool, capture_supports, MTLCaptureManager, "supportsDestination:", "B@:q", (int64_t destination), (destination)) \
    X(bool, capture_start, MTLCaptureManager, "startCaptureWithDescriptor:error:", "B@:@^@",                           \
      (pv_id descriptor, pv_id *error), (descriptor, error))                                                           \
    X(void, capture_object, MTLCaptureDescriptor, "setCaptureObject:", "v@:@", (pv_id object), (object))               \
    X(void, capture_destination, MTLCaptureDescriptor, "setDestination:", "v@:q", (int64_t destination), (destination)) \
    X(void, capture_url, MTLCaptureDescriptor, "setOutputURL:", "v@:@", (pv_id url), (url))                            \
    X(pv_id, array_at, NSArray, "objectAtIndex:", "@@:Q", (uint64_t index), (index))                                   \
    X(void, set_label, MTLResource, "setLabel:", "v@:@", (pv_id label), (label))                                       \
    X(bool, responds_to, NSObject, "respondsToSelector:", "B@::", (pv_sel selector), (selector))

/* Sent to a class, without arguments. */
#define PV_METAL_CLASS_GETTERS(X)                                                                                      \
    X(pv_id, capture_manager, MTLCaptureManager, "sharedCaptureManager", "@@:")

/* Sent to a class. */
#define PV_METAL_CLASS_CALLS(X)                                                                                        \
    X(pv_id, string_create, NSString, "stringWithUTF8String:", "@@:*", (const char *utf8), (utf8))                     \
    X(pv_id, url_create, NSURL, "fileURLWithPath:", "@@:@", (pv_id path), (path))                                      \
    X(pv_id, array_create, NSArray, "arrayWithObject:", "@@:@", (pv_id object), (object))

#endif
