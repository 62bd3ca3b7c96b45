//! Is this a whole ELF library for this machine? Looked at without loading it: the dynamic loader maps what the headers say and
//! dies with SIGBUS when the file ends before.

/// What is wrong: found, and expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) found: String,
    pub(crate) expected: String,
}

const EXPECTED: &str = "an ELF shared library";
const LOAD_SEGMENT: u32 = 1;
const STRING_TABLE: u32 = 3;
const LOADED: u64 = 2;
/// The symbol of a module library, as it stands in its string table.
const ROOT_SYMBOL: &[u8] = b"_1as_0lib_1header_0root_bmodule_bloader";

/// Checks the content of a file.
pub(crate) fn check(content: &[u8]) -> Result<(), Mismatch> {
    match content.get(..4) {
        Some(b"\x7fELF") => {}
        _ if content.is_empty() => return wrong("an empty file", EXPECTED),
        Some(b"!<ar") => return wrong("a static archive", EXPECTED),
        _ if content
            .iter()
            .take(512)
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) =>
        {
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
                &format!("at least 64 bytes, it has {}", content.len()),
            );
        }
    }
    match extent(&header) {
        Some(extent) if extent <= content.len() as u64 => {}
        Some(extent) => {
            return wrong(
                &format!("a truncated ELF library of {} bytes", content.len()),
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

/// Where the last thing ends that the headers speak of.
fn extent(header: &Reader<'_>) -> Option<u64> {
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

fn segment(header: &Reader<'_>, at: u64) -> Option<(u32, u64, u64)> {
    let at = usize::try_from(at).ok()?;
    Some((header.int(at)?, header.word(at.checked_add(8)?)?, header.word(at.checked_add(32)?)?))
}

/// Whether the names of the dynamic symbols have ours among them. A library without section headers is not told here but
/// when it is opened.
fn exports_root(header: &Reader<'_>) -> bool {
    let tables = (|| {
        let (start, size, count) =
            (header.word(40)?, u64::from(header.half(58)?), u64::from(header.half(60)?));
        let at = |index: u64| usize::try_from(start.checked_add(index.checked_mul(size)?)?).ok();
        Some((0..count).filter_map(|index| loaded_strings(header, at(index)?)).collect::<Vec<_>>())
    })();
    tables.is_none_or(|tables| {
        tables.is_empty() || tables.into_iter().any(|table| contains(table, ROOT_SYMBOL))
    })
}

/// A section, if it is a string table that is loaded: the one of the dynamic symbols.
fn loaded_strings<'a>(header: &Reader<'a>, at: usize) -> Option<&'a [u8]> {
    let strings = header.int(at.checked_add(4)?)? == STRING_TABLE;
    let loaded = header.word(at.checked_add(8)?)? & LOADED != 0;
    let (offset, size) = (header.word(at.checked_add(24)?)?, header.word(at.checked_add(32)?)?);
    let (start, end) =
        (usize::try_from(offset).ok()?, usize::try_from(offset.checked_add(size)?).ok()?);
    (strings && loaded).then(|| header.content.get(start..end)).flatten()
}

/// Whether one of the strings of a table, which end with zeros, is the wanted one.
fn contains(table: &[u8], wanted: &[u8]) -> bool {
    table.split(|byte| *byte == 0).any(|string| string == wanted)
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
struct Reader<'a> {
    content: &'a [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.content.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.content.get(at).copied()
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_ne_bytes)
    }

    fn int(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_ne_bytes)
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    fn found(content: &[u8]) -> String {
        check(content).unwrap_err().found
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
        let _ = check(&content);
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
    fn no_prefix_of_an_elf_file_panics() {
        let content = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for end in 0..content.len().min(1000) {
            assert!(check(&content[..end]).is_err());
        }
    }
}
