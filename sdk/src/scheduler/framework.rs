//! What a framework tells the master of itself.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::{Capability, capability};

/// Describes a framework: `Framework::new("my-framework").role("analytics").into_info()`.
///
/// Unless told otherwise it runs tasks as the user of this process, in role `*`, keeps its tasks
/// when an agent restarts (`checkpoint`), and understands roles, reservations and partitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Framework {
    info: v1::FrameworkInfo,
}

impl Framework {
    /// A framework of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let capabilities = [
            capability::Type::MultiRole,
            capability::Type::ReservationRefinement,
            capability::Type::PartitionAware,
        ];
        let info = v1::FrameworkInfo {
            name: name.into(),
            user: current_user(),
            checkpoint: Some(true),
            roles: vec!["*".to_owned()],
            capabilities: capabilities
                .into_iter()
                .map(|kind| Capability { r#type: Some(kind.into()) })
                .collect(),
            ..Default::default()
        };
        Self { info }
    }

    /// The user that tasks run as.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.info.user = user.into();
        self
    }

    /// The one role that it takes resources for.
    #[must_use]
    pub fn role(self, role: impl Into<String>) -> Self {
        self.roles([role])
    }

    /// The roles that it takes resources for.
    #[must_use]
    pub fn roles(mut self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.info.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// The id of an earlier run, to take over its tasks.
    #[must_use]
    pub fn id(mut self, id: impl Into<v1::FrameworkId>) -> Self {
        self.info.id = Some(id.into());
        self
    }

    /// How long the master keeps the tasks of this framework while it is disconnected.
    #[must_use]
    pub fn failover_timeout(mut self, timeout: Duration) -> Self {
        self.info.failover_timeout = Some(timeout.as_secs_f64());
        self
    }

    /// Whether tasks go on when their agent restarts.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: bool) -> Self {
        self.info.checkpoint = Some(checkpoint);
        self
    }

    /// One more thing that this framework understands.
    #[must_use]
    pub fn capability(mut self, kind: capability::Type) -> Self {
        self.info.capabilities.push(Capability { r#type: Some(kind.into()) });
        self
    }

    /// The message itself.
    #[must_use]
    pub fn into_info(self) -> v1::FrameworkInfo {
        self.info
    }
}

impl From<Framework> for v1::FrameworkInfo {
    fn from(framework: Framework) -> Self {
        framework.into_info()
    }
}

/// The name of the user that this process acts as; its number if it has no name.
fn current_user() -> String {
    // The owner of /proc/self is the effective user. $USER may tell of another one (su, sudo).
    let Ok(uid) = std::fs::metadata("/proc/self").map(|meta| meta.uid()) else {
        return std::env::var("USER").unwrap_or_else(|_| "nobody".to_owned());
    };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &passwd).unwrap_or_else(|| uid.to_string())
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nwww-data:x:33:33::/:/bin/false\n";
        assert_eq!(name_of(33, passwd).as_deref(), Some("www-data"));
        assert_eq!(name_of(7, passwd), None);
    }

    #[test]
    fn a_framework_is_modern_unless_told_otherwise() {
        let info = Framework::new("f").role("a/b").into_info();
        assert_eq!(info.roles, ["a/b"]);
        assert_eq!(info.capabilities.len(), 3);
        assert!(!info.user.is_empty());
    }
}
