"""Makes tests/unit/data/small.safetensors and its two shards with the reference writer. test_safetensors.c knows the values.

Needs: numpy, safetensors.
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

data = pathlib.Path(__file__).parent / "data"
data.mkdir(exist_ok=True)
ramp = np.arange(24, dtype=np.float32)
tensors = {
    "model.embed_tokens.weight": ramp.reshape(6, 4) / 8,
    "model.norm.weight": ramp[:4].astype(np.float16),
    "packed": np.arange(6, dtype=np.uint32).reshape(2, 3),
    "video": ramp.reshape(2, 3, 1, 2, 2).astype(np.float16),
    "scalar": np.array(3.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
    "mask": np.array([True, False, True]),
}
save_file(tensors, data / "small.safetensors", metadata={"format": "pt", "note": 'a "quoted" word'})

shards = data / "shards"
shards.mkdir(exist_ok=True)
names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
places = {"a.weight": names[0], "b.weight": names[1], "c.weight": names[0]}
for name in names:
    keys = [key for key, place in places.items() if place == name]
    save_file({key: np.full((2, 2), ord(key[0]), np.float32) for key in keys}, shards / name)
index = {"metadata": {"total_size": 48}, "weight_map": places}
(shards / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
