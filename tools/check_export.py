#!/usr/bin/env python3
"""Tests of tools/export.py beyond what making the goldens shows: the command line, types, wrappers, and every refusal.

    python3 tools/check_export.py [-v]

Needs torch, lite-mamba 0.2.6 and einops; where tensorflow is installed too, its blocks are tried as well.
"""
import contextlib
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
import unittest

import export as ex

try:
    import torch
    from torch import nn
    import lite_mamba
    from lite_mamba.mamba_simple import Mamba
except ImportError as missing:
    raise SystemExit(f"check_export.py: {missing}")


class Layer(nn.Module):
    def __init__(self, norm, mixer):
        super().__init__()
        self.norm, self.mixer = norm, mixer


class RMSNorm(nn.Module):
    def __init__(self, size, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps


class Model(nn.Module):
    """A language model's tensors; nothing here runs it."""
    def __init__(self, mixers, vocabulary=256, head=None, norm=RMSNorm, wrapped=True):
        super().__init__()
        root = nn.Module() if wrapped else self
        if wrapped:
            self.backbone = root
        root.embeddings = nn.Embedding(vocabulary, 8)
        root.layers = nn.ModuleList(Layer(norm(8), mixer) for mixer in mixers)
        root.norm_f = norm(8)
        if head == "tied":
            self.lm_head = nn.Linear(8, vocabulary, bias=False)
            self.lm_head.weight = root.embeddings.weight
        elif head:
            self.lm_head = nn.Linear(8, vocabulary, bias=head == "bias")


def block(cls=lite_mamba.PTCNMamba, **arguments):
    if cls is not lite_mamba.BaselineMamba:
        arguments.setdefault("conv_dilations", (1, 2))
    torch.manual_seed(0)
    return cls(8, **arguments)


CLASSES = {"baseline": lite_mamba.BaselineMamba, "ptcn": lite_mamba.PTCNMamba, "stcn": lite_mamba.STCNMamba,
           "dpwc": lite_mamba.DPWCMamba}


class Case(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.TemporaryDirectory()
        self.folder = os.path.join(self.root.name, "out")

    def tearDown(self):
        self.root.cleanup()

    def config(self, folder=None):
        with open(os.path.join(folder or self.folder, "config.json"), encoding="utf-8") as file:
            return json.load(file)

    def tensors(self, folder=None):
        return ex.read_safetensors(os.path.join(folder or self.folder, "model.safetensors"))

    def refuses(self, text, *arguments, **options):
        with self.assertRaisesRegex(ex.ExportError, re.escape(text)):
            ex.export(*arguments, self.folder, **options)
        self.assertFalse(os.path.exists(self.folder), "a refused export left something behind")


class Blocks(Case):
    def test_variants_and_subclasses(self):
        for variant, cls in CLASSES.items():
            for kind in (cls, type("Derived", (cls,), {})):
                ex.export(kind(8), self.folder)
                self.assertEqual(self.config()["variant"], variant)
        ex.export(block(Mamba), self.folder)
        self.assertEqual(self.config()["variant"], "ptcn")

    def test_config(self):
        ex.export(block(d_state=5, d_conv=3, conv_dilations=(1, 4, 2), expand=1.5, dt_rank=3, bias=True, conv_bias=False),
                  self.folder)
        self.assertEqual(self.config(), {
            "architectures": ["LiteMambaBlock"], "model_type": "lite_mamba", "variant": "ptcn", "hidden_size": 8,
            "state_size": 5, "conv_kernel": 3, "conv_dilations": [1, 4, 2], "expand": 1.5, "time_step_rank": 3,
            "use_bias": True, "use_conv_bias": False})

    def test_one_name_a_tensor(self):
        for variant in ("ptcn", "stcn", "dpwc"):
            ex.export(block(CLASSES[variant]), self.folder)
            self.assertFalse([n for n in self.tensors() if n.startswith("conv1d.")])

    def test_types(self):
        module = block()
        for dtype, code, torch_type in (("float16", "F16", torch.float16), ("bfloat16", "BF16", torch.bfloat16)):
            ex.export(module, self.folder, dtype=dtype)
            for name, (own, shape, data) in self.tensors().items():
                value = module.state_dict()[name]
                if name in ("A_log", "D", "conv_gates", "dt_proj.bias"):
                    self.assertEqual(own, "F32")
                else:
                    self.assertEqual(own, code)
                    value = value.to(torch_type)
                back = torch.frombuffer(bytearray(data), dtype=value.dtype).reshape(shape)
                self.assertTrue(torch.equal(back, value), name)

    def test_keeps_types_without_dtype(self):
        ex.export(block().to(torch.bfloat16), self.folder)
        self.assertEqual({n: t[0] for n, t in self.tensors().items() if n in ("A_log", "in_proj.weight")},
                         {"A_log": "F32", "in_proj.weight": "BF16"})
        ex.export(block().double(), self.folder)
        self.assertEqual({t[0] for t in self.tensors().values()}, {"F32"})

    def test_numpy_rounds_as_torch(self):
        import numpy as np
        bits = np.random.RandomState(0).randint(0, 2**32, 20000, dtype=np.uint64).astype(np.uint32)
        values = bits.view(np.float32)
        special = np.float32([0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, np.inf, np.nan])
        values = np.concatenate([values[np.abs(values) < 3e38], special])
        small = values[~(np.abs(values) >= 65504) | np.isinf(values)]
        for code, dtype, array in (("F16", torch.float16, small), ("BF16", torch.bfloat16, values)):
            ours = np.frombuffer(ex._encode_numpy("x", array, code)[1], np.uint16)
            theirs = torch.from_numpy(array).to(dtype).view(torch.int16).numpy().view(np.uint16)
            nan = np.isnan(array)
            self.assertTrue((ours == theirs)[~nan].all())
            self.assertTrue(((ours & 0x7FFF)[nan] > {"F16": 0x7C00, "BF16": 0x7F80}[code]).all())

    def test_file_is_as_the_format_asks(self):
        ex.export(block(CLASSES["dpwc"]), self.folder, dtype="float16")
        with open(os.path.join(self.folder, "model.safetensors"), "rb") as file:
            data = file.read()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + length])
        self.assertEqual(length % 8, 0)
        self.assertEqual(header.pop("__metadata__"), {"format": "pt"})
        at = 0
        for entry in header.values():
            begin, end = entry["data_offsets"]
            self.assertEqual(begin, at)
            self.assertEqual(begin % {"F32": 4, "F16": 2}[entry["dtype"]], 0)
            at = end
        self.assertEqual(8 + length + at, len(data))
        self.assertEqual(sorted(os.listdir(self.folder)), ["config.json", "model.safetensors"])

    def test_list(self):
        for blocks in ([block(), block(CLASSES["stcn"])], nn.ModuleList([block(), block(CLASSES["stcn"])])):
            ex.export(blocks, self.folder)
            self.assertEqual(self.config(os.path.join(self.folder, "0"))["variant"], "ptcn")
            self.assertEqual(self.config(os.path.join(self.folder, "1"))["variant"], "stcn")

    def test_refusals(self):
        self.refuses("is neither", 3)
        self.refuses("the list to export is empty", [])
        self.refuses("entry 1 of the list is a Linear", [block(), nn.Linear(2, 2)])
        self.refuses("dtype is 'int8'", block(), dtype="int8")
        self.refuses("tokenizer can only be", block(), tokenizer="bytes")
        self.refuses("d_state is 300", block(d_state=300))
        self.refuses("number of branches is 33", block(d_conv=1, conv_dilations=(1,) * 33))
        module = block()
        module.register_buffer("seen", torch.zeros(1))
        self.refuses("no place for seen", module)
        module = block()
        module.in_proj.weight.data[0, 0] = 1e6
        self.refuses("in_proj.weight has values too large for F16", module, dtype="float16")
        module = block()
        module.x_proj = nn.Linear(16, 40, bias=False)
        self.refuses("x_proj.weight has shape (40, 16); it should be (33, 16)", module)
        module = block()
        module.conv1d = nn.Conv1d(16, 16, 4, groups=16)
        self.refuses("are two names of one tensor, and differ", module)
        module = block()
        module.conv_dilations = (1,)
        self.refuses("1 dilations [1] for 2 branches", module)
        module = block()
        del module.D
        self.refuses("missing: D", module)


class LanguageModels(Case):
    def test_tied_and_not(self):
        for head, tied in ((None, True), ("tied", True), ("own", False)):
            ex.export(Model([block(), block()], head=head), self.folder, tokenizer="bytes")
            config = self.config()
            self.assertEqual(config["architectures"], ["LiteMambaForCausalLM"])
            self.assertEqual((config["num_hidden_layers"], config["vocab_size"]), (2, 256))
            self.assertEqual(config["tie_word_embeddings"], tied)
            self.assertEqual((config["layer_norm_epsilon"], config["tokenizer_class"]), (1e-5, "bytes"))
            self.assertEqual("lm_head.weight" in self.tensors(), not tied)
            self.assertIn("backbone.layers.1.mixer.conv1d_layers.1.weight", self.tensors())
            self.assertNotIn("backbone.layers.1.mixer.conv1d.weight", self.tensors())

    def test_norms_stay_float32(self):
        ex.export(Model([block()]).half(), self.folder)
        types = {n: t[0] for n, t in self.tensors().items()}
        self.assertEqual(types["backbone.layers.0.norm.weight"], "F32")
        self.assertEqual(types["backbone.norm_f.weight"], "F32")
        self.assertEqual(types["backbone.embeddings.weight"], "F16")

    def test_without_the_backbone_and_wrapped(self):
        ex.export(Model([block()], wrapped=False, head="own"), self.folder)
        self.assertIn("backbone.embeddings.weight", self.tensors())
        self.assertIn("lm_head.weight", self.tensors())
        ex.export(nn.DataParallel(Model([block()])), self.folder)
        self.assertIn("backbone.norm_f.weight", self.tensors())

    def test_refusals(self):
        self.refuses("has no embeddings", nn.Linear(2, 2))
        self.refuses("has no layers", Model([]))
        self.refuses("layer 1 needs a norm and a mixer", Model([block(), nn.Linear(8, 8)]))
        self.refuses("layer 1 has", Model([block(), block(conv_dilations=(1, 3))]))
        self.refuses("A_log has shape (16, 8); it should be (16, 16)", Model([block(), block(d_state=8)]))
        self.refuses("litemamba has RMSNorm", Model([block()], norm=nn.LayerNorm))
        self.refuses("no place for lm_head.bias", Model([block()], head="bias"))
        self.refuses("vocabulary of 256", Model([block()], vocabulary=100), tokenizer="bytes")
        model = Model([block(), block()])
        model.backbone.norm_f.eps = 1e-3
        self.refuses("differ in their epsilon", model)
        model = Model([block()])
        del model.backbone.layers[0].norm.eps, model.backbone.norm_f.eps
        self.refuses("give norm_epsilon", model)
        ex.export(model, self.folder, norm_epsilon=1e-6)
        self.assertEqual(self.config()["layer_norm_epsilon"], 1e-6)


class CommandLine(Case):
    def run_on(self, state, *arguments, name="state.pt"):
        path = os.path.join(self.root.name, name)
        if name.endswith(".safetensors"):
            ex.write_safetensors(path, [(n, *ex._encode(n, t, None)) for n, t in state.items()])
        elif isinstance(state, bytes):
            with open(path, "wb") as file:
                file.write(state)
        elif state is not None:
            torch.save(state, path)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            code = ex.main([path, self.folder, *arguments])
        return code, errors.getvalue()

    def same(self, module, state, *arguments, name="state.pt"):
        direct = os.path.join(self.root.name, "direct")
        ex.export(module, direct)
        self.assertEqual(self.run_on(state, *arguments, name=name), (0, ""))
        for file in ("config.json", "model.safetensors"):
            with open(os.path.join(self.folder, file), "rb") as a, open(os.path.join(direct, file), "rb") as b:
                self.assertEqual(a.read(), b.read())

    def test_as_the_module(self):
        for variant, cls in CLASSES.items():
            module = block(cls)
            dilations = () if variant == "baseline" else ("--conv-dilations", "1,2")
            known = ("--variant", variant) if variant == "baseline" else ()
            for name in ("state.pt", "state.safetensors"):
                self.same(module, module.state_dict(), *dilations, *known, name=name)
        model = Model([block(), block()], head="tied")
        self.same(model, model.state_dict(), "--conv-dilations", "1,2")
        self.same(model, {"step": 1, "model": model.state_dict()}, "--conv-dilations", "1,2", "--key", "model")
        self.same(model, {f"module.{n}": t for n, t in model.state_dict().items()}, "--conv-dilations", "1,2")
        self.same(model.backbone.layers[1].mixer, model.state_dict(), "--conv-dilations", "1,2", "--prefix",
                  "backbone.layers.1.mixer.")

    def test_one_name_only(self):
        for variant in ("ptcn", "stcn", "dpwc"):
            for dilations in ((1, 2), (3,)):
                module = block(CLASSES[variant], conv_dilations=dilations)
                state = {n: t for n, t in module.state_dict().items() if "conv1d_layers.0." not in n or n.startswith("pw_")}
                self.same(module, state, "--conv-dilations", ",".join(map(str, dilations)), "--variant", variant)

    def test_fractional_expand(self):
        for expand in (1.5, 1.3, 0.7, 2.9):
            module = block(expand=expand)
            self.assertEqual(self.run_on(module.state_dict(), "--conv-dilations", "1,2")[0], 0)
            self.assertEqual(int(self.config()["expand"] * 8), module.d_inner)
        for d_model in (1, 3, 7, 97, 768):
            for d_inner in range(1, 3 * d_model, max(1, d_model // 50)):
                self.assertEqual(int(ex._expand(d_inner, d_model) * d_model), d_inner)

    def test_refusals(self):
        good = block().state_dict()
        integers = {**good, "in_proj.weight": good["in_proj.weight"].int()}
        for state, arguments, text in (
                (good, (), "the dilations of the 2 branches are not in the tensors"),
                (good, ("--conv-dilations", "1"), "1 dilations [1] for 2 branches"),
                (good, ("--conv-dilations", "1,0"), "a dilation is 0"),
                (good, ("--conv-dilations", "1,2", "--expand", "3"), "expand 3.0 of 8 channels"),
                (good, ("--conv-dilations", "1,2", "--key", "model"), "has no entry 'model'"),
                (good, ("--conv-dilations", "1,2", "--prefix", "mixer."), "starts with 'mixer.'"),
                (good, ("--conv-dilations", "1,2", "--variant", "stcn"), "no place for conv_gates"),
                (block(CLASSES["baseline"]).state_dict(), (), "say the variant"),
                ({"model": good}, (), "--key names the entry"),
                ({"weight": torch.zeros(2)}, ("--variant", "baseline"), "there is no tensor in_proj.weight"),
                (integers, ("--conv-dilations", "1,2"), "should be floating point"),
                (b"not a checkpoint", (), "state.pt"),
                (None, (), "No such file")):
            if state is None:
                os.unlink(os.path.join(self.root.name, "state.pt"))
            code, errors = self.run_on(state, *arguments)
            self.assertEqual((code, errors.count("\n")), (1, 1), errors)
            self.assertTrue(errors.startswith("export.py: ") and text in errors, f"{errors!r} should say {text!r}")

    def test_usage(self):
        for arguments, code in ((["--help"], 0), ([], 2), (["a", "b", "--variant", "x"], 2),
                                (["a", "b", "--conv-dilations", "1,x"], 2)):
            with self.assertRaises(SystemExit) as stopped, contextlib.redirect_stderr(io.StringIO()), \
                    contextlib.redirect_stdout(io.StringIO()):
                ex.main(arguments)
            self.assertEqual(stopped.exception.code, code)


@unittest.skipUnless(importlib.util.find_spec("tensorflow"), "tensorflow is not installed")
class TensorFlow(Case):
    def test_refusals(self):
        self.refuses("call it once", lite_mamba.TFPTCNMamba(8))
        stacked = lite_mamba.TFMamba(8, conv_dilations=(1, 2), stacked_convs=True, pointwise=True)
        stacked.build((None, None, 8))
        self.refuses("no counterpart", stacked)


if __name__ == "__main__":
    sys.exit(unittest.main())
