"""convert: what is written runs, and is as near to the dense model as its bits allow."""
import os
import struct

import cli
from cli import check, contains, equal, exits, run


def dense():
    path = os.path.join(cli.folder, "dense")
    if not os.path.exists(path):
        exits(run("synth", "--shape", "tiny", "--layout", "F16", path), 0)
    return path


def converted(name, *arguments):
    path = os.path.join(cli.folder, name)
    result = exits(run("convert", dense(), path, *arguments, "--json"), 0)
    equal(result.json["schema"], "pensieve.convert/1")
    equal(result.json["bytes"], sum(os.path.getsize(os.path.join(path, file)) for file in os.listdir(path)), name)
    return path


def logits(model):
    path = model + ".f32"
    exits(run("run", model, "hello world", "--raw", "-n", "2", "--logits", path, "--device", "cpu"), 0)
    with open(path, "rb") as file:
        data = file.read()
    return struct.unpack(f"<{len(data) // 4}f", data)[: 11 * 288]  # of the prompt: what is answered may differ


def distance(a, b):
    equal(len(a), len(b))
    return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)) ** 0.5


def test_fewer_bits_are_further_away():
    wanted, before = logits(dense()), 0
    for bits, most in ((8, 0.03), (6, 0.12), (4, 0.5), (2, 2)):
        found = distance(logits(converted(f"q{bits}", "--bits", bits)), wanted)
        check(before < found < most, f"{bits} bits: {found}, before {before}, at most {most}")
        before = 2 * found  # two bits fewer: four times as far, or nearly


def test_repacked_models_are_the_same():
    equal(logits(converted("repacked", "--repack")), logits(dense()))


def test_repacked_quantized_models_are_the_same():
    mlx = converted("to-repack", "--bits", 4)
    paths = [os.path.join(cli.folder, name) for name in ("blocks", "blocks-again")]
    exits(run("convert", mlx, paths[0], "--repack"), 0)
    equal(logits(paths[0]), logits(mlx))
    exits(run("convert", paths[0], paths[1], "--repack"), 0)
    files = [open(os.path.join(path, "model.safetensors"), "rb").read() for path in paths]
    check(files[0] == files[1], "what is repacked already stays as it is")
    contains(files[0].decode("latin-1"), '"pensieve.layout.model.layers.0.mlp.down_proj.weight":"AFFINE4_G64_F16"')


def test_llama_and_mlx_spellings():
    path = converted("spelt", "--q-bits", 4, "--q-group-size", 32)
    contains(open(os.path.join(path, "config.json")).read(), '"quantization": {"group_size": 32, "bits": 4, "mode": "affine"}')


def test_what_cannot_be_done_is_named():
    out = os.path.join(cli.folder, "never")
    exits(run("convert", dense(), out), 2, "--bits N or --repack")
    exits(run("convert", dense(), out, "--bits", "4", "--repack"), 2, "--bits N or --repack")
    exits(run("convert", dense(), out, "--bits", "7"), 2, "7 bits in groups of 64")
    exits(run("convert", dense(), out, "--repack", "--group", "32"), 2, "--group goes with --bits")
    exits(run("convert", dense(), out + ".gguf", "--bits", "4"), 2, "no GGUF file")
    exits(run("convert", dense(), "/nothing/here/out", "--bits", "4"), 3, "/nothing/here/out")
    exits(run("convert", dense()), 2, "MODEL OUT")
    exits(run("convert", "/nowhere", out, "--repack"), 3, "/nowhere")
    exits(run("convert", dense(), dense(), "--repack"), 2, "another folder is wanted")
    check(not os.path.exists(out), "a folder was left behind")


cli.main(globals())
