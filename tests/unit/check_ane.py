#!/usr/bin/env python3
"""Shows the Core ML programs that the library writes to Core ML's own Python tools, and runs them in NumPy against what they
mean.

Not part of the everyday tests, which compare bytes with those that passed here:
    mkdir -p tests/unit/data/ane && PENSIEVE_ANE_OUT=tests/unit/data/ane build/tests/unit_test_ane
    pip install coremltools==8.3.0 numpy && python3 tests/unit/check_ane.py tests/unit/data/ane

What is checked: the package's manifest leads to the message; the message parses with no unknown field; coremltools' loader of
ML programs accepts every operation, argument and type and infers the types that were written; the file of weights is read by
Core ML's own reader; the program's results, one operation after the other in NumPy, are those of the block. What is not: that
the Core ML of a Mac compiles and runs it.
"""
import os
import sys

import numpy as np
from coremltools import libmilstoragepython
from coremltools.libmodelpackage import ModelPackage
from coremltools.converters.mil.frontend.milproto.load import load as load_program
from coremltools.proto import Model_pb2

ROWS, COLS, OUT = 4, 32, 48
DTYPES = {10: np.float16, 11: np.float32}


def element(rows, cols, seed):
    r, c = np.arange(rows)[:, None], np.arange(cols)[None, :]
    return (((r * 7 + c * 13 + seed * 5) % 31) - 15).astype(np.float32) / 16


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def gate_up(x, residual):
    n = x / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-5) * element(1, COLS, 1)
    return [silu(n @ element(OUT, COLS, 2).T) * (n @ element(OUT, COLS, 3).T)]


def qkv(x, residual):
    return [x @ element(OUT, COLS, 4).T, x @ element(16, COLS, 5).T + element(1, 16, 7), x @ element(16, COLS, 6).T]


def gated_residual(x, residual):
    return [gelu(x @ element(OUT, COLS, 8).T) * (x @ element(OUT, COLS, 9).T) + residual]


BLOCKS = {"gate_up": gate_up, "qkv": qkv, "gated_residual": gated_residual}


def unknown_fields(message):
    """The message again from what was understood of it must be as long: nothing was passed over."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return len(message.SerializeToString()) - len(copy.SerializeToString())


def shape_of(value_type):
    return tuple(d.constant.size for d in value_type.tensorType.dimensions)


def constant(operation, reader):
    value = operation.attributes["val"]
    kind = value.type.tensorType.dataType
    if value.HasField("blobFileValue"):
        assert value.blobFileValue.fileName == "@model_path/weights/weight.bin", value.blobFileValue.fileName
        offset = value.blobFileValue.offset
        raw = reader.read_fp16_data(offset) if kind == 10 else reader.read_float_data(offset)
        data = np.asarray(raw)
        data = data.view(np.float16) if kind == 10 and data.dtype == np.uint16 else data
        return data.astype(DTYPES[kind]).reshape(shape_of(value.type))
    tensor = value.immediateValue.tensor
    found = list(getattr(tensor, tensor.WhichOneof("value")).values)
    return found[0] if not value.type.tensorType.dimensions else found


def run(block, reader, given):
    """Every operation in NumPy, results in the type that was written."""
    values = dict(given)
    for operation in block.operations:
        output = operation.outputs[0]
        if operation.type == "const":
            values[output.name] = constant(operation, reader)
            continue
        a = {name: values[argument.arguments[0].name] for name, argument in operation.inputs.items()}
        wide = {name: value.astype(np.float32) if isinstance(value, np.ndarray) else value for name, value in a.items()}
        result = {
            "cast": lambda: wide["x"],
            "square": lambda: wide["x"] ** 2,
            "reduce_mean": lambda: wide["x"].mean(axis=tuple(a["axes"]), keepdims=a["keep_dims"]),
            "rsqrt": lambda: 1 / np.sqrt(wide["x"] + a["epsilon"]),
            "mul": lambda: wide["x"] * wide["y"],
            "add": lambda: wide["x"] + wide["y"],
            "linear": lambda: wide["x"] @ wide["weight"].T + wide["bias"],
            "silu": lambda: silu(wide["x"]),
            "gelu": lambda: gelu(wide["x"]),
        }[operation.type]()
        kind = output.type.tensorType.dataType
        if operation.type == "cast":
            assert a["dtype"] == {10: "fp16", 11: "fp32"}[kind]
        assert result.shape == shape_of(output.type), (operation.type, result.shape)
        values[output.name] = result.astype(DTYPES[kind])
    return [values[name] for name in block.outputs]


def check(folder, meaning):
    data = os.path.join(folder, "Data", "com.apple.CoreML")
    assert os.path.samefile(ModelPackage(folder).getRootModel().path(), os.path.join(data, "model.mlmodel"))
    spec = Model_pb2.Model()
    with open(os.path.join(data, "model.mlmodel"), "rb") as file:
        spec.ParseFromString(file.read())
    assert spec.IsInitialized() and unknown_fields(spec) == 0
    weights = os.path.join(data, "weights")
    program = load_program(spec, specification_version=spec.specificationVersion, file_weights_dir=weights)
    written = {operation.outputs[0].name: operation.outputs[0].type
               for operation in spec.mlProgram.functions["main"].block_specializations["CoreML6"].operations}
    inferred = 0
    for operation in program.functions["main"].operations:
        for output in operation.outputs:
            if output.name in written and operation.op_type != "const":
                assert tuple(output.shape) == shape_of(written[output.name]), (output.name, output.shape)
                inferred += 1
    assert inferred >= 3, inferred
    reader = libmilstoragepython._BlobStorageReader(os.path.join(weights, "weight.bin"))
    block = spec.mlProgram.functions["main"].block_specializations["CoreML6"]
    x, residual = element(ROWS, COLS, 0), element(ROWS, OUT, 0)
    found = run(block, reader, {"x": x, "residual": residual})
    wanted = meaning(x, residual)
    assert [feature.name for feature in spec.description.output] == list(block.outputs) and len(found) == len(wanted)
    for one, right in zip(found, wanted):
        # f16 has 11 bits; a sum over COLS products of the size of the largest
        worst = np.abs(one - right).max() / np.abs(right).max()
        assert worst < 2 ** -10, worst
    return len(block.operations), inferred, max(np.abs(a - b).max() for a, b in zip(found, wanted))


if __name__ == "__main__":
    for name, meaning in BLOCKS.items():
        operations, inferred, error = check(os.path.join(sys.argv[1], name + ".mlpackage"), meaning)
        print(f"{name}: {operations} operations, {inferred} types inferred as written, largest error {error:.2e}")
