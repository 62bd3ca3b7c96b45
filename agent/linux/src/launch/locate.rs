//! Where the launcher binary is: beside the agent's own executable.

use std::io;
use std::path::{Path, PathBuf};

/// The file name of the launcher.
pub const LAUNCHER: &str = "mezzo-launcher";

/// Looks for `mezzo-launcher` beside the running executable, one level up (a test of cargo lives in `deps/`), and in
/// `../lib/mezzo`.
///
/// # Errors
/// Not found: the text lists the places.
pub fn find_launcher() -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let places = places(&executable);
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no {LAUNCHER} at any of: {}", looked.join(", ")),
        )
    })
}

fn places(executable: &Path) -> Vec<PathBuf> {
    let Some(dir) = executable.parent() else {
        return Vec::new();
    };
    let mut places = vec![dir.join(LAUNCHER), dir.join("deps").join(LAUNCHER)];
    if let Some(above) = dir.parent() {
        places.push(above.join(LAUNCHER));
        places.push(above.join("lib/mezzo").join(LAUNCHER));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_beside_the_executable_first() {
        let found = places(Path::new("/opt/mezzo/bin/mezzo-agent"));
        assert_eq!(
            found.first().map(PathBuf::as_path),
            Some(Path::new("/opt/mezzo/bin/mezzo-launcher"))
        );
        assert!(found.contains(&PathBuf::from("/opt/mezzo/lib/mezzo/mezzo-launcher")));
    }
}
