//! Executing the program, and saying in one sentence why that did not work.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::say;
use crate::launch::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SETUP_FAILED, LaunchSpec};

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes the program of the spec; returns (an exit code) only when that fails.
pub(super) fn program(spec: &LaunchSpec) -> u8 {
    let environment = environment(&spec.env);
    let (Some(argv), Some(envp)) = (c_strings(&spec.argv), c_strings(&environment)) else {
        say("the arguments contain a NUL character");
        return EXIT_SETUP_FAILED;
    };
    let name = &spec.program;
    let failure = if name.contains('/') {
        execute(Path::new(name), &argv, &envp)
    } else {
        let path = spec
            .env
            .iter()
            .rev()
            .find(|(key, _)| key == "PATH")
            .map_or(DEFAULT_PATH, |(_, value)| value.as_str());
        search(name, path, &argv, &envp)
    };
    let (reason, code) = explain(name, failure);
    say(&format!("cannot run {name:?}: {reason}"));
    code
}

/// Tries the directories of PATH one after the other, as execvp does: one that may not be executed does not end the search,
/// but is what is told in the end.
fn search(name: &str, path: &str, argv: &[CString], envp: &[CString]) -> Errno {
    let mut worst = Errno::ENOENT;
    for directory in path.split(':') {
        // An empty entry is the current directory.
        let directory = if directory.is_empty() { "." } else { directory };
        match execute(&Path::new(directory).join(name), argv, envp) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => worst = Errno::EACCES,
            other => return other,
        }
    }
    worst
}

fn execute(path: &Path, argv: &[CString], envp: &[CString]) -> Errno {
    match CString::new(path.as_os_str().as_bytes()) {
        Ok(path) => match nix::unistd::execve(&path, argv, envp) {
            Ok(never) => match never {},
            Err(errno) => errno,
        },
        Err(_) => Errno::ENOENT,
    }
}

fn explain(name: &str, errno: Errno) -> (String, u8) {
    match errno {
        Errno::ENOENT if name.contains('/') && Path::new(name).exists() => {
            ("the interpreter that it names was not found".to_owned(), EXIT_NOT_EXECUTABLE)
        }
        Errno::ENOENT | Errno::ENOTDIR if name.contains('/') => {
            ("there is no such file".to_owned(), EXIT_NOT_FOUND)
        }
        Errno::ENOENT | Errno::ENOTDIR => ("not found in PATH".to_owned(), EXIT_NOT_FOUND),
        Errno::EACCES => {
            ("permission denied (is it an executable file?)".to_owned(), EXIT_NOT_EXECUTABLE)
        }
        Errno::ENOEXEC => (
            "not a program of this machine (is a #! line missing?)".to_owned(),
            EXIT_NOT_EXECUTABLE,
        ),
        Errno::E2BIG => ("arguments and environment are too long".to_owned(), EXIT_NOT_EXECUTABLE),
        other => (other.desc().to_owned(), EXIT_NOT_EXECUTABLE),
    }
}

/// `NAME=value` for each name once; the later of two entries counts, at its own place.
fn environment(entries: &[(String, String)]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = entries
        .iter()
        .rev()
        .filter(|(name, _)| seen.insert(name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    kept.reverse();
    kept
}

fn c_strings<S: AsRef<OsStr>>(texts: &[S]) -> Option<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_ref().as_bytes()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_variables_with_one_name_the_later_counts() {
        let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let entries = [entry("A", "1"), entry("B", "2"), entry("A", "3=4")];
        assert_eq!(environment(&entries), ["B=2", "A=3=4"]);
    }

    #[test]
    fn every_reason_is_a_sentence_with_the_right_code() {
        assert_eq!(explain("x", Errno::ENOENT), ("not found in PATH".to_owned(), EXIT_NOT_FOUND));
        assert_eq!(explain("/no/x", Errno::ENOENT).1, EXIT_NOT_FOUND);
        assert_eq!(explain("/etc/passwd", Errno::ENOENT).1, EXIT_NOT_EXECUTABLE);
        assert_eq!(explain("/etc/passwd", Errno::EACCES).1, EXIT_NOT_EXECUTABLE);
        assert_eq!(explain("x", Errno::EIO).1, EXIT_NOT_EXECUTABLE);
    }
}
