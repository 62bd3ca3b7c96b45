//! The directory of archives: names, and how long an archive stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How the archives of this hook end: others in the same directory are not touched.
const ENDING: &str = ".sandbox.tar.gz";
/// How unfinished ones end; they begin with a dot.
const PARTIAL: &str = ".partial";
/// After this an unfinished archive is that of an agent that died.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of an id is in a name. With three of them and the ending a name stays below the 255 bytes of Linux.
const LONGEST_ID: usize = 70;

/// Where archives are kept, and how many.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) dir: PathBuf,
    pub(crate) max_archives: Option<usize>,
    /// In bytes.
    pub(crate) max_size: Option<u64>,
}

/// A name out of ids, which may hold anything: a slash would be a folder, a dot in front would hide it.
pub(crate) fn name(ids: &[&str]) -> String {
    let safe =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let ids: Vec<String> = ids
        .iter()
        .filter(|id| !id.is_empty())
        .map(|id| id.chars().take(LONGEST_ID).map(safe).collect())
        .collect();
    let name = ids.join("-");
    let name = name.trim_start_matches('.');
    if name.is_empty() { "executor".to_owned() } else { name.to_owned() }
}

impl Shelf {
    /// Where the archive of this name is, and where it is while it is made.
    pub(crate) fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        let archive = self.dir.join(format!("{name}{ENDING}"));
        let partial = self.dir.join(format!(".{name}{ENDING}{PARTIAL}"));
        (archive, partial)
    }

    /// Removes the oldest archives until those that are left are few and small enough, and what an agent that died left
    /// unfinished. `newest` stays in any case. Returns how many went.
    pub(crate) fn tidy(&self, newest: &Path) -> io::Result<u64> {
        let now = SystemTime::now();
        let mut archives = Vec::new();
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // One that vanishes meanwhile is not missed.
            let Ok(metadata) = entry.metadata() else { continue };
            let Some(modified) = metadata.modified().ok().filter(|_| metadata.is_file()) else {
                continue;
            };
            if name.starts_with('.') && name.ends_with(&format!("{ENDING}{PARTIAL}")) {
                if now.duration_since(modified).is_ok_and(|age| age > STALE) {
                    remove(&entry.path())?;
                    removed += 1;
                }
            } else if name.ends_with(ENDING) {
                archives.push((
                    entry.path() != newest,
                    std::cmp::Reverse(modified),
                    metadata.len(),
                    entry.path(),
                ));
            }
        }
        archives.sort();
        let (mut count, mut size) = (0_usize, 0_u64);
        for (may_go, _, length, path) in archives {
            (count, size) = (count.saturating_add(1), size.saturating_add(length));
            let is_too_much = self.max_archives.is_some_and(|max| count > max)
                || self.max_size.is_some_and(|max| size > max);
            if may_go && is_too_much {
                remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs::File;

    use super::*;

    fn shelf(max_archives: Option<usize>, max_size: Option<u64>) -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { dir: dir.path().to_owned(), max_archives, max_size };
        (dir, shelf)
    }

    /// Puts ten bytes that are this old.
    fn put(path: &Path, hours: u64) {
        fs::write(path, "0123456789").unwrap();
        let when = SystemTime::now() - Duration::from_secs(hours * 60 * 60);
        File::options().write(true).open(path).unwrap().set_modified(when).unwrap();
    }

    fn left(shelf: &Shelf) -> Vec<String> {
        let entries = fs::read_dir(&shelf.dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_stay_in_the_directory_and_short_and_keep_the_container() {
        assert_eq!(name(&["fw/1", "../exec", "c"]), "fw_1-.._exec-c");
        assert_eq!(name(&["", ".hidden", ""]), "hidden");
        assert_eq!(name(&["", "..", ""]), "executor");
        let long = "x".repeat(400);
        let found = name(&[&long, &long, "0f6b1c1e-8c1f-4d43-b7c7-1b9f8f3a2a11"]);
        assert!(found.ends_with("-0f6b1c1e-8c1f-4d43-b7c7-1b9f8f3a2a11"));
        let (_dir, shelf) = shelf(None, None);
        let (_, partial) = shelf.paths(&name(&[&long, &long, &long]));
        fs::write(partial, "fits").unwrap();
    }

    #[test]
    fn the_oldest_go_until_few_enough_are_left() {
        let (_dir, shelf) = shelf(Some(2), None);
        for (name, hours) in [("a", 3), ("b", 1), ("c", 2), ("d", 0)] {
            put(&shelf.paths(name).0, hours);
        }
        assert_eq!(shelf.tidy(&shelf.paths("d").0).unwrap(), 2);
        assert_eq!(left(&shelf), ["b.sandbox.tar.gz", "d.sandbox.tar.gz"]);
    }

    #[test]
    fn the_oldest_go_until_they_are_small_enough_but_never_the_newest() {
        let (_dir, mut shelf) = shelf(None, Some(25));
        for (name, hours) in [("a", 3), ("b", 2), ("c", 1)] {
            put(&shelf.paths(name).0, hours);
        }
        let newest = shelf.paths("a").0;
        assert_eq!(shelf.tidy(&newest).unwrap(), 1);
        assert_eq!(
            left(&shelf),
            ["a.sandbox.tar.gz", "c.sandbox.tar.gz"],
            "`a` was made again just now"
        );
        shelf.max_size = Some(1);
        shelf.tidy(&newest).unwrap();
        assert_eq!(left(&shelf), ["a.sandbox.tar.gz"]);
    }

    #[test]
    fn what_is_not_an_archive_of_ours_stays_and_what_died_half_way_goes() {
        let (_dir, shelf) = shelf(Some(1), Some(1));
        let newest = shelf.paths("new").0;
        put(&newest, 0);
        put(&shelf.dir.join("backup.tar.gz"), 500);
        put(&shelf.paths("now").1, 1);
        put(&shelf.paths("dead").1, 25);
        fs::create_dir(shelf.paths("folder").0).unwrap();
        assert_eq!(shelf.tidy(&newest).unwrap(), 1);
        assert_eq!(
            left(&shelf),
            [
                ".now.sandbox.tar.gz.partial",
                "backup.tar.gz",
                "folder.sandbox.tar.gz",
                "new.sandbox.tar.gz"
            ]
        );
    }
}
