/* Writing model files: for synthetic models, fixtures and conversions. Tensors are declared first, then written in that order. */
#ifndef PV_FORMAT_WRITE_H
#define PV_FORMAT_WRITE_H

#include "base/file.h"
#include "format/source.h"

typedef struct pv_model_writer pv_model_writer;

/* GGUF v3, alignment 32, or one SafeTensors file. Errors: PV_IO, PV_OUT_OF_MEMORY. */
pv_status pv_model_writer_open(const pv_allocator *allocator, pv_source_kind kind, const char *path, pv_model_writer **writer,
                               pv_error *error);
/* GGUF metadata (for SafeTensors only strings, into __metadata__). Before the first tensor is written. */
pv_status pv_model_writer_u32(pv_model_writer *writer, const char *key, uint32_t value, pv_error *error);
pv_status pv_model_writer_f32(pv_model_writer *writer, const char *key, float value, pv_error *error);
pv_status pv_model_writer_bool(pv_model_writer *writer, const char *key, bool value, pv_error *error);
pv_status pv_model_writer_string(pv_model_writer *writer, const char *key, const char *value, pv_error *error);
pv_status pv_model_writer_strings(pv_model_writer *writer, const char *key, const char *const *values, size_t count, pv_error *error);
pv_status pv_model_writer_i32s(pv_model_writer *writer, const char *key, const int32_t *values, size_t count, pv_error *error);
pv_status pv_model_writer_f32s(pv_model_writer *writer, const char *key, const float *values, size_t count, pv_error *error);
/* Dimensions: the slowest varying first. */
pv_status pv_model_writer_declare(pv_model_writer *writer, const char *name, pv_layout layout, uint32_t dims, const uint64_t *dim,
                                  pv_error *error);
/* A tensor of SafeTensors whose bytes stand for a type by its name there, rows × cols × `element` of them. */
pv_status pv_model_writer_declare_raw(pv_model_writer *writer, const char *name, const char *dtype, uint32_t element, uint32_t dims,
                                      const uint64_t *dim, pv_error *error);
/* SafeTensors: the data start at a multiple of 64 instead of 8. Tensors follow each other without a hole: declare those first whose
 * sizes are multiples of the most. */
void pv_model_writer_align(pv_model_writer *writer);
/* The bytes of the next declared tensor, in as many calls as wanted. Errors: PV_INVALID_ARGUMENT (too many), PV_IO. */
pv_status pv_model_writer_data(pv_model_writer *writer, const void *bytes, size_t length, pv_error *error);
/* SafeTensors: bytes of the tensor that was declared as number `tensor`, from byte `offset` of it, in any order of tensors and places; each
 * byte once. A file is written this way or by the call above. Errors: PV_INVALID_ARGUMENT (beyond the tensor), PV_IO. */
pv_status pv_model_writer_data_at(pv_model_writer *writer, size_t tensor, uint64_t offset, const void *bytes, size_t length, pv_error *error);
/* Puts the finished file under its name. Errors: PV_INVALID_ARGUMENT (tensors are missing), PV_IO. */
pv_status pv_model_writer_commit(pv_model_writer *writer, pv_error *error);
/* After commit or instead of it; without commit nothing is left behind. */
void pv_model_writer_close(pv_model_writer *writer);

#endif
