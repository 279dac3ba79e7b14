//! Quantities as people write them, in and out.

/// Bytes from `8192`, `8KB` (1000), `8 KiB` (1024), `1.5MB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1u64 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let wrong =
        || format!("expected bytes such as 8192, 8KB (8000) or 8KiB (8192), found {text:?}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].trim();
    let known = units.iter().find(|u| u.0.eq_ignore_ascii_case(unit));
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let exact = known.map(|u| number * u.1 as f64).ok_or_else(wrong)?;
    if !(1.0..1e18).contains(&exact) {
        return Err(wrong());
    }
    Ok(exact as u64)
}

/// A share between 0 and 1 from `0.005` or `0.5%`.
pub fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a share such as 0.98 or 98%, found {text:?}");
    let (digits, scale) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let share = number / scale;
    if !(0.0..=1.0).contains(&share) {
        return Err(wrong());
    }
    Ok(share)
}

/// A time from `50us`, `2 ms`, `0.1s`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let unit = match text[split..].trim().to_lowercase().as_str() {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        _ => return Err("expected a time such as 50us, 2ms or 0.1s".to_owned()),
    };
    match text[..split].parse::<f64>() {
        Ok(n) if n > 0.0 && n * unit < 1e6 => Ok(std::time::Duration::from_secs_f64(n * unit)),
        _ => Err("expected a time above 0, such as 50us, 2ms or 0.1s".to_owned()),
    }
}

/// A chance of a false alarm, above 0 and below 1.
pub fn alpha(text: &str) -> Result<f64, String> {
    let wrong = |_| format!("expected a share such as 0.05 or 5%, found {text:?}");
    let alpha = share(text).map_err(wrong)?;
    match alpha > 0.0 && alpha < 1.0 {
        true => Ok(alpha),
        false => Err(format!(
            "expected more than 0 and less than 1, found {text:?}"
        )),
    }
}

/// Rows of a sample.
pub fn sample_rows(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (20..=1_000_000).contains(n));
    number.ok_or_else(|| format!("expected 20 to 1000000 rows, found {text:?}"))
}

/// A number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=4096).contains(n));
    number.ok_or_else(|| format!("expected 1 to 4096 threads, found {text:?}"))
}

/// Samples in a call.
pub fn batch(text: &str) -> Result<usize, String> {
    let most = bantam::bench::MOST_BATCH;
    let number = text.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("expected 1 to {most} samples, found {text:?}"))
}

/// Seconds to measure for.
pub fn measured_seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n| (0.001..=86_400.0).contains(n));
    number.ok_or_else(|| format!("expected 0.001 to 86400 seconds, found {text:?}"))
}

/// Units of a hidden layer.
pub fn units(text: &str) -> Result<usize, String> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|n| (1..=65_536).contains(n));
    number.ok_or_else(|| format!("expected 1 to 65536 units, found {text:?}"))
}

/// A count with its thousands apart: `12,345`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage: `81.6 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A share as a percentage, as exact as its standard error allows: `91.73 %` below half a point.
pub fn percent_within(share: f64, standard_error: f64) -> String {
    match standard_error < 0.005 {
        true => format!("{:.2} %", share * 100.0),
        false => percent(share),
    }
}

/// A time: `0.8 s`, `95 s`, `12 min`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

/// A time as short as it is: `812 ns`, `7.14 µs`, `4.21 ms`, `1.21 s`.
pub fn short_time(s: f64) -> String {
    let (value, unit) = match s {
        s if s < 0.999_5e-6 => return format!("{:.0} ns", s * 1e9),
        s if s < 0.999_5e-3 => (s * 1e6, "µs"),
        s if s < 0.999_5 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number with three digits that say something: `7.14`, `71.4`, `714`, `7,140`.
pub fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => grouped(v.round() as u64),
    }
}

/// Bytes as people read them: `812 B`, `7.14 KB`, `102 MB`.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B"),
        b if b < 0.999_5e6 => format!("{} KB", three_digits(b / 1e3)),
        b if b < 0.999_5e9 => format!("{} MB", three_digits(b / 1e6)),
        b => format!("{} GB", three_digits(b / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("8192", Some(8192)),
            ("8KB", Some(8000)),
            ("8 KiB", Some(8192)),
            ("1.5mb", Some(1_500_000)),
            ("12B", Some(12)),
            ("0", None),
            ("-1KB", None),
            ("8K", None),
            ("", None),
            ("KB", None),
            ("nan", None),
            ("1e30", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("0.5%", Some(0.005)),
            ("98 %", Some(0.98)),
            ("0.98", Some(0.98)),
            ("98", None),
            ("-0.1", None),
            ("%", None),
            ("NaN", None),
        ] {
            assert_eq!(share(text).ok(), expected, "{text:?}");
        }
        assert_eq!(threads("4"), Ok(4));
        assert!(batch("0").is_err() && batch("1048577").is_err() && batch("64") == Ok(64));
        assert!(measured_seconds("nan").is_err() && measured_seconds("0").is_err());
        assert!(threads("0").is_err() && units("0").is_err());
    }

    #[test]
    fn texts() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(n), text);
        }
        for (time, text) in [
            (25e-9, "25 ns"),
            (0.9997e-6, "1.00 µs"),
            (7.138e-6, "7.14 µs"),
            (0.000_4, "400 µs"),
            (0.082_51, "82.5 ms"),
            (1234.0, "1,234 s"),
        ] {
            assert_eq!(short_time(time), text);
        }
        for (bytes, text) in [
            (999, "999 B"),
            (1000, "1.00 KB"),
            (999_900, "1.00 MB"),
            (102_187_456, "102 MB"),
            (2_500_000_000, "2.50 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(percent(0.8159), "81.6 %");
        assert_eq!(seconds(0.84), "0.8 s");
        assert_eq!(seconds(600.0), "10 min");
    }
}
