/* Every message that is sent to MPS: a row each, as in messages.h.
 *
 * X(result, name, class or protocol, selector, encoding, parameters, arguments)
 */
#ifndef PV_METAL_MPS_MESSAGES_H
#define PV_METAL_MPS_MESSAGES_H

#include "backend/metal/messages.h"

#define PV_MPS_GETTERS(X) X(pv_id, command_buffer, MTLCommandQueue, "commandBuffer", "@@:")

#define PV_MPS_CALLS(X)                                                                                                \
    X(pv_id, matrix, MPSMatrix, "initWithBuffer:offset:descriptor:", "@@:@Q@",                                         \
      (pv_id buffer, uint64_t offset, pv_id descriptor), (buffer, offset, descriptor))                                 \
    X(pv_id, multiplication, MPSMatrixMultiplication,                                                                  \
      "initWithDevice:transposeLeft:transposeRight:resultRows:resultColumns:interiorColumns:alpha:beta:",              \
      "@@:@BBQQQdd",                                                                                                   \
      (pv_id device, bool transpose_left, bool transpose_right, uint64_t rows, uint64_t out_cols, uint64_t cols,       \
       double alpha, double beta),                                                                                     \
      (device, transpose_left, transpose_right, rows, out_cols, cols, alpha, beta))                                    \
    X(void, encode, MPSMatrixMultiplication, "encodeToCommandBuffer:leftMatrix:rightMatrix:resultMatrix:", "v@:@@@@",  \
      (pv_id command_buffer, pv_id left, pv_id right, pv_id result), (command_buffer, left, right, result))

/* Sent to a class, without arguments. */
#define PV_MPS_CLASS_GETTERS(X) X(pv_id, alloc, NSObject, "alloc", "@@:")

/* Sent to a class. */
#define PV_MPS_CLASS_CALLS(X)                                                                                          \
    X(pv_id, descriptor, MPSMatrixDescriptor, "matrixDescriptorWithRows:columns:rowBytes:dataType:", "@@:QQQI",        \
      (uint64_t rows, uint64_t cols, uint64_t row_bytes, uint32_t type), (rows, cols, row_bytes, type))

#endif
