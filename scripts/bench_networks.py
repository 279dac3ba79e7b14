"""Networks for bench-engines.py, in PyTorch: the definitions of the papers, random weights.

Each is a function that gives the module and the shape of a sample; integers are word numbers.
"""

import warnings

import torch
from torch import nn
from torch.nn import functional as F


def lenet_300():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(),
        nn.Linear(100, 10),
    ), [1, 28, 28]


def lenet_5():
    """As Caffe has it: no function between convolution and pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    ), [1, 28, 28]


def normed(c_in, c_out, k, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    )


class Basic(nn.Module):
    """Residual block of CIFAR networks; its shortcut drops pixels and adds channels of zeros."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.first, self.second = normed(c_in, c_out, 3, stride), normed(c_out, c_out, 3)
        self.stride, self.more = stride, c_out - c_in

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        if self.more:
            half = self.more // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


def resnet_20():
    layers, c = [normed(3, 16, 3), nn.ReLU()], 16
    for width in (16, 32, 64):
        for i in range(3):
            layers.append(Basic(c, width, 2 if i == 0 and width > 16 else 1))
            c = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), [3, 32, 32]


class Inverted(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018)."""

    def __init__(self, c_in, c_out, stride, expand):
        super().__init__()
        inner = c_in * expand
        layers = [normed(c_in, inner, 1), nn.ReLU6()] if expand > 1 else []
        layers += [normed(inner, inner, 3, stride, inner), nn.ReLU6(), normed(inner, c_out, 1)]
        self.layers, self.adds = nn.Sequential(*layers), stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.layers(x) if self.adds else self.layers(x)


def mobilenet_v2():
    layers, c = [normed(3, 32, 3, 2), nn.ReLU6()], 32
    for expand, width, n, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]:
        for i in range(n):
            layers.append(Inverted(c, width, stride if i == 0 else 1, expand))
            c = width
    layers += [normed(c, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
               nn.Linear(1280, 1000)]
    return nn.Sequential(*layers), [3, 224, 224]


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1 (He et al. 2016)."""

    def __init__(self, c_in, width, stride):
        super().__init__()
        self.layers = nn.Sequential(
            normed(c_in, width, 1), nn.ReLU(), normed(width, width, 3, stride), nn.ReLU(),
            normed(width, 4 * width, 1),
        )
        same = stride == 1 and c_in == 4 * width
        self.shortcut = nn.Identity() if same else normed(c_in, 4 * width, 1, stride)

    def forward(self, x):
        return F.relu(self.shortcut(x) + self.layers(x))


def resnet_50():
    layers, c = [normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, n in [(64, 3), (128, 4), (256, 6), (512, 3)]:
        for i in range(n):
            layers.append(Bottleneck(c, width, 2 if i == 0 and width > 64 else 1))
            c = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)]
    return nn.Sequential(*layers), [3, 224, 224]


class Encoder(nn.Module):
    """Embeddings and layers of a BERT of width 256, 4 heads, 128 words, post-norm, exact GELU."""

    WORDS, LENGTH, WIDTH, HEADS = 1000, 128, 256, 4

    class Layer(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
            self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

        def forward(self, x):
            heads, size = Encoder.HEADS, Encoder.WIDTH // Encoder.HEADS
            q, k, v = (
                f(x).view(-1, Encoder.LENGTH, heads, size).transpose(1, 2)
                for f in (self.q, self.k, self.v)
            )
            a = torch.softmax(q @ k.transpose(2, 3) * size**-0.5, -1) @ v
            a = a.transpose(1, 2).reshape(-1, Encoder.LENGTH, Encoder.WIDTH)
            x = self.norm1(x + self.out(a))
            return self.norm2(x + self.down(F.gelu(self.up(x))))

    def __init__(self, layers):
        super().__init__()
        d = Encoder.WIDTH
        self.words = nn.Embedding(Encoder.WORDS, d)
        self.places = nn.Parameter(torch.randn(1, Encoder.LENGTH, d))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 2)
        self.layers = nn.ModuleList(Encoder.Layer(d) for _ in range(layers))

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.places)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


def encoder_4():
    return Encoder(4), [Encoder.LENGTH]


NETWORKS = {
    "lenet-300-100": lenet_300,
    "lenet-5-caffe": lenet_5,
    "resnet20-cifar": resnet_20,
    "mobilenet-v2": mobilenet_v2,
    "encoder-4x256": encoder_4,
    "resnet-50": resnet_50,
}


def samples(name, shape, n):
    torch.manual_seed(1)
    if name.startswith("encoder"):
        return torch.randint(0, Encoder.WORDS, (n, *shape))
    return torch.rand(n, *shape) * 2 - 1


def build(name):
    """The module, ready to answer, and the shape of a sample. Statistics of batch norms are drawn
    too, so that nothing can be left out as doing nothing."""
    torch.manual_seed(0)
    module, shape = NETWORKS[name]()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -0.1, 0.1)
            nn.init.uniform_(m.running_var, 0.8, 1.2)
            nn.init.uniform_(m.bias, -0.1, 0.1)
    return module.eval(), shape


def write_onnx(name, path):
    module, shape = build(name)
    # What it does not fold the engines do.
    warnings.filterwarnings("ignore", module="torch.onnx")
    torch.onnx.export(
        module, (samples(name, shape, 1),), path, dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
    )


def write_int8(name, source, path):
    """Static int8 by onnxruntime: QDQ, u8 activations by least and largest of random samples, s8
    weights by channel; of the encoder only the products with weights."""
    from onnxruntime import quantization as q

    shape = build(name)[1]

    class Reader(q.CalibrationDataReader):
        left = 8

        def get_next(self):
            if self.left == 0:
                return None
            self.left -= 1
            return {"x": samples(name, shape, 4).numpy()}

    ops = ["MatMul", "Gemm"] if name.startswith("encoder") else None
    q.quantize_static(
        source, path, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
        activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, op_types_to_quantize=ops,
    )
