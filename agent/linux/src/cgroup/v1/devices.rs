//! `devices`: which device nodes may be used. Everything is denied first, then a list is allowed.

use crate::Result;
use crate::cgroup::Cgroup;

/// One cgroup of the `devices` controller.
#[derive(Debug, Clone)]
pub struct Devices(Cgroup);

impl Devices {
    /// Wraps a cgroup in the devices hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Denies all, then allows the entries (`c 1:3 rwm`).
    ///
    /// # Errors
    /// [`crate::Error::Io`] with the entry that was refused.
    pub fn allow_only<'a>(&self, entries: impl IntoIterator<Item = &'a str>) -> Result<()> {
        self.0.write("devices.deny", "a")?;
        entries.into_iter().try_for_each(|entry| self.0.write("devices.allow", entry))
    }

    /// The entries in force.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.read("devices.list")?.lines().map(str::to_owned).collect())
    }
}
