//! Everything that can be said of a problem before training, in one call.

use crate::difficulty::{Difficulty, difficulty};
use crate::dimension::{Dimensions, dimensions};
use crate::expected::{Expected, expected};
use crate::figure::{Figure, Origin};
use crate::headline::{Headline, headline};
use crate::method::{Draws, Method};
use crate::neighbour::{LeaveOneOut, Neighbours};
use crate::prequential::Prequential;
use crate::problem::Problem;
use crate::progression::{Progression, Verdict, progression};
use crate::projection::{ProjectionSort, Projections};
use crate::random::sample;
use crate::ranking::{Ranked, ranking};
use crate::threshold::Sorted;
use crate::tree::Trunk;
use crate::{Measurement, Options, Result, measure};

/// Most rows of the neighbours, whose cost grows with their square.
const MOST_NEIGHBOURS: usize = 1_500;
/// Most rows of description lengths, null and interval included.
const MOST_CODED: usize = 2_000;
/// Multiply-adds of the projections' moments, which bound their rows.
const PROJECTION_WORK: usize = 400_000_000;

/// What a study says beside the [`Measurement`].
#[derive(Clone, Debug)]
pub struct Study {
    /// The measurement that a first network is sized by.
    pub measurement: Measurement,
    /// The least normalised capacity; None when there is nothing to tell apart.
    pub headline: Option<Headline>,
    /// Every capacity method, with null and interval.
    pub figures: Vec<Figure>,
    /// The cross-fitted sort in detail.
    pub projection: ProjectionSort,
    /// Rows that the cross-fitted sort used.
    pub projection_rows: usize,
    /// Nearest neighbours on rows not seen.
    pub leave_one_out: Option<LeaveOneOut>,
    /// How capacity grows with the rows.
    pub progression: Progression,
    /// What the progression says.
    pub verdict: Verdict,
    /// Accuracy on rows not seen.
    pub expected: Option<Expected>,
    /// Columns by what they say.
    pub ranking: Vec<Ranked>,
    /// Rows that the ranking used.
    pub ranking_rows: usize,
    /// Intrinsic dimension.
    pub dimensions: Dimensions,
    /// Measures of difficulty.
    pub difficulty: Vec<Difficulty>,
    /// Rows that the measures of difficulty used.
    pub difficulty_rows: usize,
}

/// The capacity methods, with rows that keep a problem of so many columns and features affordable.
pub(crate) fn methods(problem: &Problem, options: &Options) -> Vec<Method> {
    let d = problem.columns.len().max(1);
    let features = width(problem).max(8);
    let tree_rows = options.max_rows.min((options.max_null_cells / d).max(200));
    let method = |name, unit, origin, max_rows, prepare| Method {
        name,
        unit,
        origin,
        max_rows,
        orders: 1,
        prepare,
    };
    vec![
        method(
            "threshold sort",
            "decisions",
            Origin::Ours,
            tree_rows,
            |p| Box::new(Sorted::new(p)),
        ),
        method(
            "cross-fitted projection sort",
            "decisions",
            Origin::Ours,
            (PROJECTION_WORK / (features * features)).clamp(500, tree_rows.max(500)),
            |p| Box::new(Projections::new(p)),
        ),
        method("decision tree", "decisions", Origin::Ours, tree_rows, |p| {
            Box::new(Trunk::new(p, usize::MAX))
        }),
        method(
            "nearest neighbours",
            "bits",
            Origin::Published,
            MOST_NEIGHBOURS,
            |p| Box::new(Neighbours::new(p)),
        ),
        Method {
            orders: 3,
            ..method(
                "prequential code",
                "bits",
                Origin::Published,
                MOST_CODED,
                |p| Box::new(Prequential::new(p)),
            )
        },
    ]
}

/// About how many features the columns become.
fn width(problem: &Problem) -> usize {
    let of = |c: &bantam_data::Column| match &c.values {
        bantam_data::Values::Numeric(_) => 1,
        bantam_data::Values::Categorical { levels, .. } if levels.len() > 64 => 1,
        bantam_data::Values::Categorical { levels, .. } => levels.len(),
    };
    problem
        .columns
        .iter()
        .map(of)
        .sum::<usize>()
        .min(crate::features::MOST)
}

/// Studies a problem with every estimator.
///
/// Errs as [`measure`] does.
pub fn study(problem: &Problem, options: &Options) -> Result<Study> {
    let measurement = measure(problem, options)?;
    let draws = Draws {
        permutations: options.permutations,
        subsets: options.subsets,
        seed: options.seed,
    };
    let methods = methods(problem, options);
    let (figures, headline) = headline(&methods, problem, draws);
    let rows_of = |name: &str| {
        let method = methods.iter().find(|m| m.name == name);
        sample(
            problem.rows(),
            method.map_or(0, |m| m.max_rows),
            options.seed,
        )
    };
    let rows = rows_of("cross-fitted projection sort");
    let projected = problem.bare(&rows);
    let projection = Projections::new(&projected).sort(&projected.labels);
    let near_rows = rows_of("nearest neighbours");
    let near = problem.bare(&near_rows);
    let neighbours = Neighbours::new(&near);
    let max_rows = methods[2].max_rows;
    let null = measurement.tree.permuted.as_ref();
    let progression = progression(problem, max_rows, null, draws);
    let (ranking, ranking_rows) = ranking(problem, options.seed);
    let (difficulty, difficulty_rows) = difficulty(problem, options.seed);
    Ok(Study {
        verdict: progression.verdict(headline.as_ref()),
        measurement,
        headline,
        figures,
        projection,
        projection_rows: rows.len(),
        leave_one_out: neighbours.leave_one_out(&near.labels),
        dimensions: dimensions(&neighbours, near.rows(), options.seed),
        progression,
        expected: expected(problem, options.seed),
        ranking,
        ranking_rows,
        difficulty,
        difficulty_rows,
    })
}
