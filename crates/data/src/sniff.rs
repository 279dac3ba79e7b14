//! Finds out from its first lines how a delimited file is written.

use crate::options::{ReadOptions, number};
use crate::records::{Clean, csv_reader};

/// How many records are looked at.
const RECORDS: usize = 200;

/// What was found out, or given.
pub(crate) struct Sniffed {
    pub(crate) delimiter: u8,
    pub(crate) header: bool,
}

/// `sample` is the beginning of the file, or all of it when `whole`.
pub(crate) fn sniff(
    sample: &[u8],
    whole: bool,
    options: &ReadOptions,
    preferred: Option<u8>,
) -> Sniffed {
    // The last line may be cut off; it is left out unless it is the only one.
    let end = match sample.iter().rposition(|&b| b == b'\n') {
        Some(end) if !whole => end + 1,
        _ => sample.len(),
    };
    let sample = &sample[..end];
    let delimiter = options
        .delimiter
        .unwrap_or_else(|| delimiter(sample, preferred, options));
    let header = options
        .header
        .unwrap_or_else(|| has_header(&records(sample, delimiter, options), options));
    Sniffed { delimiter, header }
}

/// The first records as text; bytes that are not UTF-8 are replaced, the reader will object.
fn records(sample: &[u8], delimiter: u8, options: &ReadOptions) -> Vec<Vec<String>> {
    let clean = Clean::new(sample, delimiter, options.comment);
    let reader = csv_reader(clean, delimiter);
    let cells = |record: csv::ByteRecord| {
        let cell = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        record.iter().map(cell).collect()
    };
    let records = reader.into_byte_records().take(RECORDS);
    records.map_while(|r| r.ok()).map(cells).collect()
}

/// The delimiter for which most records have the same number of fields, and of those the one that
/// makes most fields; a tab before a comma, which is common in text, too. A single column has none, for which a comma does.
fn delimiter(sample: &[u8], preferred: Option<u8>, options: &ReadOptions) -> u8 {
    let mut best = (0.0, 1, preferred.unwrap_or(b','));
    for candidate in preferred.into_iter().chain(*b"\t,;|") {
        let records = records(sample, candidate, options);
        let mut counts: Vec<usize> = records.iter().map(Vec::len).collect();
        counts.sort_unstable();
        let runs = counts.chunk_by(|a, b| a == b);
        let Some(run) = runs.max_by_key(|run| run.len()) else {
            continue;
        };
        let share = run.len() as f64 / counts.len() as f64;
        if run[0] > 1 && (share, run[0]) > (best.0, best.1) {
            best = (share, run[0], candidate);
        }
    }
    best.2
}

/// Whether the first record names the columns: it does when its cells do not parse as those below
/// them do, and it does not when they do, or come again further down. Without evidence it does.
fn has_header(records: &[Vec<String>], options: &ReadOptions) -> bool {
    let Some((first, rest)) = records.split_first() else {
        return true;
    };
    let is_number = |cell: &str| number(cell).is_some();
    if rest.is_empty() {
        return !first.iter().any(|cell| is_number(cell));
    }
    let mut evidence = 0i64;
    for (i, name) in first.iter().enumerate() {
        let cells = rest.iter().filter_map(|record| record.get(i));
        let mut cells = cells.filter(|cell| !options.is_missing(cell)).peekable();
        if name.is_empty() || cells.peek().is_none() {
            continue;
        }
        if cells.clone().all(|cell| is_number(cell)) {
            let same = is_number(name) || options.is_missing(name);
            evidence += if same { -1 } else { 1 };
        } else if is_number(name) || cells.any(|cell| cell == name) {
            evidence -= 1;
        }
    }
    evidence >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_out() {
        let cases: [(&str, &str, u8, bool); 15] = [
            ("comma, header", "a,b\n1,2\n3,4\n", b',', true),
            ("comma, none", "1,2\n3,4\n5,6\n", b',', false),
            ("tab", "a\tb, c\n1\tx, y\n2\tz, w\n", b'\t', true),
            (
                "semicolon, decimal comma",
                "a;b\n1,5;2,5\n3,5;4,5\n",
                b';',
                true,
            ),
            ("bar", "1|2|3\n4|5|6\n", b'|', false),
            ("one column", "a\n1\n2\n", b',', true),
            (
                "quoted commas",
                "a;b\n\"1,2,3\";x\n\"4,5,6\";y\n",
                b';',
                true,
            ),
            (
                "spaces",
                "39, State-gov, <=50K\n50, Private, <=50K\n",
                b',',
                false,
            ),
            ("nominal, none", "x,s,n\nx,s,y\nb,s,w\n", b',', false),
            ("nominal, header", "cap,odor\nx,s\nb,s\n", b',', true),
            ("index", ",a,b\n0,1,2\n1,3,4\n", b',', true),
            ("ragged", "a,b\n1,2\n3\n4,5\n6,7\n", b',', true),
            ("missing first", "?,1\n2,3\n4,5\n", b',', false),
            ("one row", "1,2\n", b',', false),
            ("names only", "a,b\n", b',', true),
        ];
        for (name, text, delimiter, header) in cases {
            let found = sniff(text.as_bytes(), true, &ReadOptions::default(), None);
            assert_eq!(
                (found.delimiter, found.header),
                (delimiter, header),
                "{name}"
            );
        }
    }

    #[test]
    fn extension_breaks_ties() {
        let found = sniff(b"1,2\t3,4\n", true, &ReadOptions::default(), Some(b'\t'));
        assert_eq!(found.delimiter, b',', "more fields");
        let found = sniff(b"1,2\t3\n", true, &ReadOptions::default(), Some(b'\t'));
        assert_eq!(found.delimiter, b'\t');
    }
}
