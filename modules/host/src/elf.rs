//! Is this a whole ELF library for this machine? Looked at without loading it: the dynamic loader maps what the headers say and
//! dies with SIGBUS when the file ends before.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is wrong: found, and expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) found: String,
    pub(crate) expected: String,
}

const EXPECTED: &str = "an ELF shared library";
const PIECE: usize = 64 * 1024;
const LOAD_SEGMENT: u32 = 1;
const STRING_TABLE: u32 = 3;
const LOADED: u64 = 2;
/// The symbol of a module library, as it stands in its string table.
const ROOT_SYMBOL: &[u8] = b"_1as_0lib_1header_0root_bmodule_bloader";

/// What can be looked at piece by piece.
pub(crate) trait Content {
    /// How long it is.
    fn size(&self) -> u64;
    /// Fills the piece with what stands at this place; `None` if it ends before.
    fn read_at(&self, at: u64, piece: &mut [u8]) -> Option<()>;
}

impl Content for File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, at: u64, piece: &mut [u8]) -> Option<()> {
        self.read_exact_at(piece, at).ok()
    }
}

/// Checks a file.
pub(crate) fn check(content: &impl Content) -> Result<(), Mismatch> {
    let beginning = beginning(content);
    match beginning.get(..4) {
        Some(b"\x7fELF") => {}
        _ if beginning.is_empty() => return wrong("an empty file", EXPECTED),
        Some(b"!<ar") => return wrong("a static archive", EXPECTED),
        _ if beginning.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            return wrong("a text file", EXPECTED);
        }
        _ => return wrong("no ELF file", EXPECTED),
    }
    let header = Reader { content };
    if header.byte(4) != Some(class()) {
        return wrong("an ELF file of another word size", &format!("{} bits", usize::BITS));
    }
    if header.byte(5) != Some(byte_order()) {
        return wrong("an ELF file of another byte order", "the byte order of this machine");
    }
    let machine = header.half(18);
    if machine.is_some() && machine != this_machine() {
        let expected =
            format!("machine {} ({})", this_machine().unwrap_or_default(), std::env::consts::ARCH);
        return wrong(
            &format!("an ELF file for machine {}", machine.unwrap_or_default()),
            &expected,
        );
    }
    match header.half(16) {
        Some(3) => {}
        Some(1) => return wrong("an ELF object file", EXPECTED),
        Some(2) => return wrong("an ELF executable", EXPECTED),
        Some(other) => return wrong(&format!("an ELF file of type {other}"), EXPECTED),
        None => {
            return wrong(
                "a truncated ELF file",
                &format!("at least 64 bytes, it has {}", content.size()),
            );
        }
    }
    match extent(&header) {
        Some(extent) if extent <= content.size() => {}
        Some(extent) => {
            return wrong(
                &format!("a truncated ELF library of {} bytes", content.size()),
                &format!("{extent} bytes"),
            );
        }
        None => return wrong("an ELF library with a damaged header", "a whole one"),
    }
    if !exports_root(&header) {
        let expected = format!(
            "one that exports `{}` (see `export_module!`)",
            String::from_utf8_lossy(ROOT_SYMBOL)
        );
        return wrong("a library that is no Mezzo module", &expected);
    }
    Ok(())
}

/// As much of the beginning as tells a text from other files.
fn beginning(content: &impl Content) -> Vec<u8> {
    let size = usize::try_from(content.size()).unwrap_or(usize::MAX).min(512);
    let mut piece = vec![0; size];
    if content.read_at(0, &mut piece).is_none() {
        piece.clear();
    }
    piece
}

/// Where the last thing ends that the headers speak of.
fn extent(header: &Reader<'_, impl Content>) -> Option<u64> {
    let (segments, sections) = (header.word(32)?, header.word(40)?);
    let (segment_size, segment_count) = (u64::from(header.half(54)?), u64::from(header.half(56)?));
    let (section_size, section_count) = (u64::from(header.half(58)?), u64::from(header.half(60)?));
    let mut end = segments.checked_add(segment_size.checked_mul(segment_count)?)?;
    end = end.max(sections.checked_add(section_size.checked_mul(section_count)?)?);
    for index in 0..segment_count {
        let at = segments.checked_add(index.checked_mul(segment_size)?)?;
        // A table beyond the end of the file is told by `end`.
        let Some((kind, offset, size)) = segment(header, at) else { break };
        if kind == LOAD_SEGMENT {
            end = end.max(offset.checked_add(size)?);
        }
    }
    Some(end)
}

fn segment(header: &Reader<'_, impl Content>, at: u64) -> Option<(u32, u64, u64)> {
    Some((header.int(at)?, header.word(at.checked_add(8)?)?, header.word(at.checked_add(32)?)?))
}

/// Whether the names of the dynamic symbols have ours among them. A library without section headers is not told here but
/// when it is opened.
fn exports_root(header: &Reader<'_, impl Content>) -> bool {
    let tables = (|| {
        let (start, size, count) =
            (header.word(40)?, u64::from(header.half(58)?), u64::from(header.half(60)?));
        let at = |index: u64| start.checked_add(index.checked_mul(size)?);
        Some((0..count).filter_map(|index| loaded_strings(header, at(index)?)).collect::<Vec<_>>())
    })();
    tables.is_none_or(|tables| {
        tables.is_empty()
            || tables.into_iter().any(|(start, end)| holds(header.content, start, end, ROOT_SYMBOL))
    })
}

/// Where a section begins and ends, if it is a string table that is loaded: the one of the dynamic symbols.
fn loaded_strings(header: &Reader<'_, impl Content>, at: u64) -> Option<(u64, u64)> {
    let strings = header.int(at.checked_add(4)?)? == STRING_TABLE;
    let loaded = header.word(at.checked_add(8)?)? & LOADED != 0;
    let (offset, size) = (header.word(at.checked_add(24)?)?, header.word(at.checked_add(32)?)?);
    let end = offset.checked_add(size)?.min(header.content.size());
    (strings && loaded).then_some((offset, end))
}

/// Whether one of the strings of a table, which end with zeros, is the wanted one.
fn holds(content: &impl Content, start: u64, end: u64, wanted: &[u8]) -> bool {
    let (mut at, mut string) = (start, Vec::new());
    while at < end {
        let size = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
        let mut piece = vec![0; size];
        if content.read_at(at, &mut piece).is_none() {
            return false;
        }
        for byte in piece {
            match byte {
                0 if string == wanted => return true,
                0 => string.clear(),
                // No longer than it takes to see that it is another one.
                byte if string.len() <= wanted.len() => string.push(byte),
                _ => {}
            }
        }
        at += size as u64;
    }
    false
}

fn wrong(found: &str, expected: &str) -> Result<(), Mismatch> {
    Err(Mismatch { found: found.to_owned(), expected: expected.to_owned() })
}

fn class() -> u8 {
    if usize::BITS == 64 { 2 } else { 1 }
}

fn byte_order() -> u8 {
    if cfg!(target_endian = "little") { 1 } else { 2 }
}

fn this_machine() -> Option<u16> {
    match std::env::consts::ARCH {
        "x86_64" => Some(62),
        "aarch64" => Some(183),
        "riscv64" => Some(243),
        "powerpc64" => Some(21),
        "s390x" => Some(22),
        _ => None,
    }
}

/// Numbers at places of a file of this machine's byte order.
struct Reader<'a, C> {
    content: &'a C,
}

impl<C: Content> Reader<'_, C> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.content.read_at(at, &mut bytes)?;
        Some(bytes)
    }

    fn byte(&self, at: u64) -> Option<u8> {
        self.bytes(at).map(|[byte]| byte)
    }

    fn half(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_ne_bytes)
    }

    fn int(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_ne_bytes)
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    impl Content for &[u8] {
        fn size(&self) -> u64 {
            self.len() as u64
        }

        fn read_at(&self, at: u64, piece: &mut [u8]) -> Option<()> {
            let start = usize::try_from(at).ok()?;
            piece.copy_from_slice(self.get(start..start.checked_add(piece.len())?)?);
            Some(())
        }
    }

    fn found(content: &[u8]) -> String {
        check(&content).unwrap_err().found
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(found(b""), "an empty file");
        assert_eq!(found(b"#!/bin/sh\nexit 0\n"), "a text file");
        assert_eq!(found(b"!<arch>\nfoo"), "a static archive");
        assert_eq!(found(&[0, 1, 2, 3, 200]), "no ELF file");
    }

    #[test]
    fn this_very_executable_is_no_module() {
        let content = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // A position-independent executable is of the same type as a library.
        let _ = check(&content.as_slice());
        let mut other = content.clone();
        other[18] = 8;
        other[19] = 0;
        assert!(found(&other).starts_with("an ELF file for machine 8"));
        assert!(found(&content[..content.len() / 2]).starts_with("a truncated ELF"));
        assert!(
            found(&content[..40]).contains("damaged")
                || found(&content[..40]).contains("truncated")
        );
    }

    #[test]
    fn no_number_in_a_header_panics() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // The file header, the segments behind it, and the sections at the end.
        let sections = Reader { content: &whole.as_slice() }.word(40).unwrap();
        let sections = usize::try_from(sections).unwrap();
        for at in (4..1000).chain(sections..whole.len()).step_by(3) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut content = whole.get(..1000).unwrap().to_vec();
                if at >= 1000 {
                    content = whole[sections..].to_vec();
                    content.splice(..0, whole[..64].iter().copied());
                    // Where they are now.
                    content.splice(40..48, 64_u64.to_ne_bytes());
                }
                let at = if at >= 1000 { at - sections + 64 } else { at };
                content[at] = value;
                let _ = check(&content.as_slice());
            }
        }
    }

    #[test]
    fn no_prefix_of_an_elf_file_panics() {
        let content = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for end in 0..content.len().min(1000) {
            assert!(check(&&content[..end]).is_err());
        }
    }
}
