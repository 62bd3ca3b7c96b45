//! `docs/config.md` is written from the flags themselves and may not fall behind them.
//!
//! `UPDATE_DOCS=1 cargo test -p mezzo-integration-tests --test generated_docs` writes it anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

use std::path::Path;

use mezzo_runtime::config::markdown_table;

const INTRODUCTION: &str = "\
# Flags

(Generated from the flags themselves; a test fails when this page falls behind.)

Every flag is `--name=value`, `--name value`, or an environment variable; the command line wins. Underscores and dashes are
the same (`--work_dir`, `--work-dir`). Booleans are `--name`, `--no-name` or `--name=true|false`. Any value may be
`file:///path`: the content of that file counts. Durations are `100ms`, `5secs`, `10mins`, `1hrs`, `2weeks`; sizes are
`512MB`, `2GB`. What is wrong ends the program with exit code 2 and one line that says what was expected.
What can be read but turns out at the start not to be had (a port in use, an address that is none, a module or manifest that
is not there or not in order) ends it with exit code 1, and one line too.
";

#[test]
fn the_page_of_flags_is_up_to_date() {
    let page = format!(
        "{INTRODUCTION}\n## mezzo-master\n\n{}\n## mezzo-agent\n\n{}",
        markdown_table::<mezzo_master::Flags>(),
        markdown_table::<mezzo_agent::flags::Flags>()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(a, b)| a != b);
    assert!(
        written == page,
        "docs/config.md is stale (first difference in line {}): run this test with UPDATE_DOCS=1",
        differs.map_or(written.lines().count(), |line| line) + 1
    );
}

#[test]
fn every_declared_number_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let mut missing = Vec::new();
    let mut found = 0;
    for folder in ["master/src", "agent/src", "runtime/src/serve", "runtime/src/layers"] {
        for text in sources(&root.join(folder)) {
            for name in declared_numbers(&text) {
                found += 1;
                if !page.contains(&format!("_{name}")) {
                    missing.push(format!("{folder}: {name}"));
                }
            }
        }
    }
    assert!(found > 20, "only {found} numbers found: has their declaration changed?");
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
}

/// The names in `.counter("name", …)` and its kind, wherever the line breaks.
fn declared_numbers(text: &str) -> Vec<String> {
    let kinds = ["counter", "gauge", "gauge_f64", "time_histogram", "histogram"];
    let calls = kinds.iter().flat_map(|kind| [format!(".{kind}("), format!(".{kind}_by(")]);
    calls
        .flat_map(|call| {
            let names = text.split(&call).skip(1).filter_map(|rest| {
                let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
                Some(name.to_owned())
            });
            names.collect::<Vec<_>>()
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    all
}
