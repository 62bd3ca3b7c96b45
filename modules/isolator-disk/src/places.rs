//! Where a container uses disk, and how much it may use there: out of its resources.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mezzo_module_api::megabytes_to_bytes;
use mezzo_proto::v1::resource::disk_info::source::Type;
use mezzo_proto::v1::{DiskStatistics, Resource};

/// A place that is measured by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The sandbox with the ephemeral volumes, which share its quota.
    Sandbox,
    /// A volume, by its path in the container.
    Volume(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox => f.write_str("sandbox"),
            Self::Volume(path) => write!(f, "volume `{path}`"),
        }
    }
}

/// All disk resources of one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quota {
    pub(crate) resources: Vec<Resource>,
}

impl Quota {
    /// In bytes; resources for the same place add up.
    pub(crate) fn bytes(&self) -> u64 {
        let megabytes =
            self.resources.iter().filter_map(|resource| Some(resource.scalar.as_ref()?.value));
        megabytes_to_bytes(megabytes.sum())
    }

    /// A disk of its own is full when it is full; there is nothing to enforce.
    pub(crate) fn is_whole_disk(&self) -> bool {
        self.sources().any(|source| source.r#type() == Type::Mount)
    }

    /// The directories of the disks it is on, where those are not the agent's own.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        self.sources()
            .filter_map(|source| {
                let path = source.path.as_ref().and_then(|path| path.root.as_ref());
                let mount = source.mount.as_ref().and_then(|mount| mount.root.as_ref());
                path.or(mount).map(PathBuf::from)
            })
            .collect()
    }

    /// Without what was used, which is known elsewhere.
    pub(crate) fn statistics(&self) -> DiskStatistics {
        let first = self.resources.iter().find_map(|resource| resource.disk.as_ref());
        DiskStatistics {
            source: first.and_then(|disk| disk.source.clone()),
            persistence: first.and_then(|disk| disk.persistence.clone()),
            limit_bytes: Some(self.bytes()),
            used_bytes: None,
        }
    }

    fn sources(&self) -> impl Iterator<Item = &mezzo_proto::v1::resource::disk_info::Source> {
        self.resources.iter().filter_map(|resource| resource.disk.as_ref()?.source.as_ref())
    }
}

/// The places of these resources.
pub(crate) fn places(resources: &[Resource]) -> BTreeMap<Place, Quota> {
    let mut places: BTreeMap<Place, Quota> = BTreeMap::new();
    for resource in resources.iter().filter(|resource| resource.name == "disk") {
        let volume = resource.disk.as_ref().and_then(|disk| disk.volume.as_ref());
        let place = match volume {
            Some(volume) => Place::Volume(volume.container_path.clone()),
            None => Place::Sandbox,
        };
        places.entry(place).or_default().resources.push(resource.clone());
    }
    places
}

/// Where a volume is, relative to the sandbox; `None` when it is somewhere else.
pub(crate) fn inside<'a>(container_path: &'a str, sandbox: &Path) -> Option<&'a Path> {
    let path = Path::new(container_path);
    if path.is_absolute() { path.strip_prefix(sandbox).ok() } else { Some(path) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::resource::DiskInfo;
    use mezzo_proto::v1::resource::disk_info::{Persistence, Source};
    use mezzo_proto::v1::value::Scalar;
    use mezzo_proto::v1::{Volume, resource};

    use super::*;

    fn disk(megabytes: f64, disk: Option<DiskInfo>) -> Resource {
        let scalar = Some(Scalar { value: megabytes });
        Resource { name: "disk".into(), scalar, disk, ..Resource::default() }
    }

    fn volume(container_path: &str, id: &str) -> DiskInfo {
        let volume = Volume { container_path: container_path.into(), ..Volume::default() };
        let persistence = Persistence { id: id.into(), ..Persistence::default() };
        DiskInfo { persistence: Some(persistence), volume: Some(volume), source: None }
    }

    #[test]
    fn resources_of_one_place_add_up_and_volumes_are_places_of_their_own() {
        let mem = Resource { name: "mem".into(), ..Resource::default() };
        let reserved = Resource {
            reservations: vec![resource::ReservationInfo::default()],
            ..disk(2.0, None)
        };
        let places = places(&[
            disk(1.5, None),
            mem,
            reserved,
            disk(8.0, Some(volume("data", "a"))),
            disk(4.0, Some(DiskInfo::default())),
        ]);
        assert_eq!(
            places.keys().collect::<Vec<_>>(),
            [&Place::Sandbox, &Place::Volume("data".into())]
        );
        assert_eq!(places[&Place::Sandbox].bytes(), 15 << 19);
        let data = &places[&Place::Volume("data".into())];
        assert_eq!(data.bytes(), 8 << 20);
        assert_eq!(data.statistics().persistence.unwrap().id, "a");
        assert!(!data.is_whole_disk());
    }

    #[test]
    fn a_mounted_disk_is_known_with_its_root() {
        let mount = Some(resource::disk_info::source::Mount { root: Some("/mnt/a".into()) });
        let source = Source { r#type: Type::Mount.into(), mount, ..Source::default() };
        let info = DiskInfo { source: Some(source), ..volume("data", "a") };
        let quota = Quota { resources: vec![disk(1.0, Some(info))] };
        assert!(quota.is_whole_disk());
        assert_eq!(quota.roots(), [Path::new("/mnt/a")]);
    }

    #[test]
    fn an_absolute_path_may_be_inside_too() {
        let sandbox = Path::new("/work/sandbox");
        assert_eq!(inside("a/b", sandbox), Some(Path::new("a/b")));
        assert_eq!(inside("/work/sandbox/a", sandbox), Some(Path::new("a")));
        assert_eq!(inside("/work/other", sandbox), None);
    }
}
