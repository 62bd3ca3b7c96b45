//! Packs a directory into a compressed archive, without following a link out of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;

type Builder = tar::Builder<GzEncoder<File>>;

/// A file name out of ids, which may hold anything but a slash is a folder and a dot in front is hidden.
pub(crate) fn file_stem(parts: &[String]) -> String {
    let safe =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let joined =
        parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("-");
    let stem: String = joined.chars().map(safe).take(200).collect();
    let stem = stem.trim_start_matches('.');
    if stem.is_empty() { "executor".to_owned() } else { stem.to_owned() }
}

/// Packs `dir` into `archive`; returns what was left out. An archive of the same name is replaced at the end, at once.
pub(crate) fn pack(dir: &Path, archive: &Path, max_bytes: u64) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?;
    let partial = archive.with_extension(format!("partial.{}", std::process::id()));
    let packed = (|| {
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        builder.follow_symlinks(false);
        let mut left_out = Vec::new();
        add_all(&mut builder, entries, Path::new(""), max_bytes, &mut left_out)?;
        builder.into_inner()?.finish()?.sync_data()?;
        fs::rename(&partial, archive)?;
        Ok(left_out)
    })();
    if packed.is_err() {
        let _ = fs::remove_file(&partial);
    }
    packed
}

fn add_all(
    builder: &mut Builder,
    entries: fs::ReadDir,
    below: &Path,
    max: u64,
    left_out: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        // One that vanishes meanwhile is not missed.
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            builder.append_dir(&name, &path)?;
            if let Ok(inside) = fs::read_dir(&path) {
                add_all(builder, inside, &name, max, left_out)?;
            }
        } else if kind.is_symlink() {
            builder.append_path_with_name(&path, &name)?;
        } else if kind.is_file() && metadata.len() <= max {
            add_file(builder, &path, &name)?;
        } else {
            left_out.push(path);
        }
    }
    Ok(())
}

/// Adds a file with exactly the size its header says: one that grows is cut, one that shrinks is filled up.
fn add_file(builder: &mut Builder, path: &Path, name: &Path) -> io::Result<()> {
    // What was a file a moment ago may be a link or a pipe now.
    let careful = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let Ok(file) = File::options().read(true).custom_flags(careful).open(path) else {
        return Ok(());
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&metadata);
    let size = metadata.len();
    header.set_size(size);
    let content = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
    builder.append_data(&mut header, name, content)
}
