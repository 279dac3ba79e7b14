//! Texts of the page: escaping, and numbers as a reader wants them.
//!
//! Nothing here prints `NaN` or `inf`: a figure that is not a number is a dash. Sizes are decimal (1 kB
//! is 1000 bytes), and the exact number of bytes is always kept beside the rounded one.

/// Shown where there is no figure.
pub(super) const NONE: &str = "–";

/// A space that neither breaks nor is as wide as a letter; between digits and before units.
const THIN: char = '\u{202f}';

/// The text, harmless between tags and inside quoted attributes. Characters that a page may not hold,
/// and those that turn the direction of writing round, become the replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || turns(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Whether the character is invisible and changes the direction of the text after it, or is no
/// character at all.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// A name from the data, escaped and kept apart from the direction of the text around it.
pub(super) fn name(text: &str) -> String {
    if text.trim().is_empty() {
        return "<i>(empty)</i>".to_owned();
    }
    format!("<bdi>{}</bdi>", escape(text))
}

/// The text cut to at most `most` characters, not escaped.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The text as one word of a shell command, not escaped for the page.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let text = if text.starts_with('-') {
        format!("./{text}")
    } else {
        text.to_owned()
    };
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A whole number, its digits in groups of three.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(THIN);
        }
        out.push(c);
    }
    out
}

/// A whole number with the word it counts: `1 row`, `2 rows`.
pub(super) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A number to so many digits: plain where that is short, else with a power of ten.
pub(super) fn digits(x: f64, wanted: usize) -> String {
    if !x.is_finite() {
        return NONE.to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let power = x.abs().log10().floor() as i32;
    if !(-3..6).contains(&power) {
        let (mantissa, power) = scientific(x, wanted);
        return format!("{mantissa}{THIN}×{THIN}10{}", superscript(power));
    }
    let places = (wanted as i32 - 1 - power).max(0) as usize;
    let rounded = fixed(x, places);
    if places == 0 && x.abs() >= 10_000.0 {
        let sign = if x < 0.0 { "−" } else { "" };
        return format!("{sign}{}", count(x.abs().round() as u64));
    }
    trim_zeros(&rounded).to_owned()
}

/// Mantissa and power of ten of a number that is finite and not 0.
fn scientific(x: f64, wanted: usize) -> (String, i32) {
    let text = format!("{:.*e}", wanted.saturating_sub(1), x);
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = trim_zeros(mantissa).replace('-', "−");
    (mantissa, power.parse().unwrap_or(0))
}

fn superscript(power: i32) -> String {
    let raise = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => char::from_u32(c as u32 - u32::from('0') + u32::from('⁰')).unwrap_or(c),
    };
    power.to_string().chars().map(raise).collect()
}

/// A number with so many decimal places, with a true minus sign and never `-0`.
pub(super) fn fixed(x: f64, places: usize) -> String {
    if !x.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{x:.places$}");
    let nothing = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    match text.strip_prefix('-') {
        Some(rest) if nothing => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A share as per cent.
pub(super) fn percent(share: f64, places: usize) -> String {
    if !share.is_finite() {
        return NONE.to_owned();
    }
    format!("{}{THIN}%", fixed(100.0 * share, places))
}

/// `part` of `whole` as per cent; a dash of nothing.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NONE.to_owned();
    }
    let ratio = part as f64 / whole as f64;
    let places = if ratio > 0.0 && ratio < 0.00995 { 2 } else { 1 };
    percent(ratio, places)
}

/// A size in human units, without its exact number of bytes.
pub(super) fn size(bytes: u64) -> String {
    let (value, unit) = scaled(bytes as f64);
    let places = match value {
        v if v >= 99.95 || bytes < 1000 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{}{THIN}{unit}", fixed(value, places))
}

/// A size that need not be whole, as on an axis.
pub(super) fn size_of(bytes: f64) -> String {
    if !bytes.is_finite() {
        return NONE.to_owned();
    }
    let (value, unit) = scaled(bytes);
    format!("{}{THIN}{unit}", digits(value, 3))
}

fn scaled(bytes: f64) -> (f64, &'static str) {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    (value, units[unit])
}

/// A size in human units that tells its exact bytes when pointed at.
pub(super) fn bytes(bytes: u64) -> String {
    let exact = counted(bytes, "byte", "bytes");
    format!("<span title=\"{exact}\">{}</span>", size(bytes))
}

/// A time in human units.
pub(super) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NONE.to_owned();
    }
    if seconds < 0.9995 {
        return format!("{}{THIN}ms", digits(seconds * 1000.0, 2));
    }
    if seconds < 59.95 {
        return format!("{}{THIN}s", fixed(seconds, 1));
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{}{THIN}min {}{THIN}s", whole / 60, whole % 60);
    }
    format!(
        "{}{THIN}h {}{THIN}min",
        count(whole / 3600),
        whole % 3600 / 60
    )
}

/// How many times `small` goes into `large`, with its sign; a dash when that says nothing.
pub(super) fn times(large: u64, small: u64) -> String {
    if large == 0 || small == 0 {
        return NONE.to_owned();
    }
    let ratio = large as f64 / small as f64;
    let number = match ratio {
        r if r >= 99.95 => count(r.round() as u64),
        r if r >= 9.995 => fixed(r, 1),
        r if r >= 0.0995 => fixed(r, 2),
        r => digits(r, 2),
    };
    format!("{number}{THIN}×")
}

/// What the quality of a network is called and how it is written: accuracy, or R² for numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    /// Whether classes are told apart, so that the figure is a share of right answers.
    pub classes: bool,
}

impl Metric {
    /// Its name within a sentence.
    pub fn name(self) -> &'static str {
        if self.classes { "accuracy" } else { "R²" }
    }

    /// Its name at the start of a label.
    pub fn title(self) -> &'static str {
        if self.classes { "Accuracy" } else { "R²" }
    }

    /// The figure, as exact as its standard error allows.
    pub fn show(self, value: f64, standard_error: f64) -> String {
        let fine = standard_error.is_finite() && standard_error < 0.005;
        match self.classes {
            true => percent(value, if fine { 2 } else { 1 }),
            false => fixed(value, if fine { 4 } else { 3 }),
        }
    }

    /// A spread or a difference in the unit of the figure: points of a per cent, or plain.
    pub fn spread(self, value: f64) -> String {
        match self.classes {
            true => fixed(100.0 * value, 2),
            false => digits(value, 2),
        }
    }

    /// A signed difference with its unit.
    pub fn difference(self, value: f64) -> String {
        let sign = if value > 0.0 { "+" } else { "" };
        match self.classes {
            true => format!("{sign}{} points", fixed(100.0 * value, 2)),
            false => format!("{sign}{}", fixed(value, 4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_leave_its_place() {
        let hostile = "<b onload='x'>&\"\u{202e}\u{0}\u{7f}";
        let safe = "&lt;b onload=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(escape(hostile), safe);
        assert_eq!(name(" "), "<i>(empty)</i>");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn shell_words_hold_together() {
        assert_eq!(shell_word("runs/a.bantam"), "runs/a.bantam");
        assert_eq!(shell_word("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(shell_word("-rf"), "'./-rf'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn numbers_read_well() {
        let table = [
            (count(1234), "1234"),
            (count(1_234_567), "1\u{202f}234\u{202f}567"),
            (digits(0.0, 3), "0"),
            (digits(f64::NAN, 3), "–"),
            (digits(12.3456, 3), "12.3"),
            (digits(-0.05, 2), "−0.05"),
            (digits(1.2e-7, 2), "1.2\u{202f}×\u{202f}10⁻⁷"),
            (digits(123_456.0, 3), "123\u{202f}456"),
            (fixed(-0.001, 1), "0.0"),
            (percent(0.98765, 1), "98.8\u{202f}%"),
            (percent(f64::INFINITY, 1), "–"),
            (share(0, 0), "–"),
            (size(999), "999\u{202f}B"),
            (size(999_999), "1.00\u{202f}MB"),
            (size_of(1e6), "1\u{202f}MB"),
            (size(1_066_440), "1.07\u{202f}MB"),
            (seconds(0.0123), "12\u{202f}ms"),
            (seconds(75.0), "1\u{202f}min 15\u{202f}s"),
            (seconds(7500.0), "2\u{202f}h 5\u{202f}min"),
            (seconds(f64::NAN), "–"),
            (times(100, 0), "–"),
            (times(1_066_440, 4_321), "247\u{202f}×"),
            (times(55, 10), "5.50\u{202f}×"),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
    }
}
