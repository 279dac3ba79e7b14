//! What energy and time cost: a small table that a file can overrule.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Rates. A file names those that are to be others; the rest stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Power of a busy core. 12 W: default of Green Algorithms (Lannelongue, Grealey, Inouye,
    /// "Green Algorithms: quantifying the carbon footprint of computation", 2021).
    pub watts_per_core: f64,
    /// Power of memory in use. 0.3725 W: same source.
    pub watts_per_gigabyte: f64,
    /// Power of the whole building over that of its computers. 1: a computer of one's own; 1.67 is the
    /// average of data centres in the same source.
    pub overhead: f64,
    /// Energy of a multiply-add of 32-bit floats. 4.6 pJ: a multiplication of 3.7 and an addition of 0.9
    /// pJ in 45 nm (Horowitz, "Computing's energy problem", 2014); arithmetic alone, without the
    /// processor around it.
    pub joules_per_mac: f64,
    /// Energy of reading a byte of weights from memory. 160 pJ: 640 pJ for 32 bits of DRAM, as Han, Mao
    /// and Dally ("Deep Compression", 2016) take it from the same source.
    pub joules_per_byte: f64,
    /// Price of electricity. 0.127: average of all sectors in the United States, 2023 (Energy
    /// Information Administration, "Electric Power Annual").
    pub price_per_kwh: f64,
    /// Price of a rented core for an hour. 0.0425: list price of an EC2 c5 virtual core on demand, US
    /// East, as in the vendor's documentation (0.34 for eight).
    pub price_per_core_hour: f64,
    /// What the prices are in.
    pub currency: String,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates {
            watts_per_core: 12.0,
            watts_per_gigabyte: 0.3725,
            overhead: 1.0,
            joules_per_mac: 4.6e-12,
            joules_per_byte: 160e-12,
            price_per_kwh: 0.127,
            price_per_core_hour: 0.0425,
            currency: "USD".to_owned(),
        }
    }
}

impl Rates {
    /// Reads a TOML file.
    ///
    /// Errs when it is missing, has a key that is no rate, or a rate is negative.
    pub fn read(path: &Path) -> Result<Rates> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, &e))?;
        Rates::parse(&text).map_err(|e| e.in_file(path))
    }

    fn parse(text: &str) -> Result<Rates> {
        let rates: Rates =
            toml::from_str(text).map_err(|e| Error::new(ErrorKind::Recipe, e.to_string()))?;
        let all = [
            ("watts_per_core", rates.watts_per_core),
            ("watts_per_gigabyte", rates.watts_per_gigabyte),
            ("overhead", rates.overhead),
            ("joules_per_mac", rates.joules_per_mac),
            ("joules_per_byte", rates.joules_per_byte),
            ("price_per_kwh", rates.price_per_kwh),
            ("price_per_core_hour", rates.price_per_core_hour),
        ];
        match all.iter().find(|(_, x)| !(x.is_finite() && *x >= 0.0)) {
            None => Ok(rates),
            Some((name, x)) => {
                let message = format!("{name}: expected a number from 0 on, found {x}");
                Err(Error::new(ErrorKind::Recipe, message))
            }
        }
    }

    /// Energy of `threads` busy cores and `ram_bytes` of memory for some seconds.
    pub(super) fn joules(&self, seconds: f64, threads: usize, ram_bytes: f64) -> f64 {
        let watts =
            self.watts_per_core * threads as f64 + self.watts_per_gigabyte * ram_bytes / 1e9;
        seconds * watts * self.overhead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_overrule_single_rates() {
        let rates = Rates::parse("price_per_kwh = 0.3\ncurrency = \"EUR\"\n").unwrap();
        let expected = Rates {
            price_per_kwh: 0.3,
            currency: "EUR".into(),
            ..Rates::default()
        };
        assert_eq!(rates, expected);
        assert_eq!(Rates::parse("").unwrap(), Rates::default());
        for (text, says) in [
            (
                "price_per_kwh = -1\n",
                "price_per_kwh: expected a number from 0 on, found -1",
            ),
            ("watts_per_core = nan\n", "watts_per_core: expected"),
            ("price = 1\n", "unknown field `price`"),
            ("overhead = \"x\"\n", "invalid type"),
        ] {
            let error = Rates::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn energy() {
        let rates = Rates {
            overhead: 1.5,
            ..Rates::default()
        };
        assert_eq!(rates.joules(10.0, 2, 2e9), 1.5 * 10.0 * (24.0 + 0.745));
    }
}
