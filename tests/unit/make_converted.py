"""Makes tests/unit/data/dense, a small folder of dense weights, and converted.safetensors: what mlx reads from the files that
`pensieve convert` makes of it, in every number of bits and every group. test_convert.c converts again and compares.

Needs a built `pensieve` (its path is the argument), and: numpy 2.4, safetensors 0.8, ml_dtypes 0.5, mlx-cpu 0.32.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import ml_dtypes
import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

data = pathlib.Path(__file__).parent / "data"
dense = data / "dense"
dense.mkdir(exist_ok=True)
rng = np.random.default_rng(7)
values = (rng.standard_normal((3, 2, 128)) * 0.1).astype(np.float32)
values[:, 0, :32] = 0  # a group of zeros
values[:, 1, 32:64] = -0.25  # one that is constant
values[:, 1, 64:] = np.abs(values[:, 1, 64:])
save_file(
    {
        "model.embed_tokens.weight": values[0].astype(np.float16),
        "model.layers.0.a.weight": values[1].astype(ml_dtypes.bfloat16),
        "model.layers.0.b.weight": values[2],
        "model.layers.0.b.bias": values[2, 0, :3],
        "model.layers.0.narrow.weight": values[0, :, :48].astype(np.float16),
        "model.norm.weight": values[1, 1].astype(ml_dtypes.bfloat16),
        "flag": np.array([True, False, True]),
    },
    dense / "model.safetensors",
)
(dense / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 128}, indent=2) + "\n")
(dense / "tokenizer.json").write_text("{}\n")

wanted = {}
for bits in (2, 3, 4, 5, 6, 8):
    for group in (32, 64, 128):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.argv[1], "convert", dense, folder, "--bits", str(bits), "--group", str(group), "--quiet"], check=True)
            config = json.loads((pathlib.Path(folder) / "config.json").read_text())
            assert config["quantization"] == config["quantization_config"] == {"group_size": group, "bits": bits, "mode": "affine"}
            tensors = mx.load(folder + "/model.safetensors")
            assert {name: value.shape for name, value in load_file(folder + "/model.safetensors").items()} == {
                name: value.shape for name, value in tensors.items()
            }
            for name in ("model.embed_tokens", "model.layers.0.a", "model.layers.0.b"):
                scales, biases = tensors[f"{name}.scales"], tensors[f"{name}.biases"]
                source = values[("model.embed_tokens", "model.layers.0.a", "model.layers.0.b").index(name)]
                read = mx.dequantize(tensors[f"{name}.weight"], scales.astype(mx.float32), biases.astype(mx.float32), group, bits)
                wanted[f"{bits}.{group}.{name}.weight"] = np.array(read)
                # as near as mlx's own quantization of the same weights, but for what ties do
                codes, *factors = mx.quantize(mx.array(source).astype(scales.dtype), group, bits)
                own = mx.dequantize(codes, *(factor.astype(mx.float32) for factor in factors), group, bits)
                ours, theirs = (np.sqrt(np.mean((np.array(x) - source) ** 2)) for x in (read, own))
                assert ours < 1.05 * theirs + 1e-6, (bits, group, name, ours, theirs)
save_file(wanted, data / "converted.safetensors")
print(len(wanted), "matrices")
