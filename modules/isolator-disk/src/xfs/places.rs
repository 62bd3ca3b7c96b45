//! Where the places of a container are, and what the kernel is told about them.

use std::path::{Path, PathBuf};

use mezzo_linux::project_quota::{self, ProjectQuotas, ProjectUsage};
use mezzo_module_api::{Host, ModuleError};
use mezzo_proto::v1::resource::disk_info::source::Type;
use mezzo_proto::v1::{DiskStatistics, Resource};

use super::broken;
use crate::places::Quota;

/// What a place is counted as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// A project on one of the file systems.
    Project { number: u32, quotas: ProjectQuotas },
    /// A disk of its own: all that is on it.
    WholeDisk(PathBuf),
}

/// A sandbox or volume, with its quota as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Metered {
    pub(crate) account: Account,
    /// `None` for a sandbox without disk resources, and after a recovery until the first update.
    pub(crate) quota: Option<Quota>,
}

impl Metered {
    /// What is used, and what may be: as told, or else as the kernel has it.
    pub(crate) fn measure(&self) -> Result<(u64, Option<u64>), ModuleError> {
        let told = self.quota.as_ref().map(Quota::bytes);
        match &self.account {
            Account::Project { number, quotas } => {
                let ProjectUsage { bytes, limits, .. } = quotas.usage(*number).map_err(broken)?;
                Ok((bytes, told.or(limits.soft)))
            }
            Account::WholeDisk(point) => Ok((used_of_disk(point)?, told)),
        }
    }

    pub(crate) fn statistics(&self, used: u64, limit: Option<u64>) -> DiskStatistics {
        let statistics = self.quota.as_ref().map(Quota::statistics).unwrap_or_default();
        DiskStatistics { used_bytes: Some(used), limit_bytes: limit, ..statistics }
    }
}

fn used_of_disk(point: &Path) -> Result<u64, ModuleError> {
    let stat = rustix::fs::statvfs(point).map_err(|errno| {
        ModuleError::internal(format!("cannot ask for the space of {}: {errno}", point.display()))
    })?;
    Ok(stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize))
}

/// The file systems of the agent's disks: that of the work directory, and of every disk that is a path of its own.
pub(crate) fn file_systems(
    work_dir: &Path,
    resources: &[Resource],
) -> Result<Vec<ProjectQuotas>, ModuleError> {
    let mut found: Vec<ProjectQuotas> = Vec::new();
    let paths = resources.iter().filter_map(path_disk);
    for path in std::iter::once(work_dir.to_owned()).chain(paths) {
        let quotas = ProjectQuotas::of(&path).map_err(|error| {
            ModuleError::invalid(format!("disk/xfs needs project quotas: {error}"))
        })?;
        if !found.contains(&quotas) {
            found.push(quotas);
        }
    }
    Ok(found)
}

/// The root of a disk that is a directory among others.
fn path_disk(resource: &Resource) -> Option<PathBuf> {
    let source = resource.disk.as_ref()?.source.as_ref()?;
    let root = source.path.as_ref()?.root.as_ref()?;
    (source.r#type() == Type::Path).then(|| root.into())
}

/// Where the agent keeps a persistent volume; for a disk of its own, where that is mounted. `None` for a volume that is not
/// persistent: it is some part of the host, and nobody's quota.
pub(crate) fn directory_of(quota: &Quota, work_dir: &Path) -> Option<PathBuf> {
    let resource = quota.resources.iter().find(|resource| resource.disk.is_some())?;
    let persistence = resource.disk.as_ref()?.persistence.as_ref()?;
    let root = quota.roots().into_iter().next();
    if quota.is_whole_disk() {
        return root;
    }
    let role = match resource.reservations.last() {
        Some(reservation) => reservation.role().to_owned(),
        None => resource.role().to_owned(),
    };
    let base = root.unwrap_or_else(|| work_dir.to_owned());
    Some(base.join("volumes/roles").join(role).join(&persistence.id))
}

/// Makes a tree part of a project, and tells of what would not.
pub(crate) fn label(tree: &Path, project: u32, host: &Host) -> Result<(), ModuleError> {
    let labelled = project_quota::set_project(tree, project).map_err(broken)?;
    if labelled.refused > 0 {
        host.warn(format!(
            "{} files in {} do not take project {project} and are not counted for it",
            labelled.refused,
            tree.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::resource::disk_info::{Persistence, Source, source};
    use mezzo_proto::v1::resource::{DiskInfo, ReservationInfo};

    use super::*;

    fn volume(role: &str, source: Option<Source>) -> Quota {
        let persistence = Persistence { id: "data".into(), ..Persistence::default() };
        let disk = DiskInfo { persistence: Some(persistence), source, ..DiskInfo::default() };
        let reservation = ReservationInfo { role: Some(role.into()), ..ReservationInfo::default() };
        let resource = Resource {
            name: "disk".into(),
            reservations: vec![reservation],
            disk: Some(disk),
            ..Resource::default()
        };
        Quota { resources: vec![resource] }
    }

    #[test]
    fn a_volume_is_below_the_work_directory_or_the_root_of_its_disk() {
        let work_dir = Path::new("/work");
        let plain = volume("db", None);
        let found = directory_of(&plain, work_dir).unwrap();
        assert_eq!(found, Path::new("/work/volumes/roles/db/data"));
        let path = Some(source::Path { root: Some("/disks/a".into()) });
        let path = Source { r#type: Type::Path.into(), path, ..Source::default() };
        let found = directory_of(&volume("db", Some(path.clone())), work_dir).unwrap();
        assert_eq!(found, Path::new("/disks/a/volumes/roles/db/data"));
        assert_eq!(
            path_disk(&volume("db", Some(path)).resources[0]).unwrap(),
            Path::new("/disks/a")
        );
        let mount = Some(source::Mount { root: Some("/disks/b".into()) });
        let mount = Source { r#type: Type::Mount.into(), mount, ..Source::default() };
        let found = directory_of(&volume("db", Some(mount.clone())), work_dir).unwrap();
        assert_eq!(found, Path::new("/disks/b"));
        assert_eq!(path_disk(&volume("db", Some(mount)).resources[0]), None);
        assert_eq!(directory_of(&Quota { resources: vec![Resource::default()] }, work_dir), None);
    }

    #[test]
    fn a_machine_without_xfs_is_refused_with_what_to_do() {
        let error = file_systems(Path::new("/proc"), &[]).unwrap_err().message;
        assert!(error.starts_with("disk/xfs needs project quotas: /proc is on proc"), "{error}");
        assert!(error.contains("expected XFS mounted with the option prjquota"), "{error}");
    }
}
