//! What users write, and what they get.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;

use super::*;

/// A process for tests.
#[derive(Debug, Parser)]
#[command(name = "mezzo-sample", version)]
struct Sample {
    /// Address to bind.
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// State directory.
    #[arg(long)]
    work_dir: String,
    /// How long to wait | for a pong.
    #[arg(long, default_value = "15secs")]
    ping_timeout: DurationArg,
    /// Cache size.
    #[arg(long, default_value = "2GB", alias = "old-cache-size")]
    cache_size: Bytes,
    /// Off unless asked.
    #[arg(long)]
    quiet: bool,
    /// On unless refused.
    #[arg(long, default_value_t = true)]
    lookup: bool,
    /// Neither.
    #[arg(long)]
    maybe: Option<bool>,
    /// How often.
    #[arg(long, default_value_t = 5)]
    count: u16,
    /// How loud.
    #[arg(long, default_value = "INFO", value_parser = ["INFO", "WARNING", "ERROR"])]
    level: String,
}

fn run(args: &[&str]) -> Result<Parsed<Sample>, FlagError> {
    run_with(args, &[])
}

fn run_with(args: &[&str], environment: &[(&str, &str)]) -> Result<Parsed<Sample>, FlagError> {
    let args = std::iter::once("mezzo-sample").chain(args.iter().copied());
    try_parse(args, |name| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// The one line a user sees.
fn complaint(args: &[&str]) -> String {
    let text = run(args).unwrap_err().to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    text
}

#[test]
fn underscores_dashes_and_a_following_value_are_the_same_flag() {
    for args in
        [&["--work_dir=/x"][..], &["--work-dir=/x"], &["--work_dir", "/x"], &["--work-dir", "/x"]]
    {
        assert_eq!(run(args).unwrap().config.work_dir, "/x");
    }
}

#[test]
fn booleans_can_be_set_and_negated() {
    let get = |args: &[&str]| {
        let args = [&["--work_dir=/x"], args].concat();
        let config = run(&args).unwrap().config;
        (config.quiet, config.lookup, config.maybe)
    };
    assert_eq!(get(&[]), (false, true, None));
    assert_eq!(get(&["--quiet", "--no-lookup"]), (true, false, None));
    assert_eq!(get(&["--quiet=true", "--lookup=false"]), (true, false, None));
    assert_eq!(get(&["--no_quiet", "--maybe"]), (false, true, Some(true)));
    assert_eq!(get(&["--no-maybe"]), (false, true, Some(false)));
}

#[test]
fn an_alias_counts() {
    let parsed = run(&["--work_dir=/x", "--old_cache_size=10KB"]).unwrap();
    assert_eq!(parsed.config.cache_size, Bytes(10 << 10));
}

#[test]
fn the_environment_fills_in_and_the_command_line_wins() {
    let environment = [("MEZZO_WORK_DIR", "/env"), ("MEZZO_COUNT", "7"), ("MEZZO_QUIET", "1")];
    let parsed = run_with(&["--count=8"], &environment).unwrap();
    assert_eq!(parsed.config.work_dir, "/env");
    assert_eq!(parsed.config.count, 8);
    assert!(parsed.config.quiet);
}

#[test]
fn a_file_value_is_read_and_trimmed_but_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "/from/file\n").unwrap();
    let written = format!("file://{}", file.path().display());
    let parsed = run(&[&format!("--work_dir={written}")]).unwrap();
    assert_eq!(parsed.config.work_dir, "/from/file");
    assert_eq!(parsed.effective["work_dir"], written);
}

#[test]
fn effective_flags_hold_defaults_and_leave_out_the_unset() {
    let parsed = run(&["--work-dir=/x", "--quiet"]).unwrap();
    assert_eq!(parsed.effective["work_dir"], "/x");
    assert_eq!(parsed.effective["quiet"], "true");
    assert_eq!(parsed.effective["ping_timeout"], "15secs");
    assert_eq!(parsed.effective["lookup"], "true");
    assert!(!parsed.effective.contains_key("maybe"));
    assert!(!parsed.effective.contains_key("help"));
}

#[test]
fn every_mistake_is_one_line_that_says_what_was_expected() {
    let cases: &[(&[&str], &str)] = &[
        (&["--work_dri=/x"], "unknown flag --work_dri: expected perhaps --work_dir"),
        (&["--frobnicate"], "unknown flag --frobnicate: expected one of those that --help lists"),
        (&["--work_dir"], "flag --work_dir needs a value: expected --work_dir=WORK_DIR"),
        (
            &[],
            "flag --work_dir is required: expected --work_dir=WORK_DIR or MEZZO_WORK_DIR (State directory)",
        ),
        (
            &["--work_dir=/x", "--ping_timeout=5minutes"],
            "flag --ping_timeout: got \"5minutes\", expected a duration such as 5secs (units: ns, us, ms, secs, mins, hrs, days, weeks)",
        ),
        (
            &["--work_dir=/x", "--cache_size=-1GB"],
            "flag --cache_size: got \"-1GB\", expected a size such as 512MB (units: B, KB, MB, GB, TB; 1KB is 1024 bytes)",
        ),
        (
            &["--work_dir=/x", "--count=70000"],
            "flag --count: got \"70000\", which does not fit: 70000 is not in 0..=65535",
        ),
        (
            &["--work_dir=/x", "--quiet=perhaps"],
            "flag --quiet: got \"perhaps\", expected true or false",
        ),
        (
            &["--work_dir=/x", "--no-quiet=true"],
            "flag --no-quiet takes no value: expected --no-quiet or --quiet=true|false",
        ),
        (
            &["--work_dir=/x", "--level=LOUD"],
            "flag --level: got \"LOUD\", expected one of INFO, WARNING, ERROR",
        ),
        (
            &["--work_dir=/x", "--ip=localhost"],
            "flag --ip: got \"localhost\", expected an IP address (invalid IP address syntax)",
        ),
        (
            &["--work_dir=/x", "--work-dir=/y"],
            "flag --work_dir was given more than once: expected it once",
        ),
        (&["--work_dir=/x", "stray"], "unexpected argument 'stray' found"),
        (
            &["--work_dir=file:///does/not/exist"],
            "flag --work_dir: cannot read /does/not/exist: No such file or directory (os error 2); \
             expected file:// and the path of a readable text file",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(complaint(args), *expected, "for {args:?}");
    }
}

#[test]
fn a_wrong_value_from_the_environment_names_the_variable() {
    let error = run_with(&["--work_dir=/x"], &[("MEZZO_COUNT", "many")]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("flag --count (from MEZZO_COUNT): got \"many\""), "{text}");
}

#[test]
fn help_is_not_an_error_and_shows_underscores() {
    let Err(FlagError::Help(text)) = run(&["--help"]) else {
        unreachable!("--help must give help");
    };
    assert!(text.contains("--work_dir"), "{text}");
}

#[test]
fn the_table_lists_every_flag_with_its_default() {
    let table = markdown_table::<Sample>();
    assert!(table.contains(
        "| `--ping_timeout` | `MEZZO_PING_TIMEOUT` | `15secs` | How long to wait \\| for a pong |"
    ), "{table}");
    assert!(table.contains("| `--[no-]lookup` | `MEZZO_LOOKUP` | `true` |"), "{table}");
    assert!(table.contains("| `--work_dir` | `MEZZO_WORK_DIR` | required |"), "{table}");
}

#[test]
fn durations_read_as_mesos_writes_them() {
    let cases = [
        ("5secs", Duration::from_secs(5)),
        ("10mins", Duration::from_secs(600)),
        ("1hrs", Duration::from_secs(3600)),
        ("1.5hrs", Duration::from_secs(5400)),
        ("100ms", Duration::from_millis(100)),
        ("2weeks", Duration::from_secs(1_209_600)),
        ("3days", Duration::from_secs(259_200)),
        ("7us", Duration::from_micros(7)),
        ("9ns", Duration::from_nanos(9)),
        ("0secs", Duration::ZERO),
    ];
    for (text, expected) in cases {
        let read: DurationArg = text.parse().unwrap();
        assert_eq!(read.get(), expected, "{text}");
        assert_eq!(read.to_string().parse(), Ok(read), "{text} does not round-trip");
    }
    for wrong in [
        "",
        "5",
        "secs",
        "-5secs",
        "5 secs",
        "5seconds",
        "1e9secs",
        "nansecs",
        "infsecs",
        "1..5secs",
        ".5secs",
        "5.secs",
        "99999999999999999999weeks",
        "18446744073709551615secs",
    ] {
        assert!(wrong.parse::<DurationArg>().is_err(), "{wrong:?} was accepted");
    }
}

#[test]
fn sizes_read_as_mesos_writes_them() {
    let cases = [
        ("2GB", 2 << 30),
        ("512MB", 512 << 20),
        ("10KB", 10 << 10),
        ("0.5KB", 512),
        ("1B", 1),
        ("3TB", 3 << 40),
    ];
    for (text, expected) in cases {
        let read: Bytes = text.parse().unwrap();
        assert_eq!(read.get(), expected, "{text}");
        assert_eq!(read.to_string().parse(), Ok(read));
    }
    for wrong in ["", "5", "GB", "-1GB", "1gb", "1 GB", "99999999999TB"] {
        assert!(wrong.parse::<Bytes>().is_err(), "{wrong:?} was accepted");
    }
}

/// A tool with subcommands, as the command line for people is.
#[derive(Debug, Parser)]
struct Tool {
    /// Where.
    #[arg(long, global = true, default_value = "127.0.0.1:5050")]
    master: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Runs something.
    Run {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 1)]
        instance_count: u32,
        /// Whether to say everything.
        #[arg(long, short)]
        verbose: bool,
        /// What.
        command: Vec<String>,
    },
}

#[test]
fn subcommands_have_their_own_flags_and_what_follows_two_dashes_is_left_alone() {
    let args =
        ["tool", "--master=m:1", "run", "--instance-count", "3", "--", "ls", "--work-dir", "run"];
    let tool = try_parse::<Tool, _>(args, |_| None).unwrap().config;
    let Verb::Run { instance_count, command, verbose: _ } = tool.verb;
    assert_eq!((tool.master.as_str(), instance_count), ("m:1", 3));
    assert_eq!(command, ["ls", "--work-dir", "run"]);
    let error = try_parse::<Tool, _>(["tool", "run", "--instance-cuont=3", "ls"], |_| None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "unknown flag --instance-cuont: expected perhaps --instance_count"
    );
}

#[test]
fn a_global_flag_may_stand_before_or_after_the_subcommand_and_wins_over_the_environment() {
    let environment = |name: &str| (name == "MEZZO_MASTER").then(|| "env:1".to_owned());
    let master = |args: &[&str]| {
        try_parse::<Tool, _>(args.iter().copied(), environment).unwrap().config.master
    };
    assert_eq!(master(&["tool", "run", "ls"]), "env:1");
    assert_eq!(master(&["tool", "--master=m:1", "run", "ls"]), "m:1");
    assert_eq!(master(&["tool", "run", "--master", "m:1", "ls"]), "m:1");
}

#[test]
fn a_short_switch_means_true_and_leaves_what_follows_alone() {
    let verbose = |args: &[&str]| {
        let Verb::Run { verbose, command, .. } =
            try_parse::<Tool, _>(args.iter().copied(), |_| None).unwrap().config.verb;
        assert_eq!(command, ["ls"]);
        verbose
    };
    assert!(verbose(&["tool", "run", "-v", "ls"]));
    assert!(verbose(&["tool", "run", "--verbose", "ls"]));
    assert!(!verbose(&["tool", "run", "--no-verbose", "ls"]));
    assert!(!verbose(&["tool", "run", "ls"]));
}
