//! Choosing parameters by name: exact, or a prefix with a trailing `*`.

use crate::{Error, ErrorKind, Result};

/// Whether `name` fits `pattern`.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Errs when a pattern fits none of `names`; the nearest of them is suggested.
pub(crate) fn check<'a>(
    option: &str,
    patterns: impl Iterator<Item = &'a str>,
    names: &[&str],
) -> Result<()> {
    for pattern in patterns {
        if names.iter().any(|name| fits(pattern, name)) {
            continue;
        }
        let wanted = pattern.strip_suffix('*').unwrap_or(pattern);
        let nearest = names.iter().min_by_key(|name| distance(wanted, name));
        let hint = match nearest {
            Some(name) => format!("the nearest name is {name:?}"),
            None => "there is none in this graph".to_owned(),
        };
        let message =
            format!("{option} {pattern:?} fits no parameter that this applies to; {hint}");
        return Err(Error::new(ErrorKind::Name, message));
    }
    Ok(())
}

/// Insertions, deletions and replacements of characters that turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_exact_or_prefixes() {
        for (pattern, name, expected) in [
            ("fc1.weight", "fc1.weight", true),
            ("fc1", "fc1.weight", false),
            ("fc1*", "fc1.weight", true),
            ("*", "anything", true),
            ("f*1", "fc1", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_without_effect_suggests_the_nearest_name() {
        let names = ["fc1.weight", "fc2.weight", "out.weight"];
        assert!(check("exclude", ["fc*", "out.weight"].into_iter(), &names).is_ok());
        let e = check("exclude", ["fc2.wieght"].into_iter(), &names).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Name);
        assert!(e.to_string().contains("\"fc2.weight\""), "{e}");
        let e = check("exclude", ["oud*"].into_iter(), &names).unwrap_err();
        assert!(e.to_string().contains("nearest"), "{e}");
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
