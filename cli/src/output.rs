//! What is written where: answers to stdout, remarks to stderr.
//!
//! A reader that goes away (`mezzo tasks | head`) is no error: the rest is dropped.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use mezzo_proto::v1;
use prost::{Message, Name};

use crate::CliError;

/// A table for people.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Programs and pipes get whole lines, whatever their width.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for line in table.to_string().lines() {
        // Without borders each line still has the space beside them.
        answer(line.trim_end().strip_prefix(' ').unwrap_or(line));
    }
}

/// A message for programs: one line of JSON, as Mesos writes it.
pub(crate) fn json<M: Message + Name>(message: &M) -> Result<(), CliError> {
    answer(&mezzo_proto::json::to_string(message)?);
    Ok(())
}

/// A line of the answer.
pub(crate) fn answer(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Something for people that is not the answer.
pub(crate) fn remark(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Bytes as a task wrote them.
pub(crate) fn bytes(error: bool, bytes: &[u8]) {
    let written = if error {
        std::io::stderr().lock().write_all(bytes)
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    let _ = written;
}

/// Whether a person sees what is written to stderr.
pub(crate) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// The sum of a scalar resource.
pub(crate) fn scalar(resources: &[v1::Resource], name: &str) -> f64 {
    let same = resources.iter().filter(|resource| resource.name == name);
    let sum: f64 = same.filter_map(|resource| resource.scalar.as_ref()).map(|s| s.value).sum();
    // Three decimals, as resources have; the sum of nothing is -0.
    (sum * 1000.0).round() / 1000.0 + 0.0
}

/// `TASK_RUNNING` as `running`.
pub(crate) fn state(state: v1::TaskState) -> String {
    let name = state.as_str_name();
    name.strip_prefix("TASK_").unwrap_or(name).to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_plain_words() {
        assert_eq!(state(v1::TaskState::TaskRunning), "running");
        assert_eq!(state(v1::TaskState::TaskGoneByOperator), "gone by operator");
    }
}
