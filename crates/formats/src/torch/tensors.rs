//! From a pickle's values to tensors: where they are, what they are called, whether that can be.

use std::borrow::Cow;
use std::collections::HashSet;

use bantam_core::Tensor;
use bantam_core::tensor::{element_count, strides};

use super::names::Global;
use super::pickle::{Id, Item, Pickle};
use crate::stored::Stored;
use crate::{Error, ErrorKind, Result};

/// Deepest dictionary in a dictionary that is looked into.
const MOST_DEPTH: usize = 64;
/// Most values looked at; one that is referred to from two places counts twice.
const MOST_VISITS: usize = 1 << 20;
/// Most tensors.
const MOST_TENSORS: usize = 1 << 16;
/// Longest name of a tensor, in bytes.
const MOST_NAME_BYTES: usize = 1024;
/// Longest key of a storage, in bytes.
const MOST_KEY_BYTES: usize = 256;
/// Most axes of a tensor.
const MOST_AXES: usize = 32;

/// A block of elements that tensors are parts of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    /// What the file calls it.
    pub(super) key: &'a str,
    pub(super) stored: Stored,
    /// Elements it has.
    pub(super) len: usize,
    /// Element that a tensor's offset is counted from; not 0 in views of very old files.
    first: usize,
}

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec<'a> {
    pub(super) name: String,
    pub(super) storage: Storage<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The tensors in the dictionaries and lists below the root, in their order.
pub(super) fn find<'a>(pickle: &Pickle<'a>) -> Result<Vec<Spec<'a>>> {
    let mut walk = Walk {
        pickle,
        path: Vec::new(),
        found: Vec::new(),
        names: HashSet::new(),
        visits: 0,
    };
    walk.visit(pickle.root())?;
    Ok(walk.found)
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// Keys on the way from the root to where the walk is.
    path: Vec<Cow<'a, str>>,
    found: Vec<Spec<'a>>,
    names: HashSet<String>,
    visits: usize,
}

impl<'p, 'a> Walk<'p, 'a> {
    fn visit(&mut self, id: Id) -> Result<()> {
        self.count(1)?;
        let pickle: &'p Pickle<'a> = self.pickle;
        match pickle.get(id) {
            Item::Dict(pairs) => self.entries(pairs),
            Item::Sequence(_, ids) => ids
                .iter()
                .enumerate()
                .try_for_each(|(i, &id)| self.below(Cow::Owned(i.to_string()), id)),
            Item::Call(call) => match call.global {
                Global::Dictionary | Global::Namespace => {
                    // Python 2 gave the pairs as an argument.
                    let first = arguments(pickle, call.args).first();
                    if let Some(Item::Sequence(_, ids)) = first.map(|&a| pickle.get(a)) {
                        // They are looked at even where they turn out to be no pairs.
                        self.count(ids.len())?;
                    }
                    let given = first.and_then(|&a| pairs(pickle, a));
                    self.entries(&given.unwrap_or_default())?;
                    self.entries(&call.pairs)
                }
                Global::Tensor | Global::Parameter => self.tensor(id),
                Global::Opaque(_)
                | Global::Storage(_)
                | Global::OtherStorage(_)
                | Global::Name(_) => Ok(()),
            },
            Item::None
            | Item::Bool(_)
            | Item::Int(_)
            | Item::Long(_)
            | Item::Float
            | Item::Text(_)
            | Item::Bytes
            | Item::Global(_)
            | Item::Persistent(_) => Ok(()),
        }
    }

    /// Counts what is looked at.
    fn count(&mut self, values: usize) -> Result<()> {
        self.visits += values;
        if self.visits <= MOST_VISITS {
            return Ok(());
        }
        let what = "values in dictionaries of dictionaries";
        let (found, most) = (self.visits as u64, MOST_VISITS as u64);
        Err(Error::too_large(what, found, most))
    }

    fn entries(&mut self, pairs: &[(Id, Id)]) -> Result<()> {
        let pickle: &'p Pickle<'a> = self.pickle;
        for &(key, value) in pairs {
            let key = match pickle.get(key) {
                Item::Text(text) => Cow::Borrowed(*text),
                Item::Int(n) => Cow::Owned(n.to_string()),
                // Nothing that names a weight.
                _ => continue,
            };
            self.below(key, value)?;
        }
        Ok(())
    }

    fn below(&mut self, key: Cow<'a, str>, id: Id) -> Result<()> {
        self.path.push(key);
        if self.path.len() > MOST_DEPTH {
            let what = "dictionaries in one another";
            return Err(Error::too_large(
                what,
                self.path.len() as u64,
                MOST_DEPTH as u64,
            ));
        }
        self.visit(id)?;
        self.path.pop();
        Ok(())
    }

    fn tensor(&mut self, id: Id) -> Result<()> {
        let name_bytes: usize = self.path.iter().map(|key| key.len() + 1).sum();
        if name_bytes > MOST_NAME_BYTES {
            let what = "bytes of the name of a tensor";
            return Err(Error::too_large(
                what,
                name_bytes as u64,
                MOST_NAME_BYTES as u64,
            ));
        }
        if self.found.len() >= MOST_TENSORS {
            let found = self.found.len() as u64 + 1;
            return Err(Error::too_large("tensors", found, MOST_TENSORS as u64));
        }
        let name = self.path.join(".");
        if !self.names.insert(name.clone()) {
            return Err(Error::corrupt("the name is there twice").at(place(&name)));
        }
        let spec = spec(self.pickle, id, &name, 0).map_err(|e| e.at(place(&name)))?;
        self.found.push(spec);
        Ok(())
    }
}

fn place(name: &str) -> String {
    let shown: String = name.chars().take(200).collect();
    format!("tensor {shown:?}")
}

fn arguments<'p>(pickle: &'p Pickle<'_>, args: Id) -> &'p [Id] {
    pickle.tuple(args).unwrap_or_default()
}

/// A list of lists of two as pairs.
fn pairs(pickle: &Pickle<'_>, id: Id) -> Option<Vec<(Id, Id)>> {
    let Item::Sequence(_, ids) = pickle.get(id) else {
        return None;
    };
    let pair = |id: &Id| match pickle.get(*id) {
        Item::Sequence(_, two) => <[Id; 2]>::try_from(two.as_slice()).ok(),
        _ => None,
    };
    ids.iter().map(|id| pair(id).map(|[k, v]| (k, v))).collect()
}

/// A tensor from the arguments of the function that would rebuild it.
fn spec<'a>(pickle: &Pickle<'a>, id: Id, name: &str, depth: usize) -> Result<Spec<'a>> {
    let Item::Call(call) = pickle.get(id) else {
        return Err(Error::corrupt("expected a tensor"));
    };
    let args = arguments(pickle, call.args);
    match (call.global, args) {
        (Global::Parameter, [inner, ..]) => {
            // A parameter wraps a tensor; wraps of wraps are nothing that is ever written.
            if depth > 0 {
                return Err(Error::corrupt("expected a tensor in a parameter"));
            }
            spec(pickle, *inner, name, depth + 1)
        }
        (Global::Tensor, [at, offset, shape, strides, ..]) => {
            let Item::Persistent(id) = pickle.get(*at) else {
                return Err(Error::corrupt("expected a storage"));
            };
            let offset = pickle.size(*offset);
            Ok(Spec {
                name: name.to_owned(),
                storage: storage(pickle, *id)?,
                offset: offset.ok_or_else(|| Error::corrupt("expected an offset of 0 or more"))?,
                shape: sizes(pickle, *shape, "shape")?,
                strides: sizes(pickle, *strides, "strides")?,
            })
        }
        _ => Err(Error::corrupt(
            "expected a storage, an offset, a shape and strides",
        )),
    }
}

fn sizes(pickle: &Pickle<'_>, id: Id, what: &str) -> Result<Vec<usize>> {
    let bad = || Error::corrupt(format!("{what}: expected a tuple of sizes of 0 or more"));
    // `torch.Size` is a tuple by another name.
    let id = match pickle.get(id) {
        Item::Call(call) if call.global == Global::Opaque("torch.Size") => {
            *arguments(pickle, call.args).first().ok_or_else(bad)?
        }
        _ => id,
    };
    let ids = pickle.tuple(id).ok_or_else(bad)?;
    if ids.len() > MOST_AXES {
        return Err(Error::too_large("axes", ids.len() as u64, MOST_AXES as u64));
    }
    ids.iter()
        .map(|&id| pickle.size(id).ok_or_else(bad))
        .collect()
}

/// A storage from what a pickle says about it: `("storage", class, key, place, length[, view])`.
pub(super) fn storage<'a>(pickle: &Pickle<'a>, id: Id) -> Result<Storage<'a>> {
    let bad = || Error::corrupt("expected a storage with a class, a key, a place and a length");
    let (class, key, len, view) = match pickle.tuple(id).ok_or_else(bad)? {
        [kind, class, key, _, len] if pickle.text(*kind) == Some("storage") => {
            (*class, *key, *len, None)
        }
        [kind, class, key, _, len, view] if pickle.text(*kind) == Some("storage") => {
            (*class, *key, *len, Some(*view))
        }
        _ => return Err(bad()),
    };
    let stored = match pickle.get(class) {
        Item::Global(Global::Storage(stored)) => *stored,
        Item::Global(Global::OtherStorage(name)) => {
            let message = format!("expected elements that are plain numbers, found a {name}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        _ => return Err(bad()),
    };
    let len = pickle.size(len).ok_or_else(bad)?;
    let first = match view.map(|view| (pickle.get(view), pickle.tuple(view))) {
        None | Some((Item::None, _)) => 0,
        Some((_, Some([_, first, _]))) => pickle.size(*first).ok_or_else(bad)?,
        Some(_) => return Err(bad()),
    };
    let key = pickle.text(key).ok_or_else(bad)?;
    if key.len() > MOST_KEY_BYTES {
        // Every reference to a storage looks its key up.
        let (found, most) = (key.len() as u64, MOST_KEY_BYTES as u64);
        return Err(Error::too_large(
            "bytes of the key of a storage",
            found,
            most,
        ));
    }
    Ok(Storage {
        key,
        stored,
        len,
        first,
    })
}

impl Storage<'_> {
    /// Bytes it takes; errs when they cannot be counted.
    pub(super) fn size_bytes(&self) -> Result<usize> {
        let size = self.len.checked_mul(self.stored.size_bytes());
        size.ok_or_else(|| Error::corrupt(format!("a storage of {} elements", self.len)))
    }
}

impl Spec<'_> {
    pub(super) fn place(&self) -> String {
        place(&self.name)
    }

    /// Bytes of the tensor; errs when it is not a part of its storage that has every element once.
    pub(super) fn check(&self) -> Result<usize> {
        if self.shape.len() != self.strides.len() {
            let (axes, found) = (self.shape.len(), self.strides.len());
            return Err(Error::corrupt(format!(
                "expected a stride for each of {axes} axes, found {found}"
            )));
        }
        let elements = element_count(&self.shape)?;
        if elements == 0 {
            return Ok(0);
        }
        let outside = || {
            let Spec { shape, strides, .. } = self;
            let (offset, len) = (self.offset, self.storage.len);
            Error::corrupt(format!(
                "shape {shape:?} with strides {strides:?} from element {offset} on does not fit \
                 into a storage of {len}"
            ))
        };
        let mut axes: Vec<(usize, usize)> = self
            .strides
            .iter()
            .copied()
            .zip(self.shape.iter().copied())
            .collect();
        axes.retain(|&(_, size)| size > 1);
        axes.sort_unstable();
        // Elements that the axes with smaller strides span.
        let mut span = 1usize;
        for (stride, size) in axes {
            if stride < span {
                let (shape, strides) = (&self.shape, &self.strides);
                let message = format!(
                    "shape {shape:?} with strides {strides:?} reads elements more than once"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            let more = stride.checked_mul(size - 1);
            span = more.and_then(|m| m.checked_add(span)).ok_or_else(outside)?;
        }
        let end = self.start().and_then(|start| start.checked_add(span));
        end.filter(|&end| end <= self.storage.len)
            .ok_or_else(outside)?;
        self.storage.size_bytes()?;
        // Within a storage whose bytes can be counted.
        Ok(elements * self.storage.stored.size_bytes())
    }

    fn start(&self) -> Option<usize> {
        self.storage.first.checked_add(self.offset)
    }

    /// The values, from the bytes of the storage. The tensor has passed [`check`](Spec::check).
    pub(super) fn take(&self, storage: &[u8]) -> Result<Tensor> {
        let size = self.storage.stored.size_bytes();
        let elements = element_count(&self.shape)?;
        if elements == 0 {
            let empty = self.storage.stored.decode(&[])?;
            return Ok(Tensor::from_data(&self.shape, empty)?);
        }
        let start = self.start().expect("it was checked") * size;
        let plain = strides(&self.shape);
        let mut axes = plain.iter().zip(&self.strides).zip(&self.shape);
        let is_plain = axes.all(|((a, b), &size)| size == 1 || a == b);
        let bytes = match is_plain {
            true => Cow::Borrowed(&storage[start..start + elements * size]),
            false => Cow::Owned(self.gather(&storage[start..], elements, size)),
        };
        let data = self.storage.stored.decode(&bytes)?;
        Ok(Tensor::from_data(&self.shape, data)?)
    }

    /// The bytes of the elements in row-major order.
    fn gather(&self, storage: &[u8], elements: usize, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(elements * size);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        for _ in 0..elements {
            bytes.extend_from_slice(&storage[at * size..(at + 1) * size]);
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        bytes
    }
}
