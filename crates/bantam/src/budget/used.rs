//! What this process has used so far, where the system tells.

/// Largest memory so far.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(field(&text, "VmHWM:")? * 1024)
}

/// Bytes read from files so far, from the cache of the system or not.
pub(super) fn read_bytes() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/io").ok()?, "rchar:")
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "VmPeak:\t  20 kB\nVmHWM:\t  1234 kB\nrchar: 99\n";
        assert_eq!(field(text, "VmHWM:"), Some(1234));
        assert_eq!(field(text, "rchar:"), Some(99));
        assert_eq!(field(text, "wchar:"), None);
        assert_eq!(field("rchar: x\n", "rchar:"), None);
        if cfg!(target_os = "linux") {
            assert!(peak_memory_bytes().is_some_and(|b| b > 100_000));
        }
    }
}
