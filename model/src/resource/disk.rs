//! What is special about a disk resource: where it comes from, and the persistent volume on it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mezzo_proto::v1;
use mezzo_proto::v1::resource::disk_info;
use mezzo_proto::v1::resource::disk_info::source::{self, Type};

use crate::{InvalidField, Labels};

/// A disk that is more than space on the agent's own file system.
///
/// Two disks are the same if source and volume id are. How a task wants to see the volume
/// (`mount`), and who made it, does not make another disk of it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The persistent volume on it.
    pub persistence: Option<Persistence>,
    /// Where a task sees it; the message is carried as it came.
    pub mount: Option<Arc<v1::Volume>>,
    /// Where it comes from; the agent's own file system if unset.
    pub source: Option<DiskSource>,
}

/// A persistent volume: data that outlive the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persistence {
    /// Unique within agent and role.
    pub id: Arc<str>,
    /// Who created it.
    pub principal: Option<Arc<str>>,
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskSource {
    /// What kind of disk it is.
    pub kind: DiskSourceKind,
    /// The directory of a path or mount disk.
    pub root: Option<Arc<str>>,
    /// The id that a storage provider gave it.
    pub id: Option<Arc<str>>,
    /// The storage provider's profile.
    pub profile: Option<Arc<str>>,
    /// The storage provider's vendor.
    pub vendor: Option<Arc<str>>,
    /// The storage provider's notes.
    pub metadata: Labels,
}

/// Kinds of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskSourceKind {
    /// A directory; can be shared out in parts.
    Path,
    /// A file system; all or nothing.
    Mount,
    /// A block device; all or nothing.
    Block,
    /// A storage pool (can be shared out) or, with an id, a volume that exists already.
    Raw,
}

impl DiskSource {
    /// A source of that kind, with nothing else known.
    pub fn new(kind: DiskSourceKind, root: Option<&str>) -> Self {
        Self {
            kind,
            root: root.map(Arc::from),
            id: None,
            profile: None,
            vendor: None,
            metadata: Labels::default(),
        }
    }

    /// Whether it can only be given as a whole.
    pub fn is_indivisible(&self) -> bool {
        match self.kind {
            DiskSourceKind::Path => false,
            DiskSourceKind::Mount | DiskSourceKind::Block => true,
            DiskSourceKind::Raw => self.id.is_some(),
        }
    }

    fn from_proto(wire: &disk_info::Source) -> Result<Self, InvalidField> {
        let kind = match Type::try_from(wire.r#type) {
            Ok(Type::Path) => DiskSourceKind::Path,
            Ok(Type::Mount) => DiskSourceKind::Mount,
            Ok(Type::Block) => DiskSourceKind::Block,
            Ok(Type::Raw) => DiskSourceKind::Raw,
            Ok(Type::Unknown) | Err(_) => {
                return Err(InvalidField::new("type", wire.r#type, "PATH, MOUNT, BLOCK or RAW"));
            }
        };
        if wire.path.is_some() && kind != DiskSourceKind::Path {
            return Err(InvalidField::new("path", "a path", "nothing, as the type is not PATH"));
        }
        if wire.mount.is_some() && kind != DiskSourceKind::Mount {
            return Err(InvalidField::new("mount", "a mount", "nothing, as the type is not MOUNT"));
        }
        if wire.metadata.is_some() && wire.id.is_none() {
            return Err(InvalidField::new("id", "nothing", "an id, as there is metadata"));
        }
        let path = wire.path.as_ref().and_then(|path| path.root.as_deref());
        let mount = wire.mount.as_ref().and_then(|mount| mount.root.as_deref());
        Ok(Self {
            kind,
            root: path.or(mount).map(Arc::from),
            id: wire.id.as_deref().map(Arc::from),
            profile: wire.profile.as_deref().map(Arc::from),
            vendor: wire.vendor.as_deref().map(Arc::from),
            metadata: wire.metadata.as_ref().map(Labels::from).unwrap_or_default(),
        })
    }

    fn to_proto(&self) -> disk_info::Source {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let root = text(&self.root);
        let (kind, path, mount) = match self.kind {
            DiskSourceKind::Path => (Type::Path, Some(source::Path { root }), None),
            DiskSourceKind::Mount => (Type::Mount, None, Some(source::Mount { root })),
            DiskSourceKind::Block => (Type::Block, None, None),
            DiskSourceKind::Raw => (Type::Raw, None, None),
        };
        disk_info::Source {
            r#type: kind as i32,
            path,
            mount,
            vendor: text(&self.vendor),
            id: text(&self.id),
            metadata: (!self.metadata.is_empty()).then(|| (&self.metadata).into()),
            profile: text(&self.profile),
        }
    }
}

impl Disk {
    /// What makes this disk this disk.
    fn identity(&self) -> (Option<&DiskSource>, Option<&str>) {
        (self.source.as_ref(), self.persistence.as_ref().map(|persistence| &*persistence.id))
    }

    /// Whether it can only be given as a whole.
    pub fn is_indivisible(&self) -> bool {
        self.persistence.is_some() || self.source.as_ref().is_some_and(DiskSource::is_indivisible)
    }

    /// Reads `Resource.disk`.
    pub(crate) fn from_proto(wire: &v1::resource::DiskInfo) -> Result<Self, InvalidField> {
        let persistence = match &wire.persistence {
            None => None,
            Some(persistence) => {
                crate::id::check("volume id", &persistence.id)
                    .map_err(|e| InvalidField::new("persistence.id", e, "the id of a volume"))?;
                Some(Persistence {
                    id: Arc::from(persistence.id.as_str()),
                    principal: persistence.principal.as_deref().map(Arc::from),
                })
            }
        };
        let source = match &wire.source {
            None => None,
            Some(source) => Some(DiskSource::from_proto(source).map_err(|e| e.within("source"))?),
        };
        if persistence.is_none() && source.is_none() && wire.volume.is_none() {
            return Err(InvalidField::new("", "an empty message", "persistence, volume or source"));
        }
        Ok(Self { persistence, mount: wire.volume.clone().map(Arc::new), source })
    }

    /// Writes `Resource.disk`.
    pub(crate) fn to_proto(&self) -> v1::resource::DiskInfo {
        v1::resource::DiskInfo {
            persistence: self.persistence.as_ref().map(|persistence| disk_info::Persistence {
                id: (*persistence.id).to_owned(),
                principal: persistence.principal.as_deref().map(str::to_owned),
            }),
            volume: self.mount.as_deref().cloned(),
            source: self.source.as_ref().map(DiskSource::to_proto),
        }
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Disk {}

impl PartialOrd for Disk {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Disk {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// `MOUNT:/mnt/a,data:volume`
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            f.write_str(match source.kind {
                DiskSourceKind::Path => "PATH",
                DiskSourceKind::Mount => "MOUNT",
                DiskSourceKind::Block => "BLOCK",
                DiskSourceKind::Raw => "RAW",
            })?;
            for part in [&source.root, &source.id, &source.profile].into_iter().flatten() {
                write!(f, ":{part}")?;
            }
            if self.persistence.is_some() || self.mount.is_some() {
                f.write_str(",")?;
            }
        }
        if let Some(persistence) = &self.persistence {
            f.write_str(&persistence.id)?;
        }
        if let Some(mount) = &self.mount {
            write!(f, ":{}", mount.container_path)?;
        }
        Ok(())
    }
}
