//! Pickles read as data: lists, dictionaries, numbers, texts, and calls that are only written down.
//!
//! Unpickling is running a program that the file brings along. Here nothing is run. The opcodes that
//! make plain values make plain values; a name is looked up in a fixed list ([`Global::known`]) and a
//! call of such a name is kept as its name and arguments. Whatever else a pickle asks for (any other
//! name, `INST`, `OBJ`, extensions, buffers) is an error that says at which byte.
//!
//! Values live in one arena and refer to each other by number, so that no depth of nesting and no
//! cycle can exhaust the stack; opcodes and values are counted against limits. Opcodes are those of
//! the protocols 2 to 5 (Python's `pickletools` documents them), without the decimal ones of
//! protocol 0, which `torch.save` cannot use.

use std::collections::HashMap;

use super::names::Global;
use crate::{Error, ErrorKind, Result};

/// Most opcodes in a pickle; a tensor takes about 30.
const MOST_OPCODES: usize = 1 << 22;
/// Most values in a pickle.
const MOST_ITEMS: usize = 1 << 20;
/// Longest integer, in bytes.
const MOST_LONG_BYTES: usize = 256;

/// Number of a value in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// A value. Texts and bytes are parts of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, little endian, two's complement.
    Long(&'a [u8]),
    Float,
    Text(&'a str),
    Bytes,
    /// A tuple, list or set.
    Sequence(Kind, Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A call that was not made.
    Call(Box<Call>),
    /// A reference to something outside the pickle.
    Persistent(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tuple,
    List,
    Set,
}

/// What would have been called, on what, and what was put into the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) global: Global,
    pub(crate) args: Id,
    pub(crate) pairs: Vec<(Id, Id)>,
}

/// A pickle as data.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    items: Vec<Item<'a>>,
    root: Id,
    /// Bytes it takes.
    pub(crate) len: usize,
}

impl<'a> Pickle<'a> {
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn get(&self, id: Id) -> &Item<'a> {
        &self.items[id.0 as usize]
    }

    /// Whatever the pickle refers to outside of itself.
    pub(crate) fn persistent(&self) -> impl Iterator<Item = Id> {
        self.items.iter().filter_map(|item| match item {
            Item::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// The elements, if it is a tuple.
    pub(crate) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Item::Sequence(Kind::Tuple, ids) => Some(ids),
            _ => None,
        }
    }

    pub(crate) fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one that can be a size.
    pub(crate) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Item::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }
}

/// Reads the pickle that `bytes` begin with; what follows its end is not looked at.
pub(crate) fn read(bytes: &[u8]) -> Result<Pickle<'_>> {
    let mut machine = Machine {
        bytes,
        at: 0,
        items: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    for _ in 0..MOST_OPCODES {
        let start = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                return Ok(Pickle {
                    items: machine.items,
                    root,
                    len: machine.at,
                });
            }
            Err(e) => return Err(e.at_byte(start as u64)),
        }
    }
    let found = MOST_OPCODES as u64 + 1;
    Err(Error::too_large(
        "opcodes in a pickle",
        found,
        MOST_OPCODES as u64,
    ))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    items: Vec<Item<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which a mark was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Attributes copied so far.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            let message = format!(
                "the pickle ends early: expected {len} bytes, found {}",
                rest.len()
            );
            return Err(Error::new(ErrorKind::Truncated, message));
        };
        self.at += len;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many bytes as were asked for"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.number::<1>()?[0])
    }

    /// A length of 1, 4 or 8 bytes, then as many bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8]> {
        let mut len = [0; 8];
        len[..width].copy_from_slice(self.take(width)?);
        let len = usize::try_from(u64::from_le_bytes(len)).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(1024).position(|&b| b == b'\n');
        let end = end.ok_or_else(|| Error::corrupt("expected a name that ends with its line"))?;
        self.at += end + 1;
        text(&rest[..end])
    }

    fn push(&mut self, item: Item<'a>) -> Result<()> {
        if self.items.len() >= MOST_ITEMS {
            let (found, most) = (MOST_ITEMS as u64 + 1, MOST_ITEMS as u64);
            return Err(Error::too_large("values in a pickle", found, most));
        }
        self.items.push(item);
        self.stack.push(Id(self.items.len() as u32 - 1));
        Ok(())
    }

    /// The height below which nothing may be taken until the mark is gone.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err(Error::corrupt(
                "expected a value, found none before the last mark",
            ));
        }
        Ok(self
            .stack
            .pop()
            .expect("the stack is higher than its floor"))
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(Error::corrupt(
                "expected a value, found none before the last mark",
            )),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| Error::corrupt("expected a mark, found none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Result<()> {
        let mut ids = Vec::with_capacity(len);
        for _ in 0..len {
            ids.push(self.pop()?);
        }
        ids.reverse();
        self.push(Item::Sequence(Kind::Tuple, ids))
    }

    fn remember(&mut self, place: u32) -> Result<()> {
        let id = self.top()?;
        self.memo.insert(place, id);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        let known = self.memo.get(&place).copied();
        let id = known.ok_or_else(|| {
            Error::corrupt(format!("expected a value kept as {place}, found none"))
        })?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::known(module, name) {
            Some(global) => self.push(Item::Global(global)),
            None => Err(unknown(module, name)),
        }
    }

    fn call(&mut self) -> Result<()> {
        let args = self.pop()?;
        let callee = self.pop()?;
        let global = match &self.items[callee.0 as usize] {
            Item::Global(global) if global.is_callable() => *global,
            other => {
                let message = format!(
                    "expected a call of a known function, found one of {}",
                    what(other)
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        if !matches!(self.items[args.0 as usize], Item::Sequence(Kind::Tuple, _)) {
            return Err(Error::corrupt("expected a tuple of arguments"));
        }
        let pairs = Vec::new();
        self.push(Item::Call(Box::new(Call {
            global,
            args,
            pairs,
        })))
    }

    /// Appends to the list or set on top of the stack.
    fn append(&mut self, more: Vec<Id>) -> Result<()> {
        let to = self.top()?;
        match &mut self.items[to.0 as usize] {
            Item::Sequence(Kind::List | Kind::Set, ids) => ids.extend(more),
            other => {
                let message = format!("expected a list to append to, found {}", what(other));
                return Err(Error::corrupt(message));
            }
        }
        Ok(())
    }

    fn set(&mut self, flat: &[Id]) -> Result<()> {
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::corrupt("expected a value for each key"));
        }
        let to = self.top()?;
        let found = match &mut self.items[to.0 as usize] {
            Item::Dict(found) => found,
            Item::Call(call) => &mut call.pairs,
            other => {
                let message = format!("expected a dictionary to set in, found {}", what(other));
                return Err(Error::corrupt(message));
            }
        };
        found.extend(pairs.iter().map(|&[k, v]| (k, v)));
        Ok(())
    }

    /// Attributes of an object: kept for those whose attributes are their contents.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let to = self.top()?;
        let is_namespace =
            |item: &Item| matches!(item, Item::Call(c) if c.global == Global::Namespace);
        let pairs = match &self.items[state.0 as usize] {
            Item::Dict(pairs) if is_namespace(&self.items[to.0 as usize]) => {
                // One dictionary may be the attributes of many objects, each with a copy.
                self.copied += pairs.len();
                if self.copied > MOST_ITEMS {
                    let (found, most) = (self.copied as u64, MOST_ITEMS as u64);
                    return Err(Error::too_large("attributes in a pickle", found, most));
                }
                pairs.clone()
            }
            _ => Vec::new(),
        };
        match &mut self.items[to.0 as usize] {
            Item::Call(call) if call.global == Global::Namespace => call.pairs.extend(pairs),
            // A state dictionary's `_metadata`, a hook, a byte order: none says what a weight is.
            Item::Call(_) => {}
            other => {
                let message = format!("expected an object to set up, found {}", what(other));
                return Err(Error::corrupt(message));
            }
        }
        Ok(())
    }

    /// Runs one opcode; the root once it is the last.
    fn step(&mut self) -> Result<Option<Id>> {
        if self.memo.len() > MOST_ITEMS {
            let found = self.memo.len() as u64;
            return Err(Error::too_large(
                "values kept by a pickle",
                found,
                MOST_ITEMS as u64,
            ));
        }
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.protocol()?,
            0x95 => self.frame()?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let id = self.top()?;
                self.stack.push(id);
            }
            b'q' => {
                let place = self.byte()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.number()?);
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let place = self.byte()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.number()?);
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => self.stack_global()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Item::Persistent(id))?;
            }
            b'a' => {
                let one = self.pop()?;
                self.append(vec![one])?;
            }
            b'e' | 0x90 => {
                let many = self.pop_to_mark()?;
                self.append(many)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let flat = self.pop_to_mark()?;
                self.set(&flat)?;
            }
            _ => self.value(opcode)?,
        }
        Ok(None)
    }

    /// Runs an opcode that pushes a plain value.
    fn value(&mut self, opcode: u8) -> Result<()> {
        let item = match opcode {
            b'N' => Item::None,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'K' => Item::Int(self.byte()?.into()),
            b'M' => Item::Int(u16::from_le_bytes(self.number()?).into()),
            b'J' => Item::Int(i32::from_le_bytes(self.number()?).into()),
            0x8a => integer(self.counted(1)?)?,
            0x8b => integer(self.counted(4)?)?,
            b'G' => {
                self.take(8)?;
                Item::Float
            }
            b'X' => Item::Text(text(self.counted(4)?)?),
            0x8c => Item::Text(text(self.counted(1)?)?),
            0x8d => Item::Text(text(self.counted(8)?)?),
            b'U' => text_or_bytes(self.counted(1)?),
            b'T' => text_or_bytes(self.counted(4)?),
            b'C' => bytes(self.counted(1)?),
            b'B' => bytes(self.counted(4)?),
            0x8e | 0x96 => bytes(self.counted(8)?),
            b')' => Item::Sequence(Kind::Tuple, Vec::new()),
            b']' => Item::Sequence(Kind::List, Vec::new()),
            0x8f => Item::Sequence(Kind::Set, Vec::new()),
            b'}' => Item::Dict(Vec::new()),
            b't' => Item::Sequence(Kind::Tuple, self.pop_to_mark()?),
            b'l' => Item::Sequence(Kind::List, self.pop_to_mark()?),
            0x91 => Item::Sequence(Kind::Set, self.pop_to_mark()?),
            b'd' => {
                let flat = self.pop_to_mark()?;
                self.push(Item::Dict(Vec::new()))?;
                return self.set(&flat);
            }
            0x85..=0x87 => return self.tuple(usize::from(opcode - 0x84)),
            _ => return Err(refused(opcode)),
        };
        self.push(item)
    }

    fn protocol(&mut self) -> Result<()> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => {
                let message = format!("expected a pickle of protocol 2 to 5, found {other}");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    /// The length of a frame is only a hint for readers, but it must be there to be true.
    fn frame(&mut self) -> Result<()> {
        let len = u64::from_le_bytes(self.number()?);
        let rest = (self.bytes.len() - self.at) as u64;
        if len > rest {
            let message =
                format!("the pickle ends early: expected a frame of {len} bytes, found {rest}");
            return Err(Error::new(ErrorKind::Truncated, message));
        }
        Ok(())
    }

    /// `POP` takes a mark away where one is on top.
    fn discard(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id: Id| match &self.items[id.0 as usize] {
            Item::Text(text) => Ok(*text),
            other => Err(Error::corrupt(format!(
                "expected a name, found {}",
                what(other)
            ))),
        };
        let (module, name) = (text(module)?, text(name)?);
        self.global(module, name)
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::corrupt("expected text in UTF-8"))
}

/// Python 2 wrote texts as bytes.
fn text_or_bytes(bytes: &[u8]) -> Item<'_> {
    std::str::from_utf8(bytes).map_or(Item::Bytes, Item::Text)
}

fn bytes(_: &[u8]) -> Item<'_> {
    Item::Bytes
}

fn integer(bytes: &[u8]) -> Result<Item<'_>> {
    if bytes.len() > MOST_LONG_BYTES {
        let found = bytes.len() as u64;
        return Err(Error::too_large(
            "bytes of an integer",
            found,
            MOST_LONG_BYTES as u64,
        ));
    }
    if bytes.len() > 8 {
        return Ok(Item::Long(bytes));
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xFF } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(Item::Int(i64::from_le_bytes(wide)))
}

fn unknown(module: &str, name: &str) -> Error {
    let shown = |s: &str| s.chars().take(80).collect::<String>();
    let full = format!("{}.{}", shown(module), shown(name))
        .escape_debug()
        .to_string();
    let message = format!(
        "the pickle asks for `{full}`, which is not among the names that describe tensors, and \
         nothing was run: expected a dictionary of weights, as torch.save(model.state_dict(), ...) \
         writes it"
    );
    Error::new(ErrorKind::Unsupported, message)
}

fn refused(opcode: u8) -> Error {
    let what = match opcode {
        b'i' | b'o' | 0x92 => "an opcode that makes objects of classes",
        0x82..=0x84 => "an extension",
        0x97 | 0x98 => "a buffer outside the pickle",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'g' | b'p' => "an opcode of protocol 0",
        _ => "an unknown opcode",
    };
    let message = format!("expected an opcode that makes plain data, found {what}, {opcode:#04x}");
    Error::new(ErrorKind::Unsupported, message)
}

fn what(item: &Item) -> String {
    let text = match item {
        Item::None => "None",
        Item::Bool(_) => "a truth value",
        Item::Int(_) | Item::Long(_) | Item::Float => "a number",
        Item::Text(_) => "a text",
        Item::Bytes => "bytes",
        Item::Sequence(Kind::Tuple, _) => "a tuple",
        Item::Sequence(..) => "a list",
        Item::Dict(_) => "a dictionary",
        Item::Global(global) => return format!("`{}`", global.name()),
        Item::Call(call) => return format!("what `{}` makes", call.global.name()),
        Item::Persistent(_) => "a reference",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(bytes: &[u8]) -> Result<Item<'_>> {
        let pickle = read(bytes)?;
        let root = pickle.root();
        Ok(pickle.items[root.0 as usize].clone())
    }

    #[test]
    fn plain_values() {
        let cases: [(&[u8], Item); 12] = [
            (b"N.", Item::None),
            (b"\x88.", Item::Bool(true)),
            (b"K\xff.", Item::Int(255)),
            (b"M\x01\x02.", Item::Int(513)),
            (b"J\xff\xff\xff\xff.", Item::Int(-1)),
            (b"\x8a\x00.", Item::Int(0)),
            (b"\x8a\x02\x00\x80.", Item::Int(-32768)),
            (
                b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
                Item::Long(&[0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ),
            (b"X\x02\x00\x00\x00\xc3\xa9.", Item::Text("é")),
            (b"\x8c\x01a.", Item::Text("a")),
            (b"U\x01\xff.", Item::Bytes),
            (b"(K\x010K\x02K\x031N.", Item::None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(root(bytes).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn containers_share_what_is_kept() {
        // {"a": (1, [2]), "b": the same list}, then a frame and a protocol that change nothing.
        let bytes = b"\x80\x04\x95\x14\x00\x00\x00\x00\x00\x00\x00}(\x8c\x01aK\x01]\x94K\x02a\x86\x8c\x01bh\x00u.      ";
        let pickle = read(bytes).unwrap();
        assert_eq!(pickle.len, bytes.len() - 6);
        let Item::Dict(pairs) = pickle.get(pickle.root()) else {
            panic!("a dictionary")
        };
        let keys: Vec<_> = pairs.iter().map(|p| pickle.text(p.0).unwrap()).collect();
        assert_eq!(keys, ["a", "b"]);
        let tuple = pickle.tuple(pairs[0].1).unwrap();
        assert_eq!(pickle.size(tuple[0]), Some(1));
        assert_eq!(tuple[1], pairs[1].1);
    }

    #[test]
    fn what_is_not_data_is_refused() {
        let cases: [(&str, &[u8], ErrorKind, &str); 20] = [
            (
                "system",
                b"cos\nsystem\n(X\x02\x00\x00\x00ls\x85R.",
                ErrorKind::Unsupported,
                "`os.system`",
            ),
            (
                "eval by stack",
                b"\x8c\x08builtins\x8c\x04eval\x93.",
                ErrorKind::Unsupported,
                "`builtins.eval`",
            ),
            (
                "getattr",
                b"cbuiltins\ngetattr\n.",
                ErrorKind::Unsupported,
                "`builtins.getattr`",
            ),
            (
                "name with a dot",
                b"ccollections\nOrderedDict.__init__\n.",
                ErrorKind::Unsupported,
                "OrderedDict.__init__",
            ),
            (
                "load of bytes",
                b"ctorch.storage\n_load_from_bytes\n.",
                ErrorKind::Unsupported,
                "_load_from_bytes",
            ),
            (
                "call of a class that is only a name",
                b"ctorch\nFloatStorage\n)R.",
                ErrorKind::Unsupported,
                "`torch.FloatStorage`",
            ),
            (
                "call of a text",
                b"X\x01\x00\x00\x00a)R.",
                ErrorKind::Unsupported,
                "found one of a text",
            ),
            (
                "instance",
                b"(ios\nsystem\n.",
                ErrorKind::Unsupported,
                "objects of classes",
            ),
            (
                "object",
                b"(o.",
                ErrorKind::Unsupported,
                "objects of classes",
            ),
            (
                "extension",
                b"\x82\x01.",
                ErrorKind::Unsupported,
                "an extension",
            ),
            ("buffer", b"\x97.", ErrorKind::Unsupported, "a buffer"),
            ("protocol 0", b"I1\n.", ErrorKind::Unsupported, "protocol 0"),
            (
                "protocol 6",
                b"\x80\x06N.",
                ErrorKind::Unsupported,
                "found 6",
            ),
            (
                "set up of a list",
                b"]}b.",
                ErrorKind::Corrupt,
                "found a list",
            ),
            (
                "arguments that are no tuple",
                b"ccollections\nOrderedDict\n]R.",
                ErrorKind::Corrupt,
                "a tuple of arguments",
            ),
            ("empty stack", b"0.", ErrorKind::Corrupt, "found none"),
            ("below a mark", b"N(a.", ErrorKind::Corrupt, "found none"),
            (
                "odd dictionary",
                b"}(Nu.",
                ErrorKind::Corrupt,
                "a value for each key",
            ),
            ("kept nowhere", b"h\x07.", ErrorKind::Corrupt, "kept as 7"),
            (
                "endless name",
                &[b'c'; 5000],
                ErrorKind::Corrupt,
                "ends with its line",
            ),
        ];
        for (name, bytes, kind, text) in cases {
            let error = root(bytes).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains(text), "{name}: {error}");
            assert!(error.offset().is_some(), "{name}");
        }
    }

    #[test]
    fn sizes_that_are_not_there() {
        let cases: [&[u8]; 6] = [
            b"",
            b"N",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
            b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
            b"\x8b\xff\xff\xff\x7f.",
        ];
        for bytes in cases {
            assert_eq!(
                root(bytes).unwrap_err().kind(),
                ErrorKind::Truncated,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn bombs_are_bounded() {
        let nested = [vec![b']'; 3_000_000], vec![b'.']].concat();
        let marks = [vec![b'('; 30_000_000], vec![b'.']].concat();
        let doubled = [b"N".to_vec(), vec![b'2'; 30_000_000], vec![b'.']].concat();
        let kept: Vec<u8> = std::iter::once(b'N')
            .chain((0..2_000_000u32).flat_map(|i| [&[b'r'][..], &i.to_le_bytes()].concat()))
            .collect();
        for (name, bytes) in [
            ("nested", nested),
            ("marks", marks),
            ("doubled", doubled),
            ("kept", kept),
        ] {
            let error = read(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{name}: {error}");
        }
        // A huge place to keep a value at costs nothing.
        assert!(read(b"Nr\xff\xff\xff\xff.").is_ok());
        // Deep but allowed: a list in a list and so on, dropped without recursion.
        let deep = [vec![b']'; 500_000], vec![b'a'; 499_999], vec![b'.']].concat();
        assert!(read(&deep).is_ok());
    }
}
