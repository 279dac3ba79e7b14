//! Which of its kernels a layer gets: each candidate is timed on this machine, on the shapes of the
//! layer, and the fastest is taken. Results do not depend on it, not by a bit.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bantam_kernels::Aligned;
use bantam_kernels::last::{Clamp, ConvLayer, Tile};

use crate::Plan;
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
            let Work::Layer(Layer::Conv { layer, .. }) = work else {
                return None;
            };
            let geometry = layer.geometry();
            if measure && !choices.0.contains_key(&geometry) {
                choices.0.insert(geometry.clone(), choose(layer));
            }
            let choice = choices.0.get(&geometry)?;
            let [pixels, vectors] = choice.candidates.get(choice.chosen)?.tile;
            let tile = Tile { pixels, vectors };
            // What was read from a file may be of another version.
            if tile != layer.tile() && layer.candidates().contains(&tile) {
                **layer = layer.with_tile(tile);
            }
            Some(geometry)
        };
        self.steps.iter_mut().map(|s| tune(&mut s.work)).collect()
    }
}

fn choose(layer: &ConvLayer) -> Choice {
    let (x, y) = layer.images();
    let (x, mut y) = (
        Aligned::<f32>::zeros(x.len()),
        Aligned::<f32>::zeros(y.len()),
    );
    let layers: Vec<ConvLayer> = layer
        .candidates()
        .into_iter()
        .map(|tile| layer.with_tile(tile))
        .collect();
    let mut least = vec![u64::MAX; layers.len()];
    let (start, mut rounds) = (Instant::now(), 0);
    // In turn, so that a busy moment does not fall on one of them.
    while rounds < 2 || start.elapsed() < TIME * layers.len() as u32 {
        for (layer, least) in layers.iter().zip(&mut least) {
            let start = Instant::now();
            layer.run(black_box(&x), None, Clamp::NONE, &mut y);
            *least = (*least).min(start.elapsed().as_nanos() as u64);
        }
        rounds += 1;
    }
    let candidates = layers
        .iter()
        .zip(&least)
        .map(|(layer, &nanoseconds)| Candidate {
            tile: [layer.tile().pixels, layer.tile().vectors],
            nanoseconds,
        });
    let fastest = (0..least.len()).min_by_key(|&i| least[i]);
    Choice {
        candidates: candidates.collect(),
        chosen: fastest.expect("a layer has a kernel"),
    }
}
