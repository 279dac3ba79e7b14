//! How classes lie among each other, by distances.

use bantam_core::order::argsort;

use super::Sample;
use crate::random::{Stream, hash};

/// Nearest row of another class and nearest other row of the same class, with distances.
struct Near {
    enemy: usize,
    enemy_distance: f32,
    friend_distance: f32,
}

/// N1, N2, N3, N4, T1 and LSC.
pub(super) fn all(s: &Sample) -> [f64; 6] {
    let near: Vec<Near> = (0..s.n()).map(|r| near(s, r)).collect();
    [
        n1(s),
        n2(&near),
        n3(&near),
        n4(s),
        t1(s, &near),
        lsc(s, &near),
    ]
}

fn near(s: &Sample, row: usize) -> Near {
    let mut found = Near {
        enemy: row,
        enemy_distance: f32::INFINITY,
        friend_distance: f32::INFINITY,
    };
    for (other, &distance) in s.from(row).iter().enumerate() {
        if s.labels[other] != s.labels[row] {
            if distance < found.enemy_distance {
                (found.enemy, found.enemy_distance) = (other, distance);
            }
        } else if other != row {
            found.friend_distance = found.friend_distance.min(distance);
        }
    }
    found
}

/// Share of rows with an edge to another class in the minimum spanning tree (Prim).
fn n1(s: &Sample) -> f64 {
    let n = s.n();
    let mut border = vec![false; n];
    let mut best: Vec<(f32, usize)> = s.from(0).iter().map(|&d| (d, 0)).collect();
    let mut inside = vec![false; n];
    inside[0] = true;
    for _ in 1..n {
        let outside = (0..n).filter(|&r| !inside[r]);
        let next = outside.min_by(|&a, &b| best[a].0.total_cmp(&best[b].0).then(a.cmp(&b)));
        let next = next.expect("a row is outside");
        inside[next] = true;
        let to = best[next].1;
        if s.labels[next] != s.labels[to] {
            border[next] = true;
            border[to] = true;
        }
        for (best, &d) in best.iter_mut().zip(s.from(next)) {
            if d < best.0 {
                *best = (d, next);
            }
        }
    }
    border.iter().filter(|b| **b).count() as f64 / n as f64
}

fn n2(near: &[Near]) -> f64 {
    let sum = |of: fn(&Near) -> f32| -> f64 {
        near.iter()
            .map(of)
            .filter(|d| d.is_finite())
            .map(f64::from)
            .sum()
    };
    let (inside, between) = (sum(|n| n.friend_distance), sum(|n| n.enemy_distance));
    if inside + between > 0.0 {
        inside / (inside + between)
    } else {
        0.5
    }
}

fn n3(near: &[Near]) -> f64 {
    let wrong = near
        .iter()
        .filter(|n| n.enemy_distance <= n.friend_distance);
    // A tie counts half.
    let weight = |n: &Near| {
        if n.enemy_distance < n.friend_distance {
            1.0
        } else {
            0.5
        }
    };
    wrong.map(weight).fold(0.0, |sum, w| sum + w) / near.len() as f64
}

fn n4(s: &Sample) -> f64 {
    let mut stream = Stream::new(hash(s.seed, 40), 0);
    let (mut wrong, mut all) = (0, 0);
    for rows in &s.classes {
        for _ in 0..rows.len() {
            let pick = |stream: &mut Stream| rows[stream.below(rows.len())] as usize;
            let (a, b) = (pick(&mut stream), pick(&mut stream));
            let share = stream.below(1 << 20) as f32 / (1 << 20) as f32;
            let (xa, xb) = (s.features.row(a), s.features.row(b));
            let point: Vec<f32> = xa
                .iter()
                .zip(xb)
                .map(|(a, b)| b + share * (a - b))
                .collect();
            let distance = |r: usize| -> f32 {
                s.features
                    .row(r)
                    .iter()
                    .zip(&point)
                    .map(|(x, p)| (x - p) * (x - p))
                    .sum()
            };
            let mut nearest = (f32::INFINITY, a);
            for r in 0..s.n() {
                let d = distance(r);
                if d < nearest.0 {
                    nearest = (d, r);
                }
            }
            wrong += usize::from(s.labels[nearest.1] != s.labels[a]);
            all += 1;
        }
    }
    f64::from(wrong as u32) / f64::from(all)
}

/// Spheres around rows that reach half way to the other classes, the largest first, until all rows are
/// inside one.
fn t1(s: &Sample, near: &[Near]) -> f64 {
    let n = s.n();
    let mut radius: Vec<Option<f32>> = vec![None; n];
    for row in 0..n {
        let mut chain = vec![row];
        while radius[chain[chain.len() - 1]].is_none() {
            let last = chain[chain.len() - 1];
            let enemy = near[last].enemy;
            // Two that are nearest to each other share the way; so do rows of a ring of equal distances.
            if near[enemy].enemy == last || chain.contains(&enemy) {
                radius[last] = Some(near[last].enemy_distance / 2.0);
            } else {
                chain.push(enemy);
            }
        }
        for at in (0..chain.len() - 1).rev() {
            let reach = radius[chain[at + 1]].expect("set before");
            radius[chain[at]] = Some((near[chain[at]].enemy_distance - reach).max(0.0));
        }
    }
    let radius: Vec<f32> = radius.into_iter().map(|r| r.expect("set above")).collect();
    let order = argsort(n, |a, b| radius[b].total_cmp(&radius[a]));
    let mut covered = vec![false; n];
    let mut spheres = 0;
    for row in order {
        if !covered[row] {
            spheres += 1;
            let inside = covered.iter_mut().zip(s.from(row));
            inside.for_each(|(covered, d)| *covered |= *d < radius[row]);
            covered[row] = true;
        }
    }
    spheres as f64 / n as f64
}

fn lsc(s: &Sample, near: &[Near]) -> f64 {
    let n = s.n();
    let inside = |row: usize| {
        let limit = near[row].enemy_distance;
        s.from(row).iter().filter(|d| **d < limit).count()
    };
    1.0 - (0..n).map(inside).sum::<usize>() as f64 / (n * n) as f64
}
