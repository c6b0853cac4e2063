/* Weights from a seed, so that a fixture holds configuration, tokens and logits only. The same numbers come from
 * tests/golden/seeded.py with NumPy; every step is exact or rounded once.
 *
 * key(seed, name) = fnv1a64(name) XOR (seed × 0x9E3779B97F4A7C15)
 * bits(i)         = splitmix64 output for the state key + (i + 1) × 0x9E3779B97F4A7C15   (all modulo 2^64)
 * unit(i)         = (float)(int32)((bits >> 40) − 2^23) × 2^−23                            in [−1, 1)
 * weight(i)       = centre + scale × unit(i), one f32 multiplication, then one f32 addition
 */
#ifndef PV_FORMAT_SEEDED_H
#define PV_FORMAT_SEEDED_H

#include <stddef.h>
#include <stdint.h>

uint64_t pv_seeded_key(uint64_t seed, const char *name);
/* Elements [first, first + count) of a tensor. */
void pv_seeded_fill(uint64_t key, uint64_t first, size_t count, float centre, float scale, float *out);
/* The scale and centre used for a tensor of the given Hugging Face name: norms 1 ± 0.1, biases 0 ± 0.1, embeddings 0 ± 1,
 * matrices 0 ± sqrt(3 / cols) rounded to f32, which gives them variance 1 / cols. */
void pv_seeded_range(const char *name, uint64_t cols, float *centre, float *scale);

#endif
