//! Sizes as the messages of both isolators write them.

/// `10MB`, `1500KB`, `7B`: the largest unit that loses nothing, as frameworks of the field know it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut number, mut units) = (bytes, UNITS.into_iter());
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if number == 0 || number % 1024 != 0 {
            break;
        }
        (number, unit) = (number / 1024, larger);
    }
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_that_loses_nothing_is_used() {
        let written = [0, 7, 1024, 1_536_000, 10 << 20, 3 << 30, 5 << 40, 1 << 50].map(size);
        assert_eq!(written, ["0B", "7B", "1KB", "1500KB", "10MB", "3GB", "5TB", "1024TB"]);
    }
}
