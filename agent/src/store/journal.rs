//! The format of a journal: a line that says what it is, then records, each with its length and a checksum before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use mezzo_proto::state::v1::RunRecord;
use prost::Message as _;

/// The first bytes of every journal. A format that older agents cannot read gets another number.
const HEADER: &[u8] = b"mezzo run 1\n";
/// Length and checksum, both little endian.
const FRAME: usize = 8;

/// Appends the framed record to `out`.
pub(crate) fn frame(record: &RunRecord, out: &mut Vec<u8>) {
    let payload = record.encode_to_vec();
    // A record is at most one message of a few megabytes.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
}

/// Opens a journal to append to it. A new one gets its header.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() == 0 {
        file.write_all(HEADER)?;
    }
    Ok(file)
}

/// A whole journal with these records.
pub(crate) fn whole(records: &[RunRecord]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for record in records {
        frame(record, &mut bytes);
    }
    bytes
}

/// What a journal says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The records that are whole.
    pub(crate) records: Vec<RunRecord>,
    /// What is wrong with the rest, if there is a rest.
    pub(crate) damage: Option<String>,
}

/// Reads a journal up to the first thing that is wrong, and cuts that off so that later records can be found.
pub(crate) fn read(path: &Path) -> io::Result<Read> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    let content = Bytes::from(content);
    let (read, good) = parse(&content);
    if good < content.len() {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(u64::try_from(good).unwrap_or(0))?;
    }
    Ok(read)
}

/// The records, and how many bytes of the content are good.
fn parse(content: &Bytes) -> (Read, usize) {
    let mut read = Read::default();
    if !content.starts_with(HEADER) {
        read.damage = Some(
            if content.is_empty() { "it is empty" } else { "it is no journal of this version" }
                .to_owned(),
        );
        return (read, 0);
    }
    let mut good = HEADER.len();
    while good < content.len() {
        match record(&content.slice(good..)) {
            Ok((record, length)) => {
                read.records.push(record);
                good += length;
            }
            Err(damage) => {
                read.damage = Some(format!("{damage} after {} records", read.records.len()));
                break;
            }
        }
    }
    (read, good)
}

fn record(rest: &Bytes) -> Result<(RunRecord, usize), &'static str> {
    let number =
        |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let (Some(length), Some(sum)) = (number(0), number(4)) else {
        return Err("it ends in the middle of a record");
    };
    let end = usize::try_from(length)
        .ok()
        .and_then(|l| l.checked_add(FRAME))
        .ok_or("a record has no proper length")?;
    if end > rest.len() {
        return Err("it ends in the middle of a record");
    }
    let payload = rest.slice(FRAME..end);
    if checksum(&payload) != sum {
        return Err("a record does not have its checksum");
    }
    let record = RunRecord::decode(payload).map_err(|_| "a record is not a message")?;
    if record.record.is_none() {
        return Err("a record is of an unknown kind");
    }
    Ok((record, end))
}

/// FNV-1a: enough to tell a torn record from a whole one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]
mod tests {
    use bytes::Bytes;
    use mezzo_proto::state::v1::{RunRecord, StatusAcknowledged, run_record::Record};
    use mezzo_proto::v1::TaskId;

    use super::{HEADER, open, parse, read, whole};

    fn acknowledged(task: &str) -> RunRecord {
        let task_id = TaskId { value: task.to_owned() };
        let record = StatusAcknowledged { task_id, uuid: Bytes::from_static(&[7; 16]) };
        RunRecord { record: Some(Record::StatusAcknowledged(record)) }
    }

    #[test]
    fn what_is_written_is_read() {
        let records = vec![acknowledged("a"), acknowledged("b")];
        let (read, good) = parse(&Bytes::from(whole(&records)));
        assert_eq!(read.records, records);
        assert_eq!(read.damage, None);
        assert_eq!(good, whole(&records).len());
    }

    #[test]
    fn a_journal_torn_anywhere_gives_its_whole_records() {
        let bytes = whole(&[acknowledged("a"), acknowledged("b")]);
        let first = whole(&[acknowledged("a")]).len();
        for end in 0..bytes.len() {
            let (read, good) = parse(&Bytes::from(bytes[..end].to_vec()));
            let expected = usize::from(end >= first);
            assert_eq!(read.records.len(), expected, "torn at {end}");
            assert!(good <= end);
        }
    }

    #[test]
    fn a_journal_with_any_byte_changed_does_not_panic_and_keeps_what_is_before() {
        let bytes = whole(&[acknowledged("a"), acknowledged("b")]);
        for at in HEADER.len()..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xff;
            let (read, _) = parse(&Bytes::from(wrong));
            assert!(read.records.len() < 2);
            assert!(read.damage.is_some());
        }
    }

    #[test]
    fn after_a_torn_record_the_journal_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let bytes = whole(&[acknowledged("a"), acknowledged("b")]);
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read(&path).unwrap().records.len(), 1);
        let mut more = Vec::new();
        super::frame(&acknowledged("c"), &mut more);
        std::io::Write::write_all(&mut open(&path).unwrap(), &more).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.records, [acknowledged("a"), acknowledged("c")]);
        assert_eq!(read.damage, None);
    }

    #[test]
    fn an_empty_file_and_garbage_are_no_journals() {
        for content in [&b""[..], b"hello", b"mezzo run 2\nabc"] {
            let (read, _) = parse(&Bytes::from(content.to_vec()));
            assert!(read.records.is_empty() && read.damage.is_some());
        }
    }
}
