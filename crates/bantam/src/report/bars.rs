//! Bars and intervals: what is not a line. Stacked and plain bars are styled boxes, so that their
//! texts keep their size on a narrow page; intervals and histograms are inline SVG.

use super::plot::caption;
use super::scale::{Scale, Unit, drawable};
use super::text::{cut, escape};

/// A bar whose length is a share of the space there is.
pub(super) fn bar(share: f64, look: &str) -> String {
    let width = if share.is_finite() {
        100.0 * share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    format!("<span class=\"bar\"><span class=\"{look}\" style=\"width:{width:.2}%\"></span></span>")
}

/// Parts of a whole in one bar; `parts` are sizes, with what is said when they are pointed at. Looks
/// count from 1 and repeat after 8.
pub(super) fn stack(parts: &[(u64, String)], label: &str) -> String {
    let sum: f64 = parts.iter().map(|p| p.0 as f64).sum();
    let mut out = format!(
        "<div class=\"stack\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    for (i, (size, says)) in parts.iter().enumerate() {
        let width = if sum > 0.0 {
            100.0 * *size as f64 / sum
        } else {
            0.0
        };
        out += &format!(
            "<span class=\"p{}\" style=\"width:{width:.3}%\" title=\"{}\"></span>",
            i % 8 + 1,
            escape(says),
        );
    }
    out + "</div>"
}

/// A figure of rows, each with an interval, a point, or both, on one axis.
pub(super) struct Intervals {
    /// Unique within the page.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What to see in it.
    pub note: String,
    /// Name of the axis.
    pub axis: String,
    /// Whether equal distances are equal factors.
    pub log: bool,
    /// The value of no effect.
    pub zero: Option<f64>,
    /// The rows.
    pub rows: Vec<IntervalRow>,
}

/// A row of [`Intervals`].
pub(super) struct IntervalRow {
    /// Name.
    pub label: String,
    /// Ends of the interval.
    pub interval: Option<(f64, f64)>,
    /// The point.
    pub point: Option<f64>,
    /// What is said when it is pointed at.
    pub says: String,
}

const WIDTH: f64 = 440.0;
const SIDE: f64 = 14.0;
const ROW: f64 = 42.0;

/// The intervals as a `figure`.
pub(super) fn intervals(figure: &Intervals) -> String {
    let ends = figure.rows.iter().filter_map(|r| r.interval);
    let values = ends
        .flat_map(|(a, b)| [a, b])
        .chain(figure.rows.iter().filter_map(|r| r.point))
        .chain(figure.zero);
    let scale = Scale::new(
        values,
        Unit::Plain,
        figure.log,
        (SIDE + 8.0, WIDTH - SIDE - 8.0),
        6,
    );
    let bottom = 10.0 + ROW * figure.rows.len() as f64;
    let mut body = String::new();
    for (value, label) in scale.ticks() {
        let at = scale.at(value);
        body += &format!(
            "<path class=\"grid\" d=\"M{at:.1} 8V{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 17.0,
        );
    }
    if let Some(value) = figure.zero {
        let at = scale.at(value);
        body += &format!("<path class=\"rule\" d=\"M{at:.1} 4V{bottom}\"/>");
    }
    for (i, row) in figure.rows.iter().enumerate() {
        body += &interval_row(row, 10.0 + ROW * i as f64, &scale, figure.log);
    }
    let id = &figure.id;
    let says: Vec<_> = figure.rows.iter().map(|r| r.says.as_str()).collect();
    format!(
        "<figure class=\"plot\"><h3>{title}</h3><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title>\
         <desc id=\"{id}-d\">{desc}</desc>{body}\
         <text class=\"name\" x=\"{right}\" y=\"{name}\" text-anchor=\"end\">{axis}</text></svg>{note}</figure>",
        title = escape(&figure.title),
        height = bottom + 42.0,
        desc = escape(&says.join("; ")),
        right = WIDTH - SIDE,
        name = bottom + 36.0,
        axis = escape(&figure.axis),
        note = caption(&figure.note),
    )
}

fn interval_row(row: &IntervalRow, top: f64, scale: &Scale, log: bool) -> String {
    let middle = top + 26.0;
    let mut out = format!(
        "<g class=\"s1\"><title>{}</title><text class=\"over\" x=\"{SIDE}\" y=\"{:.1}\">{}</text>",
        escape(&row.says),
        top + 12.0,
        escape(&row.label),
    );
    if let Some((low, high)) = row
        .interval
        .filter(|i| drawable(i.0, log) && drawable(i.1, log))
    {
        let (a, b) = (scale.at(low.min(high)), scale.at(high.max(low)));
        out += &format!(
            "<rect class=\"span\" x=\"{a:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" rx=\"2\"/>",
            middle - 6.0,
            (b - a).max(2.0),
        );
    }
    if let Some(point) = row.point.filter(|p| drawable(*p, log)) {
        let at = scale.at(point);
        out += &format!("<circle class=\"dot\" cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"5\"/>");
    }
    out + "</g>"
}

/// A histogram before and after, one above the other on the same axis.
pub(super) struct Pair<'a> {
    /// Unique within the page.
    pub id: String,
    /// Name.
    pub name: &'a str,
    /// Edges of the bins.
    pub range: (f64, f64),
    /// Counts before.
    pub before: &'a [u64],
    /// Counts after.
    pub after: &'a [u64],
    /// Texts over the two halves.
    pub says: [String; 2],
}

/// The pair as a `figure`.
pub(super) fn histograms(pair: &Pair) -> String {
    let (width, side) = (300.0, 12.0);
    let (low, high) = pair.range;
    let usable = drawable(low, false) && drawable(high, false) && low < high;
    let mut body = half(
        pair.before,
        "h0",
        18.0,
        72.0,
        (side, width - side),
        &pair.says[0],
    );
    body += &half(
        pair.after,
        "h1",
        96.0,
        150.0,
        (side, width - side),
        &pair.says[1],
    );
    if usable {
        let inner = Scale::new([low, high].into_iter(), Unit::Plain, false, (0.0, 1.0), 5);
        for (value, label) in inner.ticks() {
            let share = (value - low) / (high - low);
            if (-1e-6..=1.0 + 1e-6).contains(&share) {
                let at = side + share * (width - 2.0 * side);
                body += &format!(
                    "<path class=\"tick\" d=\"M{at:.1} 150v4\"/>\
                     <text x=\"{at:.1}\" y=\"167\" text-anchor=\"middle\">{label}</text>"
                );
            }
        }
    }
    let id = &pair.id;
    format!(
        "<figure class=\"small\"><h3>{}</h3><svg viewBox=\"0 0 {width} 172\" role=\"img\" \
         aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}; {}</desc>\
         {body}</svg></figure>",
        super::text::name(&cut(pair.name, 60)),
        escape(pair.name),
        escape(&pair.says[0]),
        escape(&pair.says[1]),
    )
}

/// One histogram between two heights, with its text over it.
fn half(counts: &[u64], look: &str, top: f64, bottom: f64, x: (f64, f64), says: &str) -> String {
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    let step = (x.1 - x.0) / counts.len().max(1) as f64;
    let mut path = String::new();
    for (i, &n) in counts.iter().enumerate().filter(|c| *c.1 > 0) {
        let height = ((bottom - top) * n as f64 / most).max(0.7);
        let left = x.0 + step * i as f64;
        path += &format!(
            "M{left:.2} {bottom}v-{height:.1}h{:.2}v{height:.1}z",
            step * 0.92
        );
    }
    let text = if most == 0.0 {
        format!("{says} (no values)")
    } else {
        says.to_owned()
    };
    format!(
        "<text class=\"over\" x=\"{}\" y=\"{:.1}\">{}</text><path class=\"{look}\" d=\"{path}\"/>\
         <path class=\"axis\" d=\"M{} {bottom}H{}\"/>",
        x.0,
        top - 5.0,
        escape(&text),
        x.0,
        x.1,
    )
}
