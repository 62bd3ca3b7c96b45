//! What `mezzo run` shall run: one command of the command line, or the lines of a file.

use std::collections::BTreeMap;
use std::path::Path;

use mezzo_sdk::Task;

use crate::CliError;
use crate::args::RunOptions;

/// One task, as often as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    name: String,
    command: Words,
    cpus: f64,
    mem: f64,
    env: Vec<(String, String)>,
    user: Option<String>,
    instances: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Words {
    Shell(String),
    Program(Vec<String>),
}

/// A line of a file of tasks, if it is JSON.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    command: Option<String>,
    argv: Option<Vec<String>>,
    name: Option<String>,
    cpus: Option<f64>,
    mem: Option<f64>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    instances: Option<u32>,
}

/// Everything to run.
pub(crate) fn read(options: &RunOptions) -> Result<Vec<Spec>, CliError> {
    let specs = match &options.tasks {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| CliError::Unreadable { path: path.clone(), source })?;
            parse(&text, path, options)?
        }
        None => command(options).into_iter().collect(),
    };
    if specs.is_empty() { Err(CliError::NothingToRun) } else { Ok(specs) }
}

/// The command of the command line.
fn command(options: &RunOptions) -> Option<Spec> {
    let command = match options.command.as_slice() {
        [] => return None,
        // One word is a line for a shell, as with ssh: `mezzo run -- 'make && make test'`.
        [line] => Words::Shell(line.clone()),
        words => Words::Program(words.to_vec()),
    };
    let name = options.command.first().map_or("run", |first| short(first));
    Some(spec(options, command, name))
}

fn spec(options: &RunOptions, command: Words, name: &str) -> Spec {
    Spec {
        name: options.name.clone().unwrap_or_else(|| name.to_owned()),
        command,
        cpus: options.cpus,
        mem: options.mem,
        env: options.env.clone(),
        user: options.user.clone(),
        instances: options.instances,
    }
}

/// A name for a command: its program without the path.
fn short(command: &str) -> &str {
    let program = command.split_whitespace().next().unwrap_or("run");
    match program.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => "run",
    }
}

fn parse(text: &str, path: &Path, options: &RunOptions) -> Result<Vec<Spec>, CliError> {
    let mut specs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |why: String| CliError::TaskLine { path: path.to_owned(), line: index + 1, why };
        if line.starts_with('{') {
            specs.push(from_json(line, options).map_err(wrong)?);
        } else {
            specs.push(spec(options, Words::Shell(line.to_owned()), short(line)));
        }
    }
    Ok(specs)
}

fn from_json(line: &str, options: &RunOptions) -> Result<Spec, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let command = match (line.command, line.argv) {
        (Some(command), None) => Words::Shell(command),
        (None, Some(argv)) if !argv.is_empty() => Words::Program(argv),
        _ => return Err("expected one of command (a shell line) and argv (a list)".to_owned()),
    };
    let name = match &command {
        Words::Shell(line) => short(line).to_owned(),
        Words::Program(words) => words.first().map_or("run", |first| short(first)).to_owned(),
    };
    for (field, amount) in [("cpus", line.cpus), ("mem", line.mem)] {
        if amount.is_some_and(|amount| !(0.0..=1e12).contains(&amount)) {
            return Err(format!("{field}: expected a number that is not negative"));
        }
    }
    if line.instances == Some(0) {
        return Err("instances: expected a number from 1".to_owned());
    }
    let mut spec = spec(options, command, &name);
    spec.name = line.name.unwrap_or(spec.name);
    spec.cpus = line.cpus.unwrap_or(spec.cpus);
    spec.mem = line.mem.unwrap_or(spec.mem);
    spec.instances = line.instances.unwrap_or(spec.instances);
    // What the line says comes last, so that it wins.
    spec.env.extend(line.env);
    Ok(spec)
}

impl Spec {
    pub(crate) fn instances(&self) -> u32 {
        self.instances
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The task under this id.
    pub(crate) fn task(&self, id: String) -> Task {
        let task = match &self.command {
            Words::Shell(line) => Task::shell(line),
            Words::Program(words) => Task::command(words),
        };
        let mut task = task.id(id).name(&self.name).cpus(self.cpus).mem(self.mem);
        for (name, value) in &self.env {
            task = task.env(name, value);
        }
        match &self.user {
            Some(user) => task.user(user),
            None => task,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn options() -> RunOptions {
        RunOptions {
            cpus: 0.5,
            mem: 64.0,
            name: None,
            env: vec![("A".to_owned(), "1".to_owned())],
            instances: 1,
            tasks: None,
            role: "*".to_owned(),
            user: None,
            command: Vec::new(),
        }
    }

    fn lines(text: &str) -> Result<Vec<Spec>, CliError> {
        parse(text, Path::new("tasks"), &options())
    }

    #[test]
    fn one_word_is_for_the_shell_and_several_are_a_program() {
        let mut options = options();
        options.command = vec!["a | b".to_owned()];
        assert_eq!(command(&options).unwrap().command, Words::Shell("a | b".to_owned()));
        options.command = vec!["/bin/a".to_owned(), "b".to_owned()];
        let spec = command(&options).unwrap();
        assert_eq!(spec.command, Words::Program(options.command.clone()));
        assert_eq!(spec.name, "a");
    }

    #[test]
    fn a_file_may_mix_shell_lines_json_and_remarks() {
        let specs = lines(
            "# jobs\n\necho hi there\n{\"argv\":[\"/bin/true\"],\"cpus\":2,\"env\":{\"A\":\"2\"},\"instances\":3}\n",
        )
        .unwrap();
        assert_eq!(specs.len(), 2);
        assert_eq!(specs[0].command, Words::Shell("echo hi there".to_owned()));
        assert_eq!(specs[0].cpus, 0.5);
        assert_eq!(specs[1].cpus, 2.0);
        assert_eq!(specs[1].instances, 3);
        assert_eq!(specs[1].env.last().unwrap().1, "2");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, why) in [
            ("true\n{\"comand\":\"x\"}", "comand"),
            ("true\n{\"name\":\"x\"}", "command"),
            ("true\n{\"command\":\"x\",\"cpus\":-1}", "cpus"),
            ("true\n{\"command\":\"x\",\"instances\":0}", "instances"),
        ] {
            let error = lines(text).unwrap_err().to_string();
            assert!(error.starts_with("tasks:2: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        assert!(matches!(read(&options()), Err(CliError::NothingToRun)));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_parser_panic(text in ".*") {
            let _ = lines(&text);
        }
    }
}
