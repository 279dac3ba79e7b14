//! Fresh weights for a network.

use bantam_core::{DType, Graph, Tensor};
use bantam_data::Rng;

use crate::Result;

/// `graph` with its matrices and filters drawn at random; everything else is as it was.
///
/// Weights come from `N(0, 1 / (3 inputs))`, the variance of PyTorch's default. It is a sixth of what
/// He et al. 2015 advise before a rectifier: with small first weights the trained magnitude tells more
/// of a weight's use, and magnitude pruning goes further (own measurement, see `docs/results.md`).
/// The numbers depend on the seed and on the order of the weights alone.
pub fn fresh(graph: &Graph, seed: u64) -> Result<Graph> {
    let mut rng = Rng::new(seed, 0x1417);
    let drawn = graph.map_weights(|_, p| {
        let shape = p.weight.shape();
        if !p.trainable || p.weight.dtype() != DType::F32 || shape.len() < 2 {
            return Ok(None);
        }
        let inputs: usize = shape[1..].iter().product();
        let deviation = (1.0 / (3.0 * inputs as f64)).sqrt();
        let draw = |_| (rng.normal() * deviation) as f32;
        let values: Vec<f32> = (0..p.weight.len()).map(draw).collect();
        Ok(Some(Tensor::new(shape, values)?.into()))
    });
    Ok(drawn?)
}

#[cfg(test)]
mod tests {
    use bantam_core::arch;

    use super::*;

    #[test]
    fn matrices_are_drawn_and_the_rest_is_left_alone() {
        let empty = arch::lenet_5_caffe(&[1, 28, 28], 10).unwrap();
        let graph = fresh(&empty, 1).unwrap();
        for (before, after) in empty.parameters().iter().zip(graph.parameters()) {
            let name = graph.value_name(after.value);
            let tensor = after.weight.tensor();
            let values = tensor.values::<f32>().unwrap();
            if tensor.shape().len() == 1 {
                assert_eq!(before, after, "{name}");
                continue;
            }
            let inputs: usize = tensor.shape()[1..].iter().product();
            let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
            let variance = squares / values.len() as f64;
            // 500 draws are the fewest: their variance is within 20 % at three deviations.
            let expected = 1.0 / (3.0 * inputs as f64);
            assert!(
                (variance / expected - 1.0).abs() < 0.2,
                "{name}: {variance}"
            );
        }
        assert_eq!(graph, fresh(&empty, 1).unwrap());
        assert_ne!(graph, fresh(&empty, 2).unwrap());
    }
}
