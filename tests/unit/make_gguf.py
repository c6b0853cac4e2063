"""Makes tests/unit/data/small.gguf with the reference writer: every kind of metadata value, known and unknown tensor types.

test_gguf.c knows the values. Needs: gguf, numpy.
"""

import pathlib

import gguf
import numpy as np

path = pathlib.Path(__file__).parent / "data" / "small.gguf"
path.parent.mkdir(exist_ok=True)
writer = gguf.GGUFWriter(path, "llama")
writer.add_uint8("t.u8", 200)
writer.add_int8("t.i8", -100)
writer.add_uint16("t.u16", 60000)
writer.add_int16("t.i16", -30000)
writer.add_uint32("t.u32", 4000000000)
writer.add_int32("t.i32", -2000000000)
writer.add_float32("t.f32", 1e-5)
writer.add_bool("t.yes", True)
writer.add_bool("t.no", False)
writer.add_string("t.text", "héllo\nworld")
writer.add_uint64("t.u64", 2**64 - 1)
writer.add_int64("t.i64", -(2**63))
writer.add_float64("t.f64", 0.1)
writer.add_array("t.strings", ["<s>", "", "Ġthe", "x" * 300])
writer.add_array("t.integers", [3, -1, 7])
writer.add_array("t.reals", [0.5, -1000.25])
writer.add_array("t.bools", [True, False, True])
ramp = np.arange(3 * 64, dtype=np.float32).reshape(3, 64) / 16 - 4
for name, kind in [("token_embd.weight", "Q8_0"), ("blk.0.attn_q.weight", "Q4_0"), ("blk.0.attn_k.weight", "Q5_1")]:
    kind = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(name, gguf.quantize(ramp, kind), raw_dtype=kind)
writer.add_tensor("blk.0.attn_norm.weight", ramp[1])
writer.add_tensor("blk.0.cube.weight", ramp.astype(np.float16).reshape(3, 4, 16))
writer.add_tensor("blk.0.counts", np.arange(5, dtype=np.int32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
