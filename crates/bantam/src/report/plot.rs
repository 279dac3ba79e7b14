//! A line plot as inline SVG inside a `figure`, with its legend and a description for those who cannot
//! see it.
//!
//! Series differ by colour, dash and marker at once, so that colour is never needed. Colours come from
//! the style sheet; the plot follows light, dark and print.

use super::scale::{Scale, Unit, drawable};
use super::text::escape;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// Above this many points a line has no markers.
const MOST_MARKERS: usize = 40;

/// A plot before it is drawn.
pub(super) struct Plot {
    /// Unique within the page.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What to see in it; may be empty.
    pub note: String,
    /// Along the bottom.
    pub x: Axis,
    /// Up the side.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Bands behind the lines.
    pub bands: Vec<Band>,
    /// A level across the plot, with its label.
    pub level: Option<(f64, String)>,
    /// A place along the bottom worth a line, with its label.
    pub place: Option<(f64, String)>,
}

/// An interval at each of several places, drawn as an area.
pub(super) struct Band {
    /// Which of the looks it has, from 1.
    pub look: usize,
    /// Places along the bottom, and the ends of the interval there.
    pub points: Vec<(f64, f64, f64)>,
}

/// An axis before its scale is known.
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// How its numbers are written.
    pub unit: Unit,
    /// Whether equal distances are equal factors.
    pub log: bool,
    /// Values it must hold besides those of the series.
    pub holds: Vec<f64>,
}

impl Axis {
    /// A linear axis.
    pub fn new(label: impl Into<String>, unit: Unit) -> Axis {
        Axis {
            label: label.into(),
            unit,
            log: false,
            holds: Vec::new(),
        }
    }
}

/// A line, or points without one.
pub(super) struct Series {
    /// Name in the legend.
    pub name: String,
    /// Which of the looks it has, from 1.
    pub look: usize,
    /// Whether its points are joined.
    pub joined: bool,
    /// Its points.
    pub points: Vec<Point>,
}

/// A point and what is said when it is pointed at.
pub(super) struct Point {
    /// Value along the bottom.
    pub x: f64,
    /// Value up the side.
    pub y: f64,
    /// Text, not escaped.
    pub says: String,
}

/// The plot as a `figure`.
pub(super) fn draw(plot: &Plot) -> String {
    let (x, y) = scales(plot);
    let mut body = grid(plot, &x, &y);
    for band in &plot.bands {
        body += &area(band, plot, &x, &y);
    }
    for series in &plot.series {
        body += &line(series, plot, &x, &y);
    }
    body += &rules(plot, &x, &y);
    if drawn(plot).count() == 0 {
        let (at, up) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        body += &format!(
            "<text class=\"soft\" x=\"{at}\" y=\"{up}\" text-anchor=\"middle\">no values</text>"
        );
    }
    let id = &plot.id;
    format!(
        "<figure class=\"plot\"><h3>{title}</h3>{legend}\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{desc}</desc>{body}</svg>{note}</figure>",
        title = escape(&plot.title),
        legend = legend(plot),
        desc = escape(&describe(plot)),
        note = caption(&plot.note),
    )
}

/// A caption, escaped, where there is one.
pub(super) fn caption(note: &str) -> String {
    if note.is_empty() {
        return String::new();
    }
    format!("<figcaption>{}</figcaption>", escape(note))
}

fn drawn(plot: &Plot) -> impl Iterator<Item = &Point> {
    let points = plot.series.iter().flat_map(|s| &s.points);
    points.filter(|p| drawable(p.x, plot.x.log) && drawable(p.y, plot.y.log))
}

fn scales(plot: &Plot) -> (Scale, Scale) {
    let place = plot.place.iter().map(|p| p.0);
    let level = plot.level.iter().map(|l| l.0);
    let xs = drawn(plot)
        .map(|p| p.x)
        .chain(place)
        .chain(plot.x.holds.iter().copied());
    let ends = plot.bands.iter().flat_map(|b| &b.points);
    let ys = drawn(plot)
        .map(|p| p.y)
        .chain(ends.flat_map(|p| [p.1, p.2]))
        .chain(level)
        .chain(plot.y.holds.iter().copied());
    let x = Scale::new(xs, plot.x.unit, plot.x.log, (LEFT, WIDTH - RIGHT), 6);
    let y = Scale::new(ys, plot.y.unit, plot.y.log, (HEIGHT - BOTTOM, TOP), 5);
    (x, y)
}

/// Grid lines, tick labels and the names of the axes.
fn grid(plot: &Plot, x: &Scale, y: &Scale) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut out = String::new();
    for (value, label) in y.ticks() {
        let at = y.at(value);
        out += &format!(
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 7.0,
            at + 4.0,
        );
    }
    for (value, label) in x.ticks() {
        let at = x.at(value);
        out += &format!(
            "<path class=\"tick\" d=\"M{at:.1} {bottom}v4\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 17.0,
        );
    }
    out + &format!(
        "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>\
         <text class=\"name\" x=\"4\" y=\"13\">{}</text>\
         <text class=\"name\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        escape(&plot.y.label),
        HEIGHT - 8.0,
        escape(&plot.x.label),
    )
}

/// The area between the lower and the upper ends; ends that cannot be drawn go to the axis.
fn area(band: &Band, plot: &Plot, x: &Scale, y: &Scale) -> String {
    let place = |p: &&(f64, f64, f64)| drawable(p.0, plot.x.log);
    let corner = |at: f64, up: f64| {
        let up = if drawable(up, plot.y.log) {
            y.at(up)
        } else {
            HEIGHT - BOTTOM
        };
        format!("{:.1} {up:.1}", x.at(at))
    };
    let upper = band.points.iter().filter(place).map(|p| corner(p.0, p.2));
    let lower = band
        .points
        .iter()
        .filter(place)
        .rev()
        .map(|p| corner(p.0, p.1));
    let corners: Vec<String> = upper.chain(lower).collect();
    if corners.len() < 4 {
        return String::new();
    }
    format!(
        "<g class=\"{}\"><path class=\"area\" d=\"M{}z\"/></g>",
        look(band.look),
        corners.join("L")
    )
}

fn line(series: &Series, plot: &Plot, x: &Scale, y: &Scale) -> String {
    let look = look(series.look);
    let mut path = String::new();
    let mut markers = String::new();
    let mut pen = 'M';
    let many = series.points.len() > MOST_MARKERS;
    for point in &series.points {
        if !drawable(point.x, plot.x.log) || !drawable(point.y, plot.y.log) {
            pen = 'M';
            continue;
        }
        let (at, up) = (x.at(point.x), y.at(point.y));
        path += &format!("{pen}{at:.1} {up:.1}");
        pen = 'L';
        markers += &format!(
            "<path class=\"{}\" d=\"{}\"><title>{}</title></path>",
            if many { "aim" } else { "dot" },
            marker(series.look, at, up, if series.joined { 3.2 } else { 6.0 }),
            escape(&point.says),
        );
    }
    let path = if series.joined && !path.is_empty() {
        format!("<path class=\"line\" d=\"{path}\"/>")
    } else {
        String::new()
    };
    format!("<g class=\"{look}\">{path}{markers}</g>")
}

/// The level, and the place with its label; the level's is in the legend, where it hides no line.
fn rules(plot: &Plot, x: &Scale, y: &Scale) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut out = String::new();
    if let Some((value, _)) = plot.level.as_ref().filter(|l| drawable(l.0, plot.y.log)) {
        out += &format!(
            "<path class=\"rule\" d=\"M{LEFT} {:.1}H{right}\"/>",
            y.at(*value)
        );
    }
    if let Some((value, label)) = plot.place.as_ref().filter(|p| drawable(p.0, plot.x.log)) {
        let at = x.at(*value);
        let (anchor, text) = if at > (LEFT + right) / 2.0 {
            ("end", at - 6.0)
        } else {
            ("start", at + 6.0)
        };
        out += &format!(
            "<path class=\"rule\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
             <text class=\"note\" x=\"{text:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            bottom - 8.0,
            escape(label),
        );
    }
    out
}

fn look(number: usize) -> &'static str {
    ["s1", "s2", "s3"][number.clamp(1, 3) - 1]
}

/// Circle, square or diamond around a place.
fn marker(look: usize, x: f64, y: f64, r: f64) -> String {
    match look {
        1 => format!(
            "M{:.1} {y:.1}a{r} {r} 0 1 0 {} 0a{r} {r} 0 1 0 -{} 0z",
            x - r,
            2.0 * r,
            2.0 * r
        ),
        2 => format!(
            "M{:.1} {:.1}h{}v{}h-{}z",
            x - r,
            y - r,
            2.0 * r,
            2.0 * r,
            2.0 * r
        ),
        _ => format!("M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z", y - r),
    }
}

fn legend(plot: &Plot) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for series in &plot.series {
        let line = if series.joined {
            "<path class=\"line\" d=\"M1 6H27\"/>"
        } else {
            ""
        };
        out += &format!(
            "<li><svg class=\"key\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><g class=\"{}\">{line}\
             <path class=\"dot\" d=\"{}\"/></g></svg>{}</li>",
            look(series.look),
            marker(
                series.look,
                14.0,
                6.0,
                if series.joined { 3.2 } else { 5.0 }
            ),
            escape(&series.name),
        );
    }
    if let Some((_, label)) = plot.level.as_ref().filter(|l| drawable(l.0, plot.y.log)) {
        out += &format!(
            "<li><svg class=\"key\" viewBox=\"0 0 28 12\" aria-hidden=\"true\">\
             <path class=\"rule\" d=\"M1 6H27\"/></svg>{}</li>",
            escape(label),
        );
    }
    out + "</ul>"
}

/// The plot in words: each series by its first and last point.
fn describe(plot: &Plot) -> String {
    let mut out = format!("{} against {}.", plot.y.label, plot.x.label);
    for series in &plot.series {
        out += &match series.points.as_slice() {
            [] => format!(" {}: no values.", series.name),
            [only] => format!(" {}: {}.", series.name, only.says),
            [first, .., last] => {
                let n = series.points.len();
                format!(
                    " {}: {n} points, first {}; last {}.",
                    series.name, first.says, last.says
                )
            }
        };
    }
    for (_, label) in plot.level.iter().chain(&plot.place) {
        out += &format!(" Marked: {label}.");
    }
    out
}
