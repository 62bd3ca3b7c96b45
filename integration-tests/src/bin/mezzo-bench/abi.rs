//! What the boundary between host and module costs: one call, and a whole cycle of the allocator.
//!
//! Each is measured against the same code linked into this program and called directly, in turns, so that a busy machine
//! hurts both alike.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use mezzo_allocator_hierarchical::Hierarchical;
use mezzo_module_abi::Library;
use mezzo_module_api::v1::{ContainerConfig, CreateModuleRequest, PrepareRequest, PrepareResponse};
use mezzo_module_api::{Allocator, Host, Isolator, Parameters, Remote};
use prost::Message as _;
use serde_json::json;

use crate::crowd::Crowd;
use crate::echo::Echo;
use crate::measurement::Measurement;
use crate::modules;
use crate::options::Options;

/// The library with the module that does nothing.
const LIBRARY: &str = "mezzo_test_modules";
const ECHO: &str = "test/echo";
/// Of the larger call, encoded.
const LARGE: usize = 1024;

/// Measures both.
pub(crate) fn run(options: &Options) -> anyhow::Result<Vec<Measurement>> {
    let mut all = calls(options)?;
    all.extend(cycle(options)?);
    Ok(all)
}

/// One call: with all that the host does around it, without its meter, and directly.
fn calls(options: &Options) -> anyhow::Result<Vec<Measurement>> {
    let (calls, runs) = (options.number("--calls", 20_000)?, options.number("--runs", 50)?);
    let folder = tempfile::Builder::new().prefix("mezzo-bench-").tempdir()?;
    let modules = modules::load(&folder, Some((ECHO, LIBRARY)), |_| {})?;
    let hosted = modules.isolators(ECHO)?.pop().context("no module")?.module;
    let bare = unmetered()?;
    let direct: Arc<dyn Isolator> = Arc::new(Echo::new(Host::silent(), Parameters::default())?);

    let mut all = Vec::new();
    for (name, request) in [("empty", PrepareRequest::default()), ("1KiB", large()?)] {
        let mut values = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for run in 0..=runs {
            let times = [
                time(&*hosted, &request, calls)?,
                time(&*bare, &request, calls)?,
                time(&*direct, &request, calls)?,
                encode_and_decode(&request, calls)?,
            ];
            // The first run warms up.
            if run > 0 {
                values.iter_mut().zip(times).for_each(|(values, time)| values.push(time));
            }
        }
        let measure = |name, values, baseline| Measurement {
            name,
            parameters: json!({"call": "prepare", "request_bytes": request.encoded_len(), "calls_per_run": calls}),
            unit: "ns",
            values,
            baseline,
        };
        let [hosted, bare, direct, coding] = values;
        let direct = measure("the same code linked in, called directly", direct, None);
        let coding = measure("encode and decode of request and answer", coding, None);
        let names = match name {
            "empty" => ["abi/call_empty", "abi/call_empty_without_meter", "abi/coding_empty"],
            _ => ["abi/call_1KiB", "abi/call_1KiB_without_meter", "abi/coding_1KiB"],
        };
        let [with_meter, without, coded] = names;
        all.push(measure(with_meter, hosted, Some(Box::new(direct.clone()))));
        all.push(measure(without, bare, Some(Box::new(direct))));
        all.push(Measurement { name: coded, ..coding });
    }
    Ok(all)
}

/// The module by the boundary alone.
fn unmetered() -> anyhow::Result<Arc<dyn Isolator>> {
    let library = Library::open(&modules::library(LIBRARY)?)?;
    let declared = library.modules();
    let echo = declared.iter().find(|module| module.name() == ECHO).context("no echo")?;
    Ok(Arc::new(Remote::new(echo.create(Host::silent(), &CreateModuleRequest::default())?)))
}

fn large() -> anyhow::Result<PrepareRequest> {
    let of = |length| PrepareRequest {
        config: Some(ContainerConfig {
            directory: "x".repeat(length),
            ..ContainerConfig::default()
        }),
        ..PrepareRequest::default()
    };
    let around = of(LARGE).encoded_len() - LARGE;
    let request = of(LARGE - around);
    ensure!(request.encoded_len() == LARGE, "the large request has {}", request.encoded_len());
    Ok(request)
}

/// Nanoseconds of one call. That of making its request is not in it.
fn time(module: &dyn Isolator, request: &PrepareRequest, calls: u64) -> anyhow::Result<f64> {
    let requests: Vec<PrepareRequest> = (0..calls).map(|_| request.clone()).collect();
    let begun = Instant::now();
    for request in requests {
        black_box(module.prepare(black_box(request))?);
    }
    Ok(per_call(begun, calls))
}

fn encode_and_decode(request: &PrepareRequest, calls: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for _ in 0..calls {
        let bytes = black_box(request).encode_to_vec();
        black_box(PrepareRequest::decode(bytes.as_slice())?);
        let bytes = black_box(PrepareResponse::default()).encode_to_vec();
        black_box(PrepareResponse::decode(bytes.as_slice())?);
    }
    Ok(per_call(begun, calls))
}

#[expect(clippy::cast_precision_loss, reason = "nobody makes 2^53 calls")]
fn per_call(begun: Instant, calls: u64) -> f64 {
    begun.elapsed().as_secs_f64() * 1e9 / calls as f64
}

/// Cycles of the allocator, loaded and linked in: everything is offered, everything comes back.
fn cycle(options: &Options) -> anyhow::Result<Vec<Measurement>> {
    let (agents, frameworks) =
        (options.number("--agents", 10_000)?, options.number("--frameworks", 1_000)?);
    let cycles = options.number("--cycles", 10)?;
    let folder = tempfile::Builder::new().prefix("mezzo-bench-").tempdir()?;
    let modules = modules::load(&folder, None, |_| {})?;
    let loaded = modules.allocator("hierarchical")?;
    let linked: Arc<dyn Allocator> =
        Arc::new(Hierarchical::new(Host::silent(), Parameters::default())?);
    let mut crowds =
        [Crowd::gather(loaded, agents, frameworks)?, Crowd::gather(linked, agents, frameworks)?];
    let (mut allocate, mut recover) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for cycle in 0..=cycles {
        let mut proposed = Vec::new();
        for (which, crowd) in crowds.iter_mut().enumerate() {
            let times = crowd.cycle()?;
            proposed.push(times.proposals);
            if cycle > 0 {
                allocate.get_mut(which).into_iter().for_each(|all| all.push(times.allocate));
                recover.get_mut(which).into_iter().for_each(|all| all.push(times.recover));
            }
        }
        ensure!(proposed.first() == proposed.last(), "the two differ: {proposed:?} proposals");
    }
    let parameters = json!({"agents": agents, "frameworks": frameworks, "roles": 1});
    let mut all = Vec::new();
    for (names, [loaded, linked]) in [
        (["abi/allocation_cycle", "abi/allocation_cycle_ratio"], allocate),
        (["abi/recover_all", "abi/recover_all_ratio"], recover),
    ] {
        let ratios = loaded.iter().zip(&linked).map(|(loaded, linked)| loaded / linked).collect();
        let measure = |name, unit, values, baseline| Measurement {
            name,
            parameters: parameters.clone(),
            unit,
            values,
            baseline,
        };
        let [name, ratio] = names;
        let linked = measure("the same allocator linked in", "ms", linked, None);
        all.push(measure(name, "ms", loaded, Some(Box::new(linked))));
        all.push(measure(ratio, "x", ratios, None));
    }
    Ok(all)
}
