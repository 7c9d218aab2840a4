"""Every engine computes what torch computes, is built once, and is refused when it does not agree."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from monai_brain.inference.engines import ENGINES, EngineDisagrees, UnknownEngine, auto, make_engine
from monai_brain.inference.engines.auto import FEWEST_SLICES, NoUsableEngine
from monai_brain.inference.engines.base import InvalidCache, cache_folder
from monai_brain.inference.engines.openvino_engine import CONVOLUTION, DEPTHWISE, FIRST_LAYERS, _quantized
from monai_brain.networks.cnn import CNN
from monai_brain.networks.mobilenet import MobileNetV2
from monai_brain.networks.unet_vgg16 import SKIPS, UNetVGG16
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

KINDS = [(kind, precision) for kind, engine in ENGINES.items() for precision in engine.precisions]
TOLERANCE = {"fp32": 2e-4, "bf16": 0.15, "int8": 0.4}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path_factory.getbasetemp() / "engines"))
    return tmp_path_factory.getbasetemp() / "engines" / "engines"


def slices(count=40, size=64):
    torch.manual_seed(1)
    return torch.randn(count, 3, size, size)


def classifier(seed=0):
    torch.manual_seed(seed)
    network = CNN(num_classes=4, image_size=64).eval()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=2.0)  # clear decisions, as a trained network's
    return network


def segmenter():
    torch.manual_seed(0)
    network = UNetVGG16(widths=(16, 8, 8, 4))
    with torch.no_grad():  # layers see values of a usual size
        network.train()
        network(slices(8))
    nn.init.constant_(network.output.bias, 3.0)
    return network.eval()


@pytest.mark.parametrize(("kind", "precision"), KINDS)
def test_classes_are_those_of_torch(kind, precision):
    network, images = classifier(), slices()
    engine = make_engine(kind, precision)
    engine.build(network, "a" * 64, images)
    with torch.no_grad():
        expected = network(images)
        found = engine(images, network)
        assert engine(images[:3], network).shape == (3, 4)
    assert found.dtype == torch.float32
    assert (found - expected).square().mean().sqrt() <= TOLERANCE[precision] * expected.square().mean().sqrt()
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.85


@pytest.mark.parametrize(("kind", "precision"), [("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")])
def test_masks_are_those_of_torch(kind, precision):
    network, images = segmenter(), slices(6)
    engine = make_engine(kind, precision)
    engine.build(network, "b" * 64, images)
    with torch.no_grad():
        expected = network(images)
        found = engine(images, network)
    assert found.shape == (6, 1, 64, 64)
    assert (found - expected).square().mean().sqrt() <= TOLERANCE[precision] * expected.square().mean().sqrt()


def test_segmenter_in_eight_bits_hears_its_depth_beside_large_skips():
    """As with weights from Caffe: skips of several hundred, beside features near 1."""
    torch.manual_seed(0)
    network, images = UNetVGG16(widths=(16, 8, 8, 4)), slices()
    with torch.no_grad():
        for module in network.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        network.features[0].weight.mul_(300.0)
        for block, skip in zip(network.decoder, SKIPS, strict=True):  # a trained one has learned to listen to both
            block.convs.conv_0.conv.weight[:, :skip].div_(300.0)
        network.train()(images[:8])
    network.eval()
    engine = make_engine("openvino", "int8")
    engine.build(network, "8" * 64, images)  # and is not refused
    with torch.no_grad():
        expected, found = network(images), engine(images, network)
    assert (found - expected).square().mean().sqrt() <= 0.2 * expected.square().mean().sqrt()


def test_what_few_calibration_slices_reach_is_not_cut_off_in_eight_bits():
    """As tumors in a folder of mostly empty slices."""
    network, images = segmenter(), slices()
    images[0] *= 20
    engine = make_engine("openvino", "int8")
    engine.build(network, "7" * 64, images)
    with torch.no_grad():
        expected, found = network(images[:1]), engine(images[:1], network)
    assert (found - expected).square().mean().sqrt() <= 0.005 * expected.square().mean().sqrt()


def test_depthwise_convolutions_are_quantized_but_for_the_first_layers():
    """In floating point they took longer than all others together; the first ones cost classes in eight bits."""
    torch.manual_seed(0)
    model = _quantized(MobileNetV2(4).eval(), slices(8))
    layers = [layer for layer in model.get_ordered_ops() if layer.get_type_name() in (CONVOLUTION, DEPTHWISE)]
    assert {layer.get_type_name() for layer in layers[:FIRST_LAYERS]} == {CONVOLUTION, DEPTHWISE}
    assert [is_eight_bit(layer) for layer in layers] == [number >= FIRST_LAYERS for number in range(len(layers))]


def is_eight_bit(layer):
    """Whether both what comes in was quantized and the weights are kept as integers."""
    before = ({own.get_type_name() for own in upstream(layer.input_value(side).get_node())} for side in (0, 1))
    return all(name in found for name, found in zip(("FakeQuantize", "Convert"), before, strict=True))


def upstream(node, steps=6):
    """A node and those before it, up to the next layer."""
    found = [node]
    if steps and node.get_type_name() not in (CONVOLUTION, DEPTHWISE):
        found += [own for value in node.input_values() for own in upstream(value.get_node(), steps - 1)]
    return found


def test_built_forms_are_used_again_and_belong_to_their_weights(cache):
    images = slices()
    for _ in range(2):
        make_engine("openvino", "int8").build(classifier(), "c" * 64, images)
        before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    make_engine("openvino", "int8").build(classifier(), "c" * 64, images)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    make_engine("onnx").build(classifier(1), "d" * 64, images)
    assert len(list(cache.iterdir())) == len(before) + 2  # the file and its checksum
    assert not [path for path in cache.iterdir() if "partial" in path.name]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_form_that_computes_something_else_is_refused(kind, cache):
    images = slices()
    make_engine(kind).build(classifier(), "e" * 64, images)
    with pytest.raises(EngineDisagrees, match="--engine torch"):
        make_engine(kind).build(classifier(2), "e" * 64, images)  # other weights under the same name


def test_unknown_engines_and_precisions_are_refused_with_what_there_is():
    with pytest.raises(UnknownEngine, match="not one of torch, onnx, openvino"):
        make_engine("tensorrt")
    with pytest.raises(UnknownEngine, match="has no precision 'int8'; it has fp32"):
        make_engine("onnx", "int8")


def test_auto_takes_the_quickest_and_is_bound_by_what_was_recorded():
    network, images = classifier(), slices()
    engine = make_engine("auto", "fp32")
    engine.build(network, "e" * 64, images)
    rates = dict(engine.trial)
    assert set(rates) == {"torch fp32", "onnx fp32", "openvino fp32"}
    assert engine.chosen == {"chosen_engine": max(rates, key=rates.get)}
    with torch.no_grad():
        torch.testing.assert_close(engine(images, network), network(images), rtol=1e-3, atol=1e-3)
    for recorded in rates:
        again = make_engine("auto", "auto")
        again.remember({"chosen_engine": recorded})
        again.build(network, "e" * 64, images)
        assert again.chosen == {"chosen_engine": recorded}
        assert again.trial == {}


def test_auto_leaves_out_what_disagrees_and_says_why_when_nothing_is_left(monkeypatch):
    def refuse(self, network, slices):
        raise EngineDisagrees(f"{self.label} differs")

    monkeypatch.setattr("monai_brain.inference.engines.base.Engine.check", refuse)
    engine = make_engine("auto")
    engine.build(classifier(), "f" * 64, slices())
    assert engine.chosen == {"chosen_engine": "torch fp32"}
    assert engine.trial["onnx fp32"] == "onnx fp32 differs"
    with pytest.raises(NoUsableEngine, match="openvino int8 differs"):
        make_engine("auto", "int8").build(classifier(), "f" * 64, slices())
    with pytest.raises(UnknownEngine, match="no engine has precision 'fp8'"):
        make_engine("auto", "fp8")


@pytest.mark.parametrize(("slices_to_do", "divided"), [(FEWEST_SLICES - 1, False), (FEWEST_SLICES, True)])
def test_auto_takes_torch_at_once_for_few_slices_and_parts(slices_to_do, divided):
    engine, said = make_engine("auto", "fp32"), []
    engine.log = said.append
    engine.expect(slices_to_do, divided=divided)
    assert said[0].startswith("Engine: torch fp32, because ")
    assert engine.wanted_slices == 0
    assert engine.chosen == {"chosen_engine": "torch fp32"}


@pytest.mark.parametrize(("precision", "slices_to_do"), [("fp32", FEWEST_SLICES), ("int8", 1)])
def test_auto_tries_where_it_pays_or_torch_has_no_such_precision(precision, slices_to_do):
    engine = make_engine("auto", precision)
    engine.expect(slices_to_do, divided=False)
    assert engine.chosen == {}
    assert engine.wanted_slices > 0


@pytest.mark.parametrize(("rate", "built"), [(2000.0, 0), (40.0, 1), (10.0, 2)])
def test_auto_builds_an_engine_only_where_the_folder_takes_long_without_it(monkeypatch, rate, built):
    """2,000 slices take 1, 50 or 200 seconds with torch, such as on a GPU, and a little less with the others."""
    rates = {"torch": rate, "openvino": 1.1 * rate, "onnx": 1.2 * rate}
    monkeypatch.setattr(auto, "_rate", lambda engine, *_: rates[engine.name])
    engine = make_engine("auto", "fp32")
    engine.expect(2000, divided=False)
    engine.build(classifier(), "e" * 64, slices())
    timed = [name for name, result in engine.trial.items() if isinstance(result, float)]
    assert timed == ["torch fp32", "openvino fp32", "onnx fp32"][: 1 + built]
    assert engine.chosen == {"chosen_engine": timed[-1]}


SIGNALED = """
import gc, os, signal
from monai_brain.inference.engines import make_engine
from tests.inference.test_engines import classifier, slices
engines = [make_engine("openvino", precision) for precision in ("fp32", "bf16")]
for engine in engines:
    engine.build(classifier(), "9" * 64, slices(8))
del engine
while engines:
    engines.pop(0)
    gc.collect()
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(True))
os.kill(os.getpid(), signal.SIGUSR1)
assert heard
"""


def test_signals_are_heard_when_engines_have_come_and_gone():
    done = subprocess.run([sys.executable, "-c", SIGNALED], cwd=REPOSITORY, check=False)
    assert done.returncode == 0


def test_onnx_runtime_keeps_no_record_to_report(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | home
    code = "import monai_brain, onnxruntime"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bad_input(80)
@pytest.mark.parametrize(("kind", "suffix"), [("onnx", ".onnx"), ("openvino", ".bin")])
def test_80_damaged_engine_in_the_cache_is_made_anew(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path))
    network, images = segmenter(), slices()
    make_engine(kind, "fp32").build(network, "6" * 64, images)
    (file,) = (tmp_path / "engines").glob(f"*{suffix}")
    whole = file.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    make_engine(kind, "fp32").build(network, "6" * 64, images)
    assert file.read_bytes() != content
    file.unlink()
    make_engine(kind, "fp32").build(network, "6" * 64, images)
    assert file.stat().st_size == len(whole)


@pytest.mark.parametrize("place", ["/dev/null/cache", "~nobody_of_this_name/cache"])
def test_cache_that_cannot_be_used_is_refused_with_the_way_out(monkeypatch, place):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", place)
    with pytest.raises(InvalidCache, match="MONAI_BRAIN_CACHE, or use --engine torch"):
        cache_folder()
