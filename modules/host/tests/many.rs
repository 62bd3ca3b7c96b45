//! Many libraries in one process, with the same root type, the same symbols and their own copies of the same crates.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::fs;
use std::sync::Arc;

use mezzo_module_api::v1::{CleanupRequest, PrepareRequest, WatchRequest, WatchResponse};
use mezzo_module_api::{Code, Completion, Isolator, ModuleError};
use mezzo_module_host::Modules;
use place::Place;
use tokio::sync::oneshot;

const TIMER: &str = "mezzo_module_fixture_runtime";

fn watch(
    isolator: &dyn Isolator,
    id: &str,
) -> oneshot::Receiver<Result<WatchResponse, ModuleError>> {
    let (sender, receiver) = oneshot::channel();
    let mut request = WatchRequest::default();
    request.container_id.get_or_insert_default().value = id.to_owned();
    isolator.watch(request, Completion::new(move |result| drop(sender.send(result))));
    receiver
}

#[tokio::test]
async fn a_module_with_a_runtime_of_its_own_answers_to_that_of_the_host() {
    let place = Place::new();
    let modules = place.load(&[(TIMER, &["fixture/timer"])]).unwrap();
    let timer = modules.isolators("fixture/timer").unwrap().remove(0).module;
    let answers = ["1", "5", "2"].map(|millis| watch(timer.as_ref(), millis));
    for answer in answers {
        let limitation = answer.await.unwrap().unwrap().limitation.unwrap();
        assert!(limitation.message().ends_with(" ms are over"));
    }
    assert_eq!(
        watch(timer.as_ref(), "soon").await.unwrap().unwrap_err().code,
        Code::InvalidArgument
    );
    // Its runtime ends with it, and what was to come fails.
    let late = watch(timer.as_ref(), "1000000000");
    drop(timer);
    assert_eq!(late.await.unwrap().unwrap_err().code, Code::Aborted);
}

#[tokio::test]
async fn libraries_of_all_sorts_work_side_by_side() {
    let place = Place::new();
    let modules = place
        .load(&[
            ("mezzo_revision_newer", &["revision/newer"]),
            (TIMER, &["fixture/timer"]),
            ("mezzo_module_fixture", &["fixture/rude", "fixture/strict"]),
            ("mezzo_revision_older", &["revision/older"]),
        ])
        .unwrap();
    modules.allocator("hierarchical").unwrap().initialize(Default::default()).unwrap();
    let isolators =
        modules.isolators("fixture/timer, revision/older, fixture/rude, revision/newer").unwrap();
    let [timer, older, rude, newer] = isolators.as_slice() else { panic!("{isolators:?}") };
    let answer = watch(timer.module.as_ref(), "1");
    let prepare = |isolator: &Arc<dyn Isolator>| isolator.prepare(PrepareRequest::default());
    let directory = |isolator: &Arc<dyn Isolator>| {
        prepare(isolator).unwrap().launch_info.unwrap().working_directory().to_owned()
    };
    assert_eq!(directory(&older.module), "/of/");
    assert_eq!(directory(&newer.module), "/from/newer");
    assert_eq!(prepare(&rude.module).unwrap_err().code, Code::Internal);
    answer.await.unwrap().unwrap();
}

#[test]
fn twenty_copies_of_a_library_are_twenty_libraries_and_stay_for_good() {
    const COPIES: u8 = 20;
    let place = Place::new();
    let library = fs::read(place.library("mezzo_module_fixture")).unwrap();
    let modules: Vec<Modules> = (0..COPIES)
        .map(|number| {
            // Behind all that is loaded: another content, the same code.
            let content = [library.as_slice(), &[number]].concat();
            let file = place.write(&format!("copy-{number}.so"), &content);
            place.load_file(file.to_str().unwrap(), "fixture/rude").unwrap()
        })
        .collect();
    let isolators: Vec<_> = modules
        .iter()
        .map(|modules| modules.isolators("fixture/rude").unwrap().remove(0).module)
        .collect();
    for isolator in &isolators {
        isolator.prepare(PrepareRequest::default()).unwrap_err();
        isolator.cleanup(CleanupRequest::default()).unwrap();
    }
    let mut hashes: Vec<_> =
        modules.iter().map(|modules| modules.status().remove(0).sha256().to_owned()).collect();
    drop((isolators, modules));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), usize::from(COPIES));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(hashes.iter().all(|hash| maps.contains(&format!("{hash}.so"))));
}
