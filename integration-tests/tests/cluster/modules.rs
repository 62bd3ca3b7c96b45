//! Libraries of modules, as the programs find them: what is refused at the start and with which words, what is told of what
//! was loaded.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mezzo_integration_tests::{Cluster, Finished, finished, library};
use serde_json::{Value, json};

use crate::Done;

const FIXTURE: &str = "mezzo_module_fixture";
/// The place of the machine's number in an ELF file.
const MACHINE: usize = 18;

/// A program that is to refuse a manifest; what it says.
struct Refusal {
    what: &'static str,
    manifest: Value,
    /// Flags beside the manifest.
    flags: &'static [&'static str],
    /// What its words have in them: the file, what was found, what was expected.
    words: Vec<String>,
}

impl Refusal {
    /// Of a file, whatever is wanted from it.
    fn of_file(what: &'static str, file: &Path, words: &[&str]) -> Self {
        let file = file.display().to_string();
        let modules = json!([{"name": "fixture/strict"}]);
        let said = format!("module library `{file}` ");
        Self {
            what,
            manifest: json!({"libraries": [{"file": file, "modules": modules}]}),
            flags: &[],
            words: std::iter::once(said).chain(words_of(words)).collect(),
        }
    }

    /// Of a library that is in order.
    fn of_use(
        what: &'static str,
        libraries: Value,
        flags: &'static [&'static str],
        words: &[&str],
    ) -> Self {
        let manifest = json!({"libraries": libraries});
        Self { what, manifest, flags, words: words_of(words).collect() }
    }

    async fn check(&self, name: &str, folder: &Path) -> Done {
        let mut flags = vec![
            format!("--work_dir={}", folder.join("work").display()),
            "--port=0".to_owned(),
            format!("--modules={}", self.manifest),
        ];
        flags.extend((name == "mezzo-agent").then(|| "--master=127.0.0.1:1".to_owned()));
        flags.extend(self.flags.iter().map(|flag| (*flag).to_owned()));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let end = finished(name, &flags, &[]).await?;
        let context = || format!("{} at {name}: {end:#?}", self.what);
        anyhow::ensure!(end.code.is_some_and(|code| code != 0), context());
        // One line, but for what is logged of modules that were loaded before.
        let told: Vec<&str> = end.stderr.lines().filter(|l| !l.contains(" INFO ")).collect();
        let [line] = told.as_slice() else { anyhow::bail!(context()) };
        for word in &self.words {
            anyhow::ensure!(line.contains(word.as_str()), "`{word}` is not said; {}", context());
        }
        Ok(())
    }
}

fn words_of(words: &[&str]) -> impl Iterator<Item = String> {
    words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().into_iter()
}

fn write(folder: &Path, name: &str, content: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, content)?;
    fs::set_permissions(&file, Permissions::from_mode(mode))?;
    Ok(file)
}

/// A library of this process that is none of ours.
fn libc() -> anyhow::Result<Vec<u8>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains("libc.so")).context("no libc is mapped")?;
    Ok(fs::read(line.split_whitespace().last().unwrap_or_default())?)
}

#[tokio::test]
async fn a_file_that_is_not_to_be_loaded_ends_the_start() -> Done {
    // Who else can write a file is asked for root only.
    crate::kernel::needs_root()?;
    let place = tempfile::tempdir()?;
    let folder = place.path();
    let fixture = fs::read(library(FIXTURE))?;
    let half = fixture.get(..fixture.len() / 2).unwrap_or_default();
    let sizes = [
        format!("is a truncated ELF library of {} bytes", half.len()),
        format!("expected {} bytes", fixture.len()),
    ];
    let mut foreign = fixture.clone();
    foreign.splice(MACHINE..MACHINE + 2, [8, 0]);
    let open_dir = folder.join("open");
    fs::create_dir(&open_dir)?;
    let open_dir_said = format!("is reached through `{}`", open_dir.display());
    let in_open_dir = write(&open_dir, "libx.so", &fixture, 0o644)?;
    fs::set_permissions(&open_dir, Permissions::from_mode(0o777))?;
    let open_file = write(folder, "open.so", &fixture, 0o666)?;
    let link = folder.join("link.so");
    symlink(&open_file, &link)?;
    let abi = "expected 1.0.0";
    let found = "was built for module ABI";
    let layout = "but its types are not those of 1.0.0";
    let refusals = [
        Refusal::of_file(
            "a missing file",
            &folder.join("missing.so"),
            &["not found, looked in that very place"],
        ),
        Refusal::of_file(
            "a text",
            &write(folder, "text.so", b"#!/bin/sh\nexit 0\n", 0o644)?,
            &["is a text file, expected an ELF shared library"],
        ),
        Refusal::of_file(
            "half a library",
            &write(folder, "half.so", half, 0o644)?,
            &[&sizes[0], &sizes[1]],
        ),
        Refusal::of_file(
            "a library for another machine",
            &write(folder, "mips.so", &foreign, 0o644)?,
            &["is an ELF file for machine 8, expected machine"],
        ),
        Refusal::of_file(
            "another library",
            &write(folder, "libc.so", &libc()?, 0o644)?,
            &["is a library that is no Mezzo module, expected one that exports"],
        ),
        Refusal::of_file("a directory", folder, &["is a directory, expected a regular file"]),
        Refusal::of_file(
            "an older ABI",
            &library("mezzo_revision_before_stable"),
            &[found, "0.9.0", abi],
        ),
        Refusal::of_file(
            "a newer ABI",
            &library("mezzo_revision_next_major"),
            &[found, "2.0.0", abi],
        ),
        Refusal::of_file(
            "a newer ABI of another layout",
            &library("mezzo_revision_field_more"),
            &[found, "1.1.0", layout],
        ),
        Refusal::of_file(
            "a changed layout",
            &library("mezzo_revision_reordered"),
            &[found, "1.0.0", layout],
        ),
        Refusal::of_file(
            "a file that all can write",
            &open_file,
            &["has mode 0666, expected it to be writable by its owner only"],
        ),
        Refusal::of_file("a link to such a file", &link, &["has mode 0666, expected it"]),
        Refusal::of_file(
            "a file in a directory that all can write",
            &in_open_dir,
            &[&open_dir_said, "which has mode 0777, expected a directory that its owner only"],
        ),
    ];
    all(&refusals, folder).await
}

#[tokio::test]
async fn a_manifest_that_does_not_fit_its_libraries_ends_the_start() -> Done {
    let place = tempfile::tempdir()?;
    let file = library(FIXTURE);
    let said = format!("`{}`", file.display());
    let of = |modules: Value| json!([{"file": file, "modules": modules}]);
    let strict = json!({"name": "fixture/strict"});
    let newer = json!([{
        "file": library("mezzo_revision_newer"), "modules": [{"name": "revision/of-a-kind-to-come"}],
    }]);
    let mood = json!([{"name": "fixture/strict", "parameters": [{"key": "mood", "value": "bad"}]}]);
    let refusals = [
        Refusal::of_use(
            "a name that the library has not",
            of(json!([{"name": "fixture/polite"}])),
            &[],
            &[&said, "has no module `fixture/polite`, it has `fixture/rude`"],
        ),
        Refusal::of_use(
            "a name twice",
            of(json!([strict, strict])),
            &[],
            &["module `fixture/strict` is given twice", &said],
        ),
        Refusal::of_use(
            "a kind that is not known",
            newer,
            &[],
            &["is of kind number 9, expected a kind that this version knows"],
        ),
        Refusal::of_use(
            "a parameter that the module does not know",
            of(mood),
            &["--hooks=fixture/strict"],
            &["--hooks", "module `fixture/strict`", &said, "unknown parameter `mood`"],
        ),
        Refusal::of_use(
            "a module of another kind",
            of(json!([{"name": "fixture/rude"}])),
            &["--hooks=fixture/rude"],
            &["--hooks", "module `fixture/rude` is of kind isolator, expected hook"],
        ),
        Refusal::of_use(
            "a module that is chosen twice",
            of(json!([strict])),
            &["--hooks=fixture/strict,fixture/strict"],
            &["--hooks", "hook `fixture/strict` is listed twice"],
        ),
        Refusal::of_use(
            "a module that nobody has",
            of(json!([strict])),
            &["--hooks=fixture/srtict"],
            &[
                "--hooks",
                "unknown hook `fixture/srtict`, known are `environment`",
                "`fixture/strict`",
            ],
        ),
    ];
    all(&refusals, place.path()).await
}

/// Asks both programs, and tells of everything that is wrong.
async fn all(refusals: &[Refusal], folder: &Path) -> Done {
    let mut wrong = Vec::new();
    for refusal in refusals {
        for name in ["mezzo-master", "mezzo-agent"] {
            if let Err(error) = refusal.check(name, folder).await {
                wrong.push(format!("{error:#}"));
            }
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

async fn mezzo(arguments: &[&str]) -> anyhow::Result<Finished> {
    finished("mezzo", arguments, &[]).await
}

#[tokio::test]
async fn inspect_tells_what_a_library_offers_or_why_nobody_would_load_it() -> Done {
    let file = library(FIXTURE).display().to_string();
    let end = mezzo(&["modules", "inspect", &file]).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    let rude = end.stdout.lines().find(|line| line.starts_with("fixture/rude "));
    let cells: Vec<&str> = rude.context("no such module")?.split_whitespace().take(5).collect();
    assert_eq!(cells, ["fixture/rude", "isolator", "0.3.1", "A.", "Stranger"]);
    let end = mezzo(&["--json", "modules", "inspect", &file]).await?;
    let found: Value = serde_json::from_str(&end.stdout)?;
    assert_eq!(found["abi"], "1.0.0");
    assert_eq!(found["sha256"].as_str().map(str::len), Some(64));
    let end = mezzo(&["modules", "inspect", "/etc/passwd"]).await?;
    assert_eq!(end.code, Some(1), "{end:?}");
    let expected =
        "mezzo: module library `/etc/passwd` is a text file, expected an ELF shared library\n";
    assert_eq!(end.stderr, expected);
    Ok(())
}

#[tokio::test]
async fn what_is_loaded_is_told_with_its_file_its_hash_its_parameters_and_its_calls() -> Done {
    let parameters = json!([{"key": "drop_panics", "value": "false"}]);
    let manifest = json!({"libraries": [{
        "file": library(FIXTURE),
        "modules": [{"name": "fixture/rude", "parameters": parameters}, {"name": "fixture/strict"}],
    }]});
    let cluster = Cluster::builder()
        .master_flag(format!("--modules={manifest}"))
        .master_flag("--hooks=fixture/strict")
        .agent_flag(format!("--modules={manifest}"))
        .agent_flag("--isolation=fixture/rude")
        .start()
        .await?;
    let agent = cluster.agent(0).await?.get_modules(()).await?.into_inner();
    let rude = agent.modules.iter().find(|m| m.name() == "fixture/rude").context("not told")?;
    assert_eq!(rude.file(), library(FIXTURE).display().to_string());
    assert_eq!((rude.sha256().len(), rude.abi()), (64, "1.0.0"));
    assert_eq!(rude.parameters.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["drop_panics"]);
    assert!(
        rude.methods.iter().any(|m| m.method() == "capabilities" && m.calls() == 1),
        "{rude:?}"
    );
    let end = mezzo(&["--master", &cluster.master_address(), "modules", "list"]).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    let rows: Vec<Vec<&str>> =
        end.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let has = |process: &str, name: &str| {
        rows.iter().any(|row| row[0].contains(process) && row[1] == name && row[4] == "1.0.0")
    };
    assert!(has("master", "hierarchical") && has("master", "fixture/strict"), "{}", end.stdout);
    assert!(has("-S0", "fixture/rude"), "{}", end.stdout);
    let end = mezzo(&["--json", "--master", &cluster.master_address(), "modules", "list"]).await?;
    let processes: Vec<Value> =
        end.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(processes.len(), 2);
    assert_eq!(processes[0]["process"], "master");
    assert_eq!(processes[1]["modules"][0]["name"], "fixture/rude");
    Ok(())
}
