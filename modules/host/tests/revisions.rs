//! Libraries of other times: what was added since does not keep them out, what was broken since does, in a few words.
//!
//! They are built from their sources with this test; see `tests/revisions/build.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::sync::mpsc;

use mezzo_module_api::v1::{
    CleanupRequest, IsolateRequest, PrepareRequest, StatusRequest, UpdateRequest, UsageRequest,
    WatchRequest,
};
use mezzo_module_api::{Code, Completion, Isolator, ModuleError};
use mezzo_module_host::{LoadError, Modules, inspect};
use place::{Place, full_message};

const OLDER: &str = "mezzo_revision_older";
const NEWER: &str = "mezzo_revision_newer";

fn isolator(place: &Place, library: &str, name: &str) -> (Modules, std::sync::Arc<dyn Isolator>) {
    let modules = place.load(&[(library, &[name])]).unwrap();
    let isolator = modules.isolators(name).unwrap().remove(0).module;
    (modules, isolator)
}

/// A request with everything in it that there is today.
fn prepare_request() -> PrepareRequest {
    let mut request = PrepareRequest::default();
    request.container_id.get_or_insert_default().value = "c1".to_owned();
    let config = request.config.get_or_insert_default();
    config.directory = "/sandbox".to_owned();
    config.user = Some("nobody".to_owned());
    request
}

/// What comes of watching, if anything does.
fn watched(isolator: &dyn Isolator) -> Option<Result<(), ModuleError>> {
    let (sender, receiver) = mpsc::channel();
    let done = Completion::new(move |result| {
        let _ = sender.send(result.map(|_| ()));
    });
    isolator.watch(WatchRequest::default(), done);
    receiver.recv().ok()
}

#[test]
fn an_older_module_works_in_this_host() {
    let place = Place::new();
    let (modules, isolator) = isolator(&place, OLDER, "revision/older");
    let launch_info = isolator.prepare(prepare_request()).unwrap().launch_info.unwrap();
    assert_eq!(launch_info.working_directory(), "/of/c1");
    isolator.cleanup(CleanupRequest::default()).unwrap();
    // What it does not know is as if it were not there.
    assert_eq!(isolator.capabilities(Default::default()).unwrap(), Default::default());
    assert_eq!(isolator.recover(Default::default()).unwrap(), Default::default());
    assert_eq!(isolator.isolate(Default::default()).unwrap(), Default::default());
    assert_eq!(isolator.update(UpdateRequest::default()).unwrap(), Default::default());
    assert_eq!(isolator.usage(UsageRequest::default()).unwrap(), Default::default());
    assert_eq!(isolator.status(StatusRequest::default()).unwrap(), Default::default());
    assert_eq!(watched(isolator.as_ref()), None);

    let status = modules.status().remove(0);
    assert_eq!((status.abi(), status.author()), ("1.0.0", "An early bird"));
    assert!(status.methods.iter().all(|method| method.errors() == 0), "{status:?}");
    let counters: Vec<_> = status.counters.iter().map(|c| (c.name(), c.value())).collect();
    assert_eq!(counters, [("prepared", 1)]);
}

#[test]
fn a_newer_module_works_in_this_host() {
    let place = Place::new();
    let (modules, isolator) = isolator(&place, NEWER, "revision/newer");
    let launch_info = isolator.prepare(prepare_request()).unwrap().launch_info.unwrap();
    assert_eq!(launch_info.working_directory(), "/from/newer");
    assert_eq!(isolator.cleanup(CleanupRequest::default()).unwrap(), Default::default());
    assert_eq!(watched(isolator.as_ref()), None);
    // A service that this host does not have is told as that.
    let counters: Vec<_> = modules.status().remove(0).counters;
    assert_eq!(counters.first().map(|counter| counter.name()), Some("service_error_12"));

    let found = inspect(&place.library(NEWER), Some(&place.probe())).unwrap();
    let module = found.modules.first().unwrap();
    assert_eq!((found.abi.as_str(), module.api), ("1.0.0", 2));
}

#[test]
fn a_kind_to_come_is_told_and_refused_only_when_it_is_wanted() {
    let place = Place::new();
    let found = inspect(&place.library(NEWER), Some(&place.probe())).unwrap();
    assert_eq!(found.modules.get(1).unwrap().kind, "kind 9");
    let refused = place.load(&[(NEWER, &["revision/of-a-kind-to-come"])]).unwrap_err();
    let expected = format!(
        "module `revision/of-a-kind-to-come` of `{}` is of kind number 9, expected a kind that this version knows: allocator, \
         isolator or hook",
        place.library(NEWER).display()
    );
    assert_eq!(full_message(&refused), expected);
}

#[test]
fn a_library_that_declares_a_name_twice_is_refused_when_that_is_wanted() {
    let place = Place::new();
    let refused = place.load(&[(NEWER, &["revision/twin"])]).unwrap_err();
    assert!(
        full_message(&refused)
            .ends_with("declares `revision/twin` twice, expected names that differ")
    );
}

/// Why a library is refused, without the part that names it.
fn refused(library: &str) -> String {
    let place = Place::new();
    let error = place.load(&[(library, &["any"])]).unwrap_err();
    assert!(matches!(error, LoadError::Probe { .. }), "{error}");
    let message = full_message(&error);
    let file = format!("module library `{}` ", place.library(library).display());
    let reason = message.strip_prefix(&file).expect("the file is named first").to_owned();
    // Without a probe the words are the same, and the process lives.
    let mut options = place.options(vec![place.manifest(&[(library, &["any"])])]);
    options.probe = Some(place.says_yes());
    let error = Modules::load(options).unwrap_err();
    assert!(matches!(error, LoadError::Open { .. }), "{error}");
    assert_eq!(full_message(&error), message);
    reason
}

#[test]
fn an_older_boundary_is_refused() {
    assert_eq!(
        refused("mezzo_revision_before_stable"),
        "was built for module ABI 0.9.0, expected 1.0.0"
    );
}

#[test]
fn a_newer_boundary_is_refused() {
    assert_eq!(
        refused("mezzo_revision_next_major"),
        "was built for module ABI 2.0.0, expected 1.0.0"
    );
}

#[test]
fn a_boundary_with_a_field_more_is_refused() {
    let reason = refused("mezzo_revision_field_more");
    assert!(
        reason.starts_with(
            "says that it was built for module ABI 1.1.0, but its types are not those of 1.0.0: "
        ),
        "{reason}"
    );
    assert!(
        reason.contains("type size Expected: 88 Found: 104") && reason.len() < 1000,
        "{reason}"
    );
}

#[test]
fn a_boundary_in_another_order_is_refused_though_it_gives_the_right_version() {
    let reason = refused("mezzo_revision_reordered");
    assert!(
        reason.starts_with(
            "says that it was built for module ABI 1.0.0, but its types are not those of 1.0.0: "
        ),
        "{reason}"
    );
    assert!(reason.contains("unexpected field") && reason.len() < 1000, "{reason}");
}

#[test]
fn another_abi_stable_is_refused() {
    let place = Place::new();
    // The header begins with a text, then come the numbers.
    let mut library = std::fs::read(place.library(OLDER)).unwrap();
    let magic = b"abi stable library for Rust";
    let at = library.windows(magic.len()).position(|window| window == magic).unwrap();
    let major = at + 32;
    library.splice(major..major + 8, [0, 0, 0, 0, 12, 0, 0, 0]);
    let file = place.write("other.so", &library);
    let message =
        full_message(&place.load_file(file.to_str().unwrap(), "revision/older").unwrap_err());
    assert!(
        message.ends_with("other.so` was built with abi_stable 0.12, expected 0.11"),
        "{message}"
    );
}

#[test]
fn the_boundary_is_the_frozen_one() {
    // All that stands there but what is said about it.
    let code = |text: &'static str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        lines.collect::<Vec<_>>()
    };
    let (today, frozen) =
        (include_str!("../../abi/src/boundary.rs"), include_str!("revisions/boundary-1.0.0.rs"));
    assert_eq!(code(today), code(frozen), "every module built before would be refused");
}

#[test]
fn a_module_that_keeps_no_contract_gets_errors() {
    let place = Place::new();
    let (modules, isolator) = isolator(&place, NEWER, "revision/wild");
    let error = isolator.prepare(PrepareRequest::default()).unwrap_err();
    assert_eq!(error.code, Code::DataLoss, "{error}");
    // A code that is none, a text that is none.
    let error = isolator.isolate(IsolateRequest::default()).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (Code::Unknown, "a\u{fffd}b"));
    let error = isolator.update(UpdateRequest::default()).unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert_eq!(error.message, "an answer of 314572800 bytes, expected at most 268435456");
    isolator.usage(UsageRequest::default()).unwrap();
    let counter = modules.status().remove(0).counters.remove(0);
    assert_eq!(counter.name(), "a\u{fffd}b");
    // The first of several answers counts.
    let error = watched(isolator.as_ref()).unwrap().unwrap_err();
    assert_eq!(error.code, Code::DataLoss, "{error}");
    isolator.cleanup(CleanupRequest::default()).unwrap();
}
