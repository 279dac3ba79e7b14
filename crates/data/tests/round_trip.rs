//! Tables written by others come back cell by cell.

use bantam_data::{Column, MISSING, ReadOptions, Table, Values, read_delimited_bytes};
use proptest::prelude::*;

/// A cell that is text: it does not look like a number or a missing cell, and has no outer spaces.
fn text() -> impl Strategy<Value = Option<String>> {
    let word = proptest::collection::vec(
        prop_oneof![
            Just('a'),
            Just('é'),
            Just('"'),
            Just(','),
            Just(';'),
            Just('\t'),
            Just(' '),
            Just('\n'),
            Just('\r'),
            Just('0'),
            Just('|'),
            Just('#')
        ],
        0..8,
    );
    let word = word.prop_map(|cs| format!("t{}t", cs.into_iter().collect::<String>()));
    proptest::option::weighted(0.9, word)
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        (-1000i32..1000).prop_map(f64::from),
    ]
}

fn table() -> impl Strategy<Value = (Vec<f64>, Vec<Option<String>>)> {
    (1usize..40).prop_flat_map(|n| {
        let numbers = proptest::collection::vec(number(), n);
        (numbers, proptest::collection::vec(text(), n))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn csv((numbers, texts) in table(), delimiter in prop_oneof![Just(b','), Just(b'\t'), Just(b';')], crlf: bool) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new()
            .delimiter(delimiter)
            .terminator(terminator)
            .from_writer(Vec::new());
        writer.write_record(["numbers", "texts"]).unwrap();
        for (x, t) in numbers.iter().zip(&texts) {
            let x = if x.is_nan() { String::new() } else { format!("{x:?}") };
            writer.write_record([x.as_str(), t.as_deref().unwrap_or("")]).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let options = || {
            let mut options = ReadOptions::default();
            options.delimiter = Some(delimiter);
            options.header = Some(true);
            options
        };
        let read = read_delimited_bytes(&bytes, &options()).unwrap();
        let Values::Numeric(found) = &read.column("numbers").unwrap().values else {
            panic!("numbers are numeric")
        };
        prop_assert_eq!(found.len(), numbers.len());
        for (a, b) in found.iter().zip(&numbers) {
            prop_assert!(a == b || (a.is_nan() && b.is_nan()));
        }
        if texts.iter().any(Option::is_some) {
            let expected = Column::categorical("texts", &texts);
            prop_assert_eq!(&read.column("texts").unwrap().values, &expected.values);
        }
    }

    #[test]
    fn selecting_rows_selects_cells((numbers, texts) in table(), seed: u64) {
        let n = numbers.len();
        let rows: Vec<usize> = (0..n).filter(|&i| bantam_data::hash(seed, i as u64) & 1 == 0).collect();
        let table = Table::new(vec![
            Column::numeric("a", numbers),
            Column::categorical("b", &texts),
        ]).unwrap();
        let part = table.select(&rows);
        prop_assert_eq!(part.rows(), rows.len());
        for (i, &row) in rows.iter().enumerate() {
            for name in ["a", "b"] {
                let (part, all) = (&part.column(name).unwrap().values, &table.column(name).unwrap().values);
                prop_assert_eq!(part.is_missing(i), all.is_missing(row));
                if let (Values::Categorical { codes: p, .. }, Values::Categorical { codes: a, .. }) = (part, all) {
                    prop_assert!(p[i] == a[row] || p[i] == MISSING);
                }
            }
        }
    }
}
