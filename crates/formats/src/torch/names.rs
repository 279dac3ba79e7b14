//! The names that a checkpoint may speak of: all that is ever looked up for a pickle.

use crate::stored::Stored;

/// A name on the list. None of them is run: they say how to read what stands beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`, `defaultdict` and `Counter`: dictionaries.
    Dictionary,
    /// `argparse.Namespace` and `types.SimpleNamespace`: a dictionary in its attributes.
    Namespace,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: storage, offset, size, strides.
    Tensor,
    /// `torch._utils._rebuild_parameter` and the like: a tensor and whether it is trained.
    Parameter,
    /// `torch.FloatStorage` and the like: element type of a storage.
    Storage(Stored),
    /// A storage of an element type that is not read, such as complex numbers.
    OtherStorage(&'static str),
    /// Something that holds no weights: a size, a device, an element type, a number of NumPy.
    Opaque(&'static str),
    /// A name that is kept but never called, such as an element type.
    Name(&'static str),
}

/// Module, name, meaning.
const KNOWN: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::Dictionary),
    ("collections", "defaultdict", Global::Dictionary),
    ("collections", "Counter", Global::Dictionary),
    ("argparse", "Namespace", Global::Namespace),
    ("types", "SimpleNamespace", Global::Namespace),
    ("torch._utils", "_rebuild_tensor", Global::Tensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_parameter", Global::Parameter),
    (
        "torch._utils",
        "_rebuild_parameter_with_state",
        Global::Parameter,
    ),
    ("torch", "BoolStorage", Global::Storage(Stored::Bool)),
    ("torch", "ByteStorage", Global::Storage(Stored::U8)),
    ("torch", "CharStorage", Global::Storage(Stored::I8)),
    ("torch", "ShortStorage", Global::Storage(Stored::I16)),
    ("torch", "IntStorage", Global::Storage(Stored::I32)),
    ("torch", "LongStorage", Global::Storage(Stored::I64)),
    ("torch", "HalfStorage", Global::Storage(Stored::F16)),
    ("torch", "BFloat16Storage", Global::Storage(Stored::BF16)),
    ("torch", "FloatStorage", Global::Storage(Stored::F32)),
    ("torch", "DoubleStorage", Global::Storage(Stored::F64)),
    (
        "torch",
        "ComplexFloatStorage",
        Global::OtherStorage("torch.ComplexFloatStorage"),
    ),
    (
        "torch",
        "ComplexDoubleStorage",
        Global::OtherStorage("torch.ComplexDoubleStorage"),
    ),
    (
        "torch",
        "QInt8Storage",
        Global::OtherStorage("torch.QInt8Storage"),
    ),
    (
        "torch",
        "QUInt8Storage",
        Global::OtherStorage("torch.QUInt8Storage"),
    ),
    (
        "torch",
        "QInt32Storage",
        Global::OtherStorage("torch.QInt32Storage"),
    ),
    (
        "torch.storage",
        "UntypedStorage",
        Global::OtherStorage("torch.storage.UntypedStorage"),
    ),
    ("torch", "Size", Global::Opaque("torch.Size")),
    ("torch", "device", Global::Opaque("torch.device")),
    (
        "numpy.core.multiarray",
        "scalar",
        Global::Opaque("numpy scalar"),
    ),
    (
        "numpy._core.multiarray",
        "scalar",
        Global::Opaque("numpy scalar"),
    ),
    ("numpy", "dtype", Global::Opaque("numpy.dtype")),
    ("_codecs", "encode", Global::Opaque("_codecs.encode")),
    ("torch", "float32", Global::Name("torch.float32")),
    ("torch", "float64", Global::Name("torch.float64")),
    ("torch", "float16", Global::Name("torch.float16")),
    ("torch", "bfloat16", Global::Name("torch.bfloat16")),
    ("torch", "int64", Global::Name("torch.int64")),
    ("torch", "int32", Global::Name("torch.int32")),
    ("torch", "uint8", Global::Name("torch.uint8")),
    ("torch", "bool", Global::Name("torch.bool")),
];

impl Global {
    /// What `module.name` means, if it is on the list.
    pub(crate) fn known(module: &str, name: &str) -> Option<Global> {
        let is = |k: &&(&str, &str, Global)| k.0 == module && k.1 == name;
        KNOWN.iter().find(is).map(|k| k.2)
    }

    /// Whether a pickle may write a call of it down.
    pub(crate) fn is_callable(self) -> bool {
        match self {
            Global::Dictionary
            | Global::Namespace
            | Global::Tensor
            | Global::Parameter
            | Global::Opaque(_) => true,
            Global::Storage(_) | Global::OtherStorage(_) | Global::Name(_) => false,
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> String {
        let is = |k: &&(&str, &str, Global)| k.2 == self;
        let found = KNOWN.iter().find(is);
        let (module, name, _) = found.expect("every meaning is on the list");
        format!("{module}.{name}")
    }
}
