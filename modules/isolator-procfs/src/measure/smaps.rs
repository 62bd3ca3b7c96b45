//! `measure=smaps`: physical memory by mapping, so that pages that several processes share are not counted for each.
//!
//! The kernel walks page tables for this, which is slow for large processes: the reason why it is not the default.

use std::str::FromStr;

use mezzo_linux::procfs::{Mapping, Procfs};

use crate::measure::{ProcfsMeasurer, TreeMeasurer};
use crate::process::{Process, Root};

/// What of a mapping counts. Mappings that are shared and cannot be written to (`r--s`, `r-xs`: files) never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SmapsRule {
    /// The lesser of shared dirty pages and the process's part of all pages, and its private pages, dirty or clean.
    Older,
    /// Anonymous pages: pages of files can be dropped at any time, so they are nobody's fault.
    #[default]
    Newer,
}

impl SmapsRule {
    fn bytes(self, mapping: &Mapping) -> u64 {
        match self {
            _ if matches!(&mapping.permissions, b"r--s" | b"r-xs") => 0,
            Self::Older => mapping
                .shared_dirty
                .min(mapping.pss)
                .saturating_add(mapping.private_dirty)
                .saturating_add(mapping.private_clean),
            Self::Newer => mapping.anonymous,
        }
    }
}

impl FromStr for SmapsRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "older" => Ok(Self::Older),
            "newer" => Ok(Self::Newer),
            _ => Err("expected `older` or `newer`".to_owned()),
        }
    }
}

/// As `procfs`, but for the physical memory.
#[derive(Debug, Default)]
pub(crate) struct SmapsMeasurer {
    processes: ProcfsMeasurer,
    procfs: Procfs,
    rule: SmapsRule,
}

impl SmapsMeasurer {
    pub(crate) fn new(rule: SmapsRule) -> Self {
        Self { rule, ..Self::default() }
    }
}

impl TreeMeasurer for SmapsMeasurer {
    fn begin_round(&mut self) -> Result<(), String> {
        self.processes.begin_round()
    }

    fn tree(&mut self, roots: &[Root]) -> Result<Vec<Process>, String> {
        let mut tree = self.processes.tree(roots)?;
        for process in &mut tree {
            // Gone, or not ours to read: counts nothing.
            let mappings = self.procfs.smaps(process.pid).ok().flatten().unwrap_or_default();
            process.physical_bytes = mappings
                .iter()
                .fold(0, |sum, mapping| sum.saturating_add(self.rule.bytes(mapping)));
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const KB: u64 = 1024;

    fn mapping(permissions: &[u8; 4]) -> Mapping {
        Mapping {
            permissions: *permissions,
            pss: 30 * KB,
            shared_dirty: 50 * KB,
            private_clean: 7 * KB,
            private_dirty: 60 * KB,
            anonymous: 11 * KB,
        }
    }

    #[test]
    fn each_rule_counts_its_own_part_and_read_only_files_never() {
        assert_eq!(SmapsRule::Older.bytes(&mapping(b"rw-p")), 97 * KB);
        assert_eq!(SmapsRule::Newer.bytes(&mapping(b"rw-p")), 11 * KB);
        let less_dirty = Mapping { shared_dirty: 10 * KB, ..mapping(b"r--p") };
        assert_eq!(SmapsRule::Older.bytes(&less_dirty), 77 * KB);
        for shared in [b"r--s", b"r-xs"] {
            assert_eq!(SmapsRule::Older.bytes(&mapping(shared)), 0);
            assert_eq!(SmapsRule::Newer.bytes(&mapping(shared)), 0);
        }
        assert_eq!(SmapsRule::Newer.bytes(&mapping(b"rw-s")), 11 * KB);
    }

    #[test]
    fn both_rules_see_the_memory_of_a_real_process() {
        let memory = vec![1_u8; 32 << 20];
        let root = Root { pid: i32::try_from(std::process::id()).unwrap(), start_time: None };
        for rule in [SmapsRule::Older, SmapsRule::Newer] {
            let mut measurer = SmapsMeasurer::new(rule);
            measurer.begin_round().unwrap();
            let tree = measurer.tree(&[root]).unwrap();
            let us = tree.first().unwrap();
            assert!(us.physical_bytes >= 32 << 20, "{rule:?}: {us:?}");
            assert!(us.physical_bytes <= us.virtual_bytes, "{rule:?}: {us:?}");
        }
        assert_eq!(memory.last(), Some(&1));
    }

    #[test]
    fn a_rule_has_a_name() {
        assert_eq!("older".parse(), Ok(SmapsRule::Older));
        assert_eq!("newer".parse(), Ok(SmapsRule::Newer));
        assert!("new".parse::<SmapsRule>().unwrap_err().contains("`older` or `newer`"));
    }
}
