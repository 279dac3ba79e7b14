//! Known architectures by name: the Graph of a network whose weights come from somewhere else.
//!
//! A builder here says which operators there are, how they are connected and what their weights are
//! called; a checkpoint or a random generator says what is in them. Until then matrices and filters
//! are 0, and a normalisation changes nothing. The names of weights are those of the project
//! whose checkpoints are the usual ones, given with each architecture.

mod bert;
mod efficientnet;
mod layers;
mod lenet;
mod mobilenet;
mod resnet;

pub use bert::{EncoderSize, bert_encoder};
pub use lenet::{lenet_5_caffe, mlp};

use crate::schema::{InputSchema, Schema, TargetKind, TargetSchema};
use crate::{Graph, Result};

/// A network that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// What it is called: `resnet20-cifar`.
    pub name: &'static str,
    /// Who described it, and whose checkpoints have its names.
    pub about: &'static str,
    /// Name of its last bias, whose length is the number of classes; none where there are no classes.
    pub classifier: Option<&'static str>,
    /// Tensors that its checkpoints may hold and it does not read.
    pub unread: &'static [&'static str],
    samples: Samples,
    build: fn(classes: usize) -> Result<Graph>,
}

/// What a network is fed, as it was when its usual checkpoint was trained.
#[derive(Clone, Copy, Debug)]
enum Samples {
    /// Grey images of 28 x 28, of which the mean and deviation are those of MNIST.
    Digits,
    /// Colour images of 32 x 32 of CIFAR-10.
    Cifar,
    /// Colour images of a given side, normalised by one mean and deviation a channel.
    Photographs([f32; 3], [f32; 3]),
    /// Texts as numbers of pieces of words: arrays, which are fed as they are.
    Words,
}

/// Means and deviations of the channels of ImageNet, as PyTorch's models use them.
const IMAGENET: Samples = Samples::Photographs([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// The classes of CIFAR-10, in the order of its labels.
pub const CIFAR_CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

macro_rules! cifar {
    ($name:literal, $blocks:literal) => {
        Architecture {
            name: $name,
            about: "residual network for 32 x 32 images (He et al. 2016, section 4.2); names of \
                    akamaster/pytorch_resnet_cifar10",
            classifier: Some("linear.bias"),
            unread: &[],
            samples: Samples::Cifar,
            build: |classes| resnet::cifar($name, $blocks, classes),
        }
    };
}

macro_rules! resnet {
    ($name:literal, $build:expr) => {
        Architecture {
            name: $name,
            about: "residual network for ImageNet (He et al. 2016, table 1; strides as in PyTorch); \
                    names of torchvision",
            classifier: Some("fc.bias"),
            unread: &[],
            samples: IMAGENET,
            build: $build,
        }
    };
}

macro_rules! minilm {
    ($name:literal, $layers:literal) => {
        Architecture {
            name: $name,
            about: "encoder of sentences, 384 numbers a word (Wang et al. 2020, table 3; Reimers, Gurevych \
                    2019, section 3); names of the library transformers",
            classifier: None,
            unread: &[
                "embeddings.position_ids",
                "pooler.dense.weight",
                "pooler.dense.bias",
            ],
            samples: Samples::Words,
            build: |_| bert_encoder($name, EncoderSize::minilm($layers)),
        }
    };
}

/// All of them.
pub const ALL: &[Architecture] = &[
    Architecture {
        name: "lenet-300-100",
        about: "perceptron of 300 and 100 hidden units (LeCun et al. 1998); names of Bantam",
        classifier: Some("dense3.bias"),
        unread: &[],
        samples: Samples::Digits,
        build: |classes| mlp("lenet-300-100", &[1, 28, 28], &[300, 100], classes),
    },
    Architecture {
        name: "lenet-5-caffe",
        about: "LeNet-5 as Caffe defined it, with 20 and 50 filters; names of Bantam",
        classifier: Some("dense2.bias"),
        unread: &[],
        samples: Samples::Digits,
        build: |classes| lenet_5_caffe(&[1, 28, 28], classes),
    },
    cifar!("resnet20-cifar", 3),
    cifar!("resnet32-cifar", 5),
    cifar!("resnet44-cifar", 7),
    cifar!("resnet56-cifar", 9),
    cifar!("resnet110-cifar", 18),
    resnet!("resnet-18", |classes| resnet::basic(
        "resnet-18",
        [2, 2, 2, 2],
        classes
    )),
    resnet!("resnet-34", |classes| resnet::basic(
        "resnet-34",
        [3, 4, 6, 3],
        classes
    )),
    resnet!("resnet-50", |classes| resnet::bottleneck(
        "resnet-50",
        [3, 4, 6, 3],
        classes
    )),
    resnet!("resnet-101", |classes| resnet::bottleneck(
        "resnet-101",
        [3, 4, 23, 3],
        classes
    )),
    resnet!("resnet-152", |classes| resnet::bottleneck(
        "resnet-152",
        [3, 8, 36, 3],
        classes
    )),
    Architecture {
        name: "mobilenet-v2",
        about: "MobileNetV2 of width 1 (Sandler et al. 2018, table 2); names of torchvision",
        classifier: Some("classifier.1.bias"),
        unread: &[],
        samples: IMAGENET,
        build: mobilenet::v2,
    },
    Architecture {
        name: "efficientnet-lite0",
        about: "EfficientNet-Lite0 (Tan, Le 2019, without squeeze and swish); names of the package \
                efficientnet-lite-pytorch",
        classifier: Some("_fc.bias"),
        unread: &[],
        samples: Samples::Photographs([0.498; 3], [0.502; 3]),
        build: efficientnet::lite0,
    },
    minilm!("minilm-l3", 3),
    minilm!("minilm-l6", 6),
    minilm!("minilm-l12", 12),
];

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Architecture> {
    ALL.iter().find(|a| a.name == name)
}

impl Architecture {
    /// The network for `classes` classes, without weights to speak of; errs when there are none. A network
    /// without a classifier is the same for any number.
    pub fn graph(&self, classes: usize) -> Result<Graph> {
        (self.build)(classes)
    }

    /// Number of classes of its usual checkpoint; 0 where there are none.
    pub fn usual_classes(&self) -> usize {
        match self.samples {
            Samples::Words => 0,
            Samples::Digits | Samples::Cifar => 10,
            Samples::Photographs(..) => 1000,
        }
    }

    /// How images become its input and what its outputs are, as for its usual checkpoint. The
    /// classes are those of CIFAR-10 by name, others by number. `None` where arrays are fed as they are.
    pub fn schema(&self, classes: usize) -> Option<Schema> {
        let (channels, side, mean, deviation) = match self.samples {
            Samples::Words => return None,
            Samples::Digits => (1, 28, [0.1307; 3], [0.3081; 3]),
            Samples::Cifar => (3, 32, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Samples::Photographs(mean, deviation) => (3, 224, mean, deviation),
        };
        let names = match self.samples {
            Samples::Cifar if classes == 10 => CIFAR_CLASSES.map(str::to_owned).to_vec(),
            _ => (0..classes).map(|i| i.to_string()).collect(),
        };
        Some(Schema {
            input: InputSchema::Image {
                channels,
                height: side,
                width: side,
                offset: mean[..channels].to_vec(),
                scale: deviation[..channels].iter().map(|d| 1.0 / d).collect(),
            },
            target: TargetSchema {
                name: "class".to_owned(),
                kind: TargetKind::Classes(names),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::Type;

    /// Weights and biases, without running statistics; multiply-adds of convolutions, dense
    /// layers and matrix products; both for one sample and the usual classes.
    fn size(graph: &Graph) -> (usize, u64) {
        let costs = graph.costs(1).unwrap();
        let products = graph.nodes().iter().zip(costs);
        let products = products.filter(|(n, _)| matches!(n.op.name(), "Conv" | "Dense" | "MatMul"));
        (graph.n_trainable(), products.map(|(_, c)| c.macs).sum())
    }

    #[test]
    fn sizes_are_those_of_the_papers() {
        // Parameters as PyTorch counts them in the project that the names are of; multiply-adds
        // counted by hand from the tables of the papers where they give them.
        let cases = [
            ("lenet-300-100", 266_610, 266_200),
            ("lenet-5-caffe", 431_080, 2_293_000),
            ("resnet20-cifar", 269_722, 40_551_040),
            ("resnet32-cifar", 464_154, 68_862_592),
            ("resnet44-cifar", 658_586, 97_174_144),
            ("resnet56-cifar", 853_018, 125_485_696),
            ("resnet110-cifar", 1_727_962, 252_887_680),
            ("resnet-18", 11_689_512, 1_814_073_344),
            ("resnet-34", 21_797_672, 3_663_761_408),
            ("resnet-50", 25_557_032, 4_089_184_256),
            ("resnet-101", 44_549_160, 7_801_405_440),
            ("resnet-152", 60_192_808, 11_513_626_624),
            ("mobilenet-v2", 3_504_872, 300_774_272),
            ("efficientnet-lite0", 4_652_008, 385_187_552),
            // Without the pooler, which sentence embeddings do not read; a text of one word.
            ("minilm-l3", 17_241_984, 5_310_720),
            ("minilm-l6", 22_565_376, 10_621_440),
            ("minilm-l12", 33_212_160, 21_242_880),
        ];
        assert_eq!(cases.len(), ALL.len());
        for (name, parameters, macs) in cases {
            let a = find(name).unwrap();
            let graph = a.graph(a.usual_classes()).unwrap();
            assert_eq!(size(&graph), (parameters, macs), "{name}");
        }
    }

    #[test]
    fn an_encoder_reads_any_number_of_words_and_refuses_odd_sizes() {
        let size = EncoderSize {
            layers: 2,
            width: 12,
            heads: 3,
            feed_forward: 20,
            vocabulary: 50,
            positions: 9,
            types: 2,
        };
        let graph = bert_encoder("small", size).unwrap();
        let text = |n: usize, words: usize| vec![Type::new(DType::I64, &[n, words]); 3];
        for (n, words) in [(1, 1), (3, 9), (2, 5)] {
            let types = graph.infer(&text(n, words)).unwrap();
            let shape = |i: usize| types[graph.outputs()[i].index()].shape.clone();
            assert_eq!((shape(0), shape(1)), (vec![n, words, 12], vec![n, 12]));
        }
        // More words than there are places for.
        let error = graph.infer(&text(1, 10)).unwrap_err();
        assert!(error.to_string().contains("embeddings.placed"), "{error}");
        for odd in [
            EncoderSize { heads: 5, ..size },
            EncoderSize { heads: 0, ..size },
            EncoderSize { width: 0, ..size },
            EncoderSize { layers: 0, ..size },
        ] {
            assert!(bert_encoder("odd", odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn any_number_of_classes_and_the_schema_fits() {
        for a in ALL {
            let graph = a.graph(7).unwrap();
            let Some(schema) = a.schema(7) else {
                assert!(a.classifier.is_none(), "{}", a.name);
                continue;
            };
            schema.check().unwrap();
            let types = graph.input_types(1);
            assert_eq!(types[0].shape[1..], schema.sample_shape(), "{}", a.name);
            let last = graph.infer(&types).unwrap()[graph.outputs()[0].index()].clone();
            assert_eq!(last.shape, [1, 7], "{}", a.name);
            let bias = graph
                .parameters()
                .iter()
                .find(|p| Some(graph.value_name(p.value)) == a.classifier);
            assert_eq!(bias.unwrap().weight.shape(), [7], "{}", a.name);
        }
    }
}
