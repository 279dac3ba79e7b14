//! Names of nodes and weights, most of which can be guessed from the ones before.
//!
//! A node is guessed to be called as the last one with the same operator, its last number increased
//! by one; the first is the operator's name in lower case and `1`. A weight is guessed to be called
//! as the node that reads it, with the ending that the last weight in that place had; at first
//! `.weight` and `.bias`, for a batch normalisation also `.mean` and `.var`. The first input is
//! guessed to be `x`.
//!
//! Stored are first the names of nodes, then those of inputs and weights: byte 0 for a right guess,
//! else the name, with byte 1 before it if it is empty or starts with bytes 0 or 1.

use std::collections::BTreeMap;

use super::graph::{Action, Definition, Skeleton};
use super::text::{MAX_NAME_BYTES, Sink, Source, count_on};
use crate::{Error, Result};

const GUESSED: u8 = 0;
const ESCAPE: u8 = 1;

pub(super) fn write(sink: &mut Sink, skeleton: &Skeleton) -> Result<()> {
    write_one(sink, &skeleton.name, None)?;
    let mut guesser = Guesser::default();
    let names = &skeleton.names;
    for (definition, name) in skeleton.definitions.iter().zip(names) {
        if let Definition::Node { action, .. } = definition {
            write_one(sink, name, guesser.node(action).as_deref())?;
            guesser.learn_node(action, name);
        }
    }
    let readers = readers(&skeleton.definitions);
    for (i, (definition, name)) in skeleton.definitions.iter().zip(names).enumerate() {
        match definition {
            Definition::Input { .. } => {
                write_one(sink, name, guesser.input().as_deref())?;
                guesser.learn_input();
            }
            Definition::Weight(_) => {
                let reader = readers[i].as_ref().map(|r| r.named(names));
                write_one(sink, name, guesser.weight(reader.as_ref()).as_deref())?;
                guesser.learn_weight(reader.as_ref(), name);
            }
            Definition::Node { .. } => {}
        }
    }
    Ok(())
}

/// The name of the graph and those of its definitions.
pub(super) fn read(
    source: &mut Source<'_>,
    definitions: &[Definition],
) -> Result<(String, Vec<String>)> {
    let graph_name = read_one(source, None)?;
    let mut guesser = Guesser::default();
    let mut names = vec![String::new(); definitions.len()];
    for (definition, name) in definitions.iter().zip(&mut names) {
        if let Definition::Node { action, .. } = definition {
            *name = read_one(source, guesser.node(action))?;
            guesser.learn_node(action, name);
        }
    }
    let readers = readers(definitions);
    for (i, definition) in definitions.iter().enumerate() {
        match definition {
            Definition::Input { .. } => {
                names[i] = read_one(source, guesser.input())?;
                guesser.learn_input();
            }
            Definition::Weight(_) => {
                let reader = readers[i].as_ref().map(|r| r.named(&names));
                let name = read_one(source, guesser.weight(reader.as_ref()))?;
                guesser.learn_weight(reader.as_ref(), &name);
                names[i] = name;
            }
            Definition::Node { .. } => {}
        }
    }
    Ok((graph_name, names))
}

fn write_one(sink: &mut Sink, name: &str, guess: Option<&str>) -> Result<()> {
    if guess == Some(name) {
        sink.byte(GUESSED);
        return Ok(());
    }
    if name.is_empty() || name.starts_with('\u{1}') {
        sink.byte(ESCAPE);
    }
    sink.string(name)
}

fn read_one(source: &mut Source<'_>, guess: Option<String>) -> Result<String> {
    match source.peek() {
        Some(GUESSED) => {
            source.byte()?;
            let guess = guess.ok_or_else(|| Error::corrupt("a name that cannot be guessed"))?;
            source.spend(guess.len())?;
            Ok(guess)
        }
        Some(ESCAPE) => {
            source.byte()?;
            source.string()
        }
        Some(_) | None => source.string(),
    }
}

/// The first node that reads a weight, and in which place.
#[derive(Clone, Debug)]
struct Reader {
    definition: usize,
    tag: u8,
    place: usize,
}

struct NamedReader<'a> {
    name: &'a str,
    tag: u8,
    place: usize,
}

impl Reader {
    fn named<'a>(&self, names: &'a [String]) -> NamedReader<'a> {
        NamedReader {
            name: &names[self.definition],
            tag: self.tag,
            place: self.place,
        }
    }
}

/// For each definition, the first node that reads its first value.
fn readers(definitions: &[Definition]) -> Vec<Option<Reader>> {
    let mut definition_of = Vec::new();
    let mut readers = vec![None; definitions.len()];
    for (i, definition) in definitions.iter().enumerate() {
        if let Definition::Node { action, inputs, .. } = definition {
            for (place, &value) in inputs.iter().enumerate() {
                let reader = Reader {
                    definition: i,
                    tag: action.tag(),
                    place,
                };
                let known: &mut Option<Reader> = &mut readers[definition_of[value]];
                known.get_or_insert(reader);
            }
        }
        definition_of.extend(vec![i; definition.n_values()]);
    }
    readers
}

#[derive(Debug, Default)]
struct Guesser {
    /// The last name, by operator.
    nodes: BTreeMap<u8, String>,
    /// The last ending, by operator and place.
    endings: BTreeMap<(u8, usize), String>,
    has_input: bool,
}

impl Guesser {
    fn node(&self, action: &Action) -> Option<String> {
        match self.nodes.get(&action.tag()) {
            None => Some(format!("{}1", action.name().to_lowercase())),
            Some(last) => next_name(last).filter(|name| name.len() <= MAX_NAME_BYTES),
        }
    }

    fn learn_node(&mut self, action: &Action, name: &str) {
        self.nodes.insert(action.tag(), name.to_owned());
    }

    fn input(&self) -> Option<String> {
        (!self.has_input).then(|| "x".to_owned())
    }

    fn learn_input(&mut self) {
        self.has_input = true;
    }

    fn weight(&self, reader: Option<&NamedReader<'_>>) -> Option<String> {
        let reader = reader?;
        let known = self
            .endings
            .get(&(reader.tag, reader.place))
            .map(String::as_str);
        let ending = known.or(match reader.place {
            0 | 1 => Some(".weight"),
            2 => Some(".bias"),
            3 => Some(".mean"),
            4 => Some(".var"),
            _ => None,
        });
        let name = format!("{}{}", reader.name, ending?);
        (name.len() <= MAX_NAME_BYTES).then_some(name)
    }

    fn learn_weight(&mut self, reader: Option<&NamedReader<'_>>, name: &str) {
        let Some(reader) = reader else { return };
        if let Some(ending) = name.strip_prefix(reader.name) {
            self.endings
                .insert((reader.tag, reader.place), ending.to_owned());
        }
    }
}

/// The name with its last number increased by one.
fn next_name(name: &str) -> Option<String> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    Some(count_on(&name[..end])? + &name[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_on() {
        for (name, next) in [
            ("dense1", Some("dense2")),
            ("block9.relu", Some("block10.relu")),
            ("a1b2c", Some("a1b3c")),
            ("head", None),
        ] {
            assert_eq!(next_name(name).as_deref(), next);
        }
    }
}
