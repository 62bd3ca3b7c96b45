//! `net_cls`: a number on every packet that the cgroup's processes send, for traffic control and packet filters.

use crate::cgroup::Cgroup;
use crate::{Error, Result};

/// One cgroup of the `net_cls` controller, which version 2 does not have.
#[derive(Debug, Clone)]
pub struct NetCls(Cgroup);

impl NetCls {
    /// Wraps a cgroup in the `net_cls` hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// Writes the number: a primary handle in the upper 16 bits, a secondary one in the lower.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_classid(&self, classid: u32) -> Result<()> {
        self.0.write("net_cls.classid", &classid.to_string())
    }

    /// The number in force; 0 is none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn classid(&self) -> Result<u32> {
        let number = self.0.read_number("net_cls.classid")?.unwrap_or(0);
        u32::try_from(number).map_err(|_| {
            let path = self.0.path().join("net_cls.classid");
            Error::malformed(&path, &number.to_string(), "a number of 32 bits")
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn classid_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("net_cls.classid"), "0\n").unwrap();
        let net_cls = NetCls::new(Cgroup::new(dir.path()));
        assert_eq!(net_cls.classid().unwrap(), 0);
        net_cls.set_classid(0x0012_0001).unwrap();
        assert_eq!(net_cls.classid().unwrap(), 1_179_649);
        std::fs::write(dir.path().join("net_cls.classid"), "4294967296\n").unwrap();
        assert!(net_cls.classid().unwrap_err().to_string().contains("32 bits"));
    }
}
