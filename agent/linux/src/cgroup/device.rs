//! Which device nodes may be used, in the words that both versions understand: version 1 takes a rule as text, version 2 as
//! a few instructions of a program.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result};

/// What every container may use: making nodes, the console and terminals, tun, null, zero, full, random, urandom.
pub const DEFAULT_DEVICES: [&str; 14] = [
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",
    "c 4:0 rwm",
    "c 4:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:9 rwm",
    "c 1:8 rwm",
];

/// The number of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// Its device.
    pub minor: u32,
}

impl DeviceNumber {
    /// `8:16`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A character device.
    Character,
}

/// What may be done with a device node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceAccess {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make such a node.
    pub make: bool,
}

/// Devices, and what is allowed with them: `c 1:3 rwm`, `c 136:* rw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRule {
    /// Block or character.
    pub kind: DeviceKind,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: DeviceAccess,
}

impl DeviceRule {
    /// The rules of [`DEFAULT_DEVICES`].
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        DEFAULT_DEVICES.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// The rule for the device behind a node, which must exist now.
    ///
    /// # Errors
    /// [`Error::Io`] when there is none, [`Error::Invalid`] when it is no device.
    pub fn of_node(path: &Path, access: DeviceAccess) -> Result<Self> {
        let found = fs::metadata(path).map_err(|source| Error::io("look at", path, source))?;
        let kind = match found.file_type() {
            kind if kind.is_block_device() => DeviceKind::Block,
            kind if kind.is_char_device() => DeviceKind::Character,
            _ => {
                return Err(Error::Invalid {
                    what: "device node",
                    found: path.display().to_string(),
                    expected: "a block or character device",
                });
            }
        };
        let number = found.rdev();
        Ok(Self {
            kind,
            major: Some(rustix::fs::major(number)),
            minor: Some(rustix::fs::minor(number)),
            access,
        })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let DeviceAccess { read, write, make } = self.access;
        [(read, "r"), (write, "w"), (make, "m")]
            .iter()
            .filter(|(allowed, _)| *allowed)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl FromStr for DeviceRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::Invalid {
            what: "device rule",
            found: text.to_owned(),
            expected: "\"b\" or \"c\", major:minor (or *), and some of \"rwm\", as in \"c 1:3 rwm\"",
        })
    }
}

fn parse(text: &str) -> Option<DeviceRule> {
    let mut words = text.split(' ');
    let (kind, numbers, letters) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || letters.is_empty() {
        return None;
    }
    let kind = match kind {
        "b" => DeviceKind::Block,
        "c" => DeviceKind::Character,
        _ => return None,
    };
    let number = |text: &str| match text {
        "*" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let (major, minor) = numbers.split_once(':')?;
    let mut access = DeviceAccess::default();
    for letter in letters.chars() {
        match letter {
            'r' => access.read = true,
            'w' => access.write = true,
            'm' => access.make = true,
            _ => return None,
        }
    }
    Some(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_are_read() {
        for text in DEFAULT_DEVICES.iter().copied().chain(["b 8:16 r", "c *:3 wm"]) {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        assert_eq!(DeviceRule::defaults().len(), DEFAULT_DEVICES.len());
        for wrong in
            ["", "a *:* rwm", "c 1:3", "c 1:3 ", "c 1:3 x", "c 1 rwm", "c x:3 r", "c 1:3 r w"]
        {
            let error = wrong.parse::<DeviceRule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("device rule is {wrong:?}, expected")), "{error}");
        }
    }

    #[test]
    fn a_node_becomes_its_number_and_a_file_is_refused() {
        let access = DeviceAccess { read: true, ..DeviceAccess::default() };
        let rule = DeviceRule::of_node(Path::new("/dev/null"), access).unwrap();
        assert_eq!(rule.to_string(), "c 1:3 r");
        let error = DeviceRule::of_node(Path::new("/proc/self/status"), access).unwrap_err();
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
        assert!(
            DeviceRule::of_node(Path::new("/dev/none-such"), access).unwrap_err().is_not_found()
        );
    }
}
