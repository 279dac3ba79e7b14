//! Which of its kernels a layer gets: each candidate is timed on this machine, on the shapes of the
//! layer, and the fastest is taken. Results do not depend on it, not by a bit.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bantam_kernels::Aligned;
use bantam_kernels::last::{ByteConvLayer, Clamp, Results, Scale, Tile};

use crate::Plan;
use crate::convolution::Convolution;
use crate::layer::Layer;
use crate::plan::Work;

/// A kernel that was timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The tile of sums it holds in registers: pixels, vectors.
    pub tile: [usize; 2],
    /// Least time of a call, in nanoseconds.
    pub nanoseconds: u64,
}

/// The kernel chosen for layers of one geometry, and what it was chosen from.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Kernels in the order in which they were expected to be fast.
    pub candidates: Vec<Candidate>,
    /// The fastest of them.
    pub chosen: usize,
}

/// Choices by geometry of a layer, for one machine and number of threads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices(pub BTreeMap<String, Choice>);

/// Time that is spent on a candidate.
const TIME: Duration = Duration::from_millis(3);

impl Plan {
    /// Gives each layer the fastest of its kernels. Those that `choices` does not know are timed, on the
    /// current pool of threads, and added to it; `measure` says whether to time at all. Returns the
    /// geometry of each step that has a choice, by [`Plan::steps`].
    pub fn tune(&mut self, choices: &mut Choices, measure: bool) -> Vec<Option<String>> {
        if let Some(slices) = &mut self.slices {
            return Arc::make_mut(&mut slices.plan).tune(choices, measure);
        }
        let mut tune = |work: &mut Work| {
            let Work::Layer(layer) = work else {
                return None;
            };
            let tiled = Tiled::of(layer)?;
            let geometry = tiled.geometry();
            if measure && !choices.0.contains_key(&geometry) {
                choices.0.insert(geometry.clone(), tiled.choose());
            }
            let choice = choices.0.get(&geometry)?;
            let [pixels, vectors] = choice.candidates.get(choice.chosen)?.tile;
            let tile = Tile { pixels, vectors };
            // What was read from a file may be of another version.
            if tile != tiled.tile() && tiled.candidates().contains(&tile) {
                match layer {
                    Layer::Conv { layer, .. } => **layer = layer.with_tile(tile),
                    Layer::ByteConv { layer, .. } => **layer = layer.with_tile(tile),
                    _ => unreachable!("these layers have tiles"),
                }
            }
            Some(geometry)
        };
        self.steps.iter_mut().map(|s| tune(&mut s.work)).collect()
    }
}

/// A layer that has kernels to choose from.
enum Tiled<'a> {
    Floats(&'a Convolution),
    Bytes(&'a ByteConvLayer, Option<Scale>),
}

impl<'a> Tiled<'a> {
    fn of(layer: &'a Layer) -> Option<Tiled<'a>> {
        match layer {
            Layer::Conv { layer, .. } => Some(Tiled::Floats(layer)),
            Layer::ByteConv { layer, to, .. } => Some(Tiled::Bytes(layer, *to)),
            _ => None,
        }
    }

    fn geometry(&self) -> String {
        match self {
            Tiled::Floats(layer) => layer.geometry(),
            Tiled::Bytes(layer, to) => {
                let to = if to.is_some() { "bytes" } else { "floats" };
                format!("{}, {to}", layer.geometry())
            }
        }
    }

    fn tile(&self) -> Tile {
        match self {
            Tiled::Floats(layer) => layer.tile(),
            Tiled::Bytes(layer, _) => layer.tile(),
        }
    }

    fn candidates(&self) -> Vec<Tile> {
        match self {
            Tiled::Floats(layer) => layer.candidates(),
            Tiled::Bytes(layer, _) => layer.candidates(),
        }
    }

    fn choose(&self) -> Choice {
        let tiles = self.candidates();
        match self {
            Tiled::Floats(layer) => {
                let (x, y) = layer.images();
                let (x, mut y) = (Aligned::zeros(x.len()), Aligned::zeros(y.len()));
                let layers: Vec<_> = tiles.iter().map(|&t| layer.with_tile(t)).collect();
                let run = |i: usize| layers[i].run(black_box(&x), None, Clamp::NONE, &mut y);
                fastest(&tiles, run)
            }
            Tiled::Bytes(layer, to) => {
                let (x, y) = layer.images();
                let x = Aligned::<u8>::zeros(x.len() + ByteConvLayer::SLACK);
                let (mut floats, mut bytes) = (Aligned::zeros(0), Aligned::zeros(0));
                match to {
                    Some(_) => bytes = Aligned::zeros(y.len()),
                    None => floats = Aligned::zeros(y.len()),
                }
                let layers: Vec<_> = tiles.iter().map(|&t| layer.with_tile(t)).collect();
                fastest(&tiles, |i| {
                    let y = match to {
                        Some(scale) => Results::Bytes(&mut bytes, *scale),
                        None => Results::Floats(&mut floats),
                    };
                    layers[i].run(black_box(&x), None, Clamp::NONE, y);
                })
            }
        }
    }
}

/// Times kernel after kernel, in turn, so that a busy moment does not fall on one of them.
fn fastest(tiles: &[Tile], mut run: impl FnMut(usize)) -> Choice {
    let mut least = vec![u64::MAX; tiles.len()];
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 2 || start.elapsed() < TIME * tiles.len() as u32 {
        for (i, least) in least.iter_mut().enumerate() {
            let start = Instant::now();
            run(i);
            *least = (*least).min(start.elapsed().as_nanos() as u64);
        }
        rounds += 1;
    }
    let candidates = tiles.iter().zip(&least).map(|(t, &nanoseconds)| Candidate {
        tile: [t.pixels, t.vectors],
        nanoseconds,
    });
    let fastest = (0..least.len()).min_by_key(|&i| least[i]);
    Choice {
        candidates: candidates.collect(),
        chosen: fastest.expect("a layer has a kernel"),
    }
}
