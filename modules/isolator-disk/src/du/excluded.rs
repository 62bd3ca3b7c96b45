//! Paths that a walk leaves out, found name by name on the way down: the walk never puts a path together.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

/// What is left out at and below one directory. Cheap to clone; most directories have nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excluded(Option<Arc<Node>>);

/// Names in a directory: left out (`None`), or with something left out further down.
#[derive(Debug, Default)]
struct Node(HashMap<Box<[u8]>, Option<Excluded>>);

impl Excluded {
    /// Leaves out these paths, relative to where the walk starts. A path that is empty or goes up is no place inside, so it
    /// leaves out nothing.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let names = paths.into_iter().filter_map(names).filter(|names| !names.is_empty());
        Self::of(names.collect())
    }

    fn of(paths: Vec<Vec<&[u8]>>) -> Self {
        let mut below: HashMap<&[u8], Vec<Vec<&[u8]>>> = HashMap::new();
        for path in paths {
            if let Some((first, rest)) = path.split_first() {
                below.entry(first).or_default().push(rest.to_vec());
            }
        }
        if below.is_empty() {
            return Self::default();
        }
        let node = below.into_iter().map(|(name, rests)| {
            let whole = rests.iter().any(Vec::is_empty);
            (Box::from(name), (!whole).then(|| Self::of(rests)))
        });
        Self(Some(Arc::new(Node(node.collect()))))
    }

    /// What is left out below this name; `None` when the name itself is.
    pub(crate) fn below(&self, name: &[u8]) -> Option<Self> {
        match self.0.as_ref().and_then(|node| node.0.get(name)) {
            None => Some(Self::default()),
            Some(entry) => entry.clone(),
        }
    }
}

/// The names of a relative path; `None` for one that is not inside.
fn names(path: &Path) -> Option<Vec<&[u8]>> {
    path.components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Some(OsStr::as_bytes(name)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn only_whole_paths_are_left_out() {
        let excluded = Excluded::new(["a/b", "a/b/c", "./d", "", "../x", "/y"].map(Path::new));
        assert!(excluded.below(b"d").is_none());
        assert!(excluded.below(b"b").is_some() && excluded.below(b"x").is_some());
        assert!(excluded.below(b"y").is_some());
        let a = excluded.below(b"a").unwrap();
        assert!(a.below(b"b").is_none());
        assert!(a.below(b"d").unwrap().below(b"b").is_some());
        assert!(Excluded::default().below(b"a").unwrap().0.is_none());
    }
}
