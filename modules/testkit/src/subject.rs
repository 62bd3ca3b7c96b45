//! The module under test: where it comes from, and what it is made with.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mezzo_model::{Format, Resources, Role};
use mezzo_module_abi::Library;
use mezzo_module_api::v1::CreateModuleRequest;
use mezzo_module_api::{
    Allocator, Hook, Host, HostProcess, HostServices, Instance, Isolator, Kind, Level, ModuleError,
    Parameter, Parameters, Transport,
};
use mezzo_module_host::{Manifest, Modules, Options, search_path};
use tempfile::TempDir;

use crate::made::{Linked, Made};
use crate::{Failure, Verdict};

/// No call may take this long; the agent's own watchdog is not more patient.
const SLOW: Duration = Duration::from_secs(10);
/// What an agent has, as modules are told.
const AGENT_RESOURCES: &str = "cpus:4;mem:4096;disk:8192;ports:[31000-31099]";
/// What a container asks for.
const CONTAINER_RESOURCES: &str = "cpus:0.1;mem:64;disk:256";

type Constructor = dyn Fn(Host, Parameters) -> Result<Instance, ModuleError> + Send + Sync;
type Afterwards = dyn Fn() -> Result<(), String> + Send + Sync;

/// A module, linked in or in its library, with its parameters: what the suites run over.
///
/// ```no_run
/// use mezzo_module_testkit::{Subject, isolator};
///
/// let subject = Subject::built("my_isolator", "example/mine").parameter("pool", "a,b");
/// let report = isolator::conformance(&subject);
/// assert!(report.passed(), "{report}");
/// ```
#[derive(Clone)]
pub struct Subject {
    source: Source,
    name: String,
    kind: Kind,
    parameters: Vec<Parameter>,
    agent: Resources,
    asked: Resources,
    afterwards: Vec<Arc<Afterwards>>,
    /// Sandboxes, runtime directory, work directory; gone with the last clone.
    place: Arc<TempDir>,
    book: Arc<Mutex<Book>>,
}

#[derive(Clone)]
enum Source {
    Linked(Arc<Constructor>),
    Library(PathBuf),
    /// Nothing could be found; told when the first instance is wanted.
    Missing(String),
}

/// What the instances of one subject did.
#[derive(Debug, Default)]
pub(crate) struct Book {
    panics: Vec<String>,
    slowest: Option<(&'static str, Duration)>,
    log: Vec<String>,
}

impl Book {
    pub(crate) fn panicked(&mut self, method: &str, message: &str) {
        self.panics.push(format!("`{method}`: {message}"));
    }

    pub(crate) fn took(&mut self, method: &'static str, time: Duration) {
        if self.slowest.is_none_or(|(_, slowest)| slowest < time) {
            self.slowest = Some((method, time));
        }
    }
}

impl Subject {
    /// An allocator of this crate, by its constructor.
    pub fn allocator<T: Allocator + 'static>(
        name: &str,
        make: impl Fn(Host, Parameters) -> Result<T, ModuleError> + Send + Sync + 'static,
    ) -> Self {
        Self::linked(name, Kind::Allocator, move |host, parameters| {
            Ok(Instance::Allocator(Arc::new(make(host, parameters)?)))
        })
    }

    /// An isolator of this crate, by its constructor.
    pub fn isolator<T: Isolator + 'static>(
        name: &str,
        make: impl Fn(Host, Parameters) -> Result<T, ModuleError> + Send + Sync + 'static,
    ) -> Self {
        Self::linked(name, Kind::Isolator, move |host, parameters| {
            Ok(Instance::Isolator(Arc::new(make(host, parameters)?)))
        })
    }

    /// A hook of this crate, by its constructor.
    pub fn hook<T: Hook + 'static>(
        name: &str,
        make: impl Fn(Host, Parameters) -> Result<T, ModuleError> + Send + Sync + 'static,
    ) -> Self {
        Self::linked(name, Kind::Hook, move |host, parameters| {
            Ok(Instance::Hook(Arc::new(make(host, parameters)?)))
        })
    }

    fn linked(
        name: &str,
        kind: Kind,
        make: impl Fn(Host, Parameters) -> Result<Instance, ModuleError> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Source::Linked(Arc::new(make)), name, kind)
    }

    /// A module of a library.
    pub fn library(file: impl Into<PathBuf>, module: &str) -> Self {
        let file = file.into();
        match open(&file).and_then(|library| kind_of(library, &file, module)) {
            Ok(kind) => Self::new(Source::Library(file), module, kind),
            Err(failure) => Self::new(Source::Missing(failure.found), module, Kind::Hook),
        }
    }

    /// A module of the library that cargo has built beside this test. `crate_name` is that of the crate, its hyphens as
    /// underscores: the library is `lib<crate_name>.so`.
    pub fn built(crate_name: &str, module: &str) -> Self {
        let file = format!("lib{}.so", crate_name.replace('-', "_"));
        let places = search_path(&[]);
        match places.iter().map(|dir| dir.join(&file)).find(|path| path.is_file()) {
            Some(path) => Self::library(path, module),
            None => {
                let why = format!(
                    "no `{file}` beside the test: is `crate-type = [\"cdylib\", \"rlib\"]` in its Cargo.toml?"
                );
                Self::new(Source::Missing(why), module, Kind::Hook)
            }
        }
    }

    #[allow(clippy::expect_used, reason = "a test that has no temporary directory cannot go on")]
    fn new(source: Source, name: &str, kind: Kind) -> Self {
        Self {
            source,
            name: name.to_owned(),
            kind,
            parameters: Vec::new(),
            agent: parse(AGENT_RESOURCES),
            asked: parse(CONTAINER_RESOURCES),
            afterwards: Vec::new(),
            place: Arc::new(TempDir::with_prefix("mezzo-testkit-").expect("a temporary directory")),
            book: Arc::default(),
        }
    }

    /// With a parameter, as from the manifest.
    #[must_use]
    pub fn parameter(mut self, key: &str, value: impl ToString) -> Self {
        self.parameters.push(Parameter { key: key.to_owned(), value: value.to_string() });
        self
    }

    /// With a parameter that is the path of a directory of this subject's own, not made yet, gone at the end.
    #[must_use]
    pub fn directory(self, key: &str, name: &str) -> Self {
        let path = self.place().join(name);
        self.parameter(key, path.display())
    }

    /// Containers ask for this as well (`licences:1`), and the agent has plenty of it.
    ///
    /// # Panics
    /// When the text is no list of resources.
    #[must_use]
    pub fn asking(mut self, resources: &str) -> Self {
        let more = parse(resources);
        self.asked = &self.asked + &more;
        (0..100).for_each(|_| self.agent += &more);
        self
    }

    /// With a last look, after every MUST, when all instances are gone: an error says what has been left behind.
    #[must_use]
    pub fn afterwards(
        mut self,
        look: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.afterwards.push(Arc::new(look));
        self
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A directory for this subject alone.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// What containers ask for.
    pub(crate) fn asked(&self) -> &Resources {
        &self.asked
    }

    /// A number that no other container, agent or framework of this process has.
    pub(crate) fn number() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// The same, with a clean record.
    pub(crate) fn anew(&self) -> Self {
        Self { book: Arc::default(), ..self.clone() }
    }

    /// Makes an instance.
    pub(crate) fn make(&self) -> Result<Made, Failure> {
        self.make_with(&[]).and_then(|made| {
            made.map_err(|error| {
                Failure::new(format!("the constructor failed: {error}"), "the module is made")
            })
        })
    }

    /// Makes an instance, with more parameters. The inner error is the constructor's.
    pub(crate) fn make_with(
        &self,
        more: &[(&str, &str)],
    ) -> Result<Result<Made, ModuleError>, Failure> {
        let entry =
            |(key, value): &(&str, &str)| Parameter { key: (*key).into(), value: (*value).into() };
        let parameters =
            self.parameters.iter().cloned().chain(more.iter().map(entry)).collect::<Vec<_>>();
        let request = self.create_request(parameters);
        let process = HostProcess::from(&request);
        let host = Host::new(Ears { book: Arc::clone(&self.book) }, process);
        let transport: Result<Box<dyn Transport>, _> = match &self.source {
            Source::Linked(make) => Linked::make(host, request, make.as_ref(), &self.book)
                .map(|linked| Box::new(linked) as Box<dyn Transport>),
            Source::Library(file) => {
                let declared = open(file)?
                    .modules()
                    .into_iter()
                    .find(|declared| declared.name() == self.name)
                    .ok_or_else(|| missing(&self.name, file))?;
                declared.create(host, &request).map(|made| Box::new(made) as Box<dyn Transport>)
            }
            Source::Missing(why) => {
                return Err(Failure::new(why.clone(), "a library with the module"));
            }
        };
        Ok(transport.map(|transport| Made::new(self.kind, transport, Arc::clone(&self.book))))
    }

    /// The library, if it is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::Library(file) => Some(file),
            _ => None,
        }
    }

    /// How a host loads it: the manifest names this module alone.
    pub(crate) fn options(&self, file: &Path) -> Options {
        let entry = |parameter: &Parameter| mezzo_module_host::Entry {
            key: parameter.key.clone(),
            value: parameter.value.clone(),
        };
        let module = mezzo_module_host::Module {
            name: self.name.clone(),
            parameters: self.parameters.iter().map(entry).collect(),
        };
        let library = mezzo_module_host::Library {
            file: Some(file.to_owned()),
            name: None,
            modules: vec![module],
        };
        let request = self.create_request(Vec::new());
        let mut options =
            Options::new(request.host(), request.host_version(), self.place().join("runtime"));
        options.manifests = vec![Manifest { libraries: vec![library] }];
        options.work_dir = Some(self.place().join("work"));
        options.resources = request.resources;
        options
    }

    /// The module's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn create_request(&self, parameters: Vec<Parameter>) -> CreateModuleRequest {
        let (runtime, work) = (self.place().join("runtime"), self.place().join("work"));
        for dir in [&runtime, &work] {
            // A module that needs it will tell.
            let _ = std::fs::create_dir_all(dir);
        }
        let master = self.kind == Kind::Allocator;
        let resources =
            if master { Vec::new() } else { self.agent.to_proto(Format::PostRefinement) };
        CreateModuleRequest {
            parameters,
            host: Some(if master { "mezzo-master" } else { "mezzo-agent" }.to_owned()),
            host_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            runtime_dir: Some(runtime.display().to_string()),
            work_dir: Some(work.display().to_string()),
            resources,
        }
    }

    /// Nothing panicked, no call took too long, nothing is left behind.
    pub(crate) fn conduct(&self) -> Verdict {
        {
            let book = self.book();
            if let Some(panic) = book.panics.first() {
                return Err(Failure::new(format!("a panic in {panic}"), "a module never panics"));
            }
            if let Some((method, time)) = book.slowest.filter(|(_, time)| *time > SLOW) {
                return Err(Failure::new(
                    format!("`{method}` took {:.1} s", time.as_secs_f64()),
                    format!("a call returns within {} s", SLOW.as_secs()),
                ));
            }
        }
        for look in &self.afterwards {
            look().map_err(|left| Failure::new(left, "nothing is left behind"))?;
        }
        Ok(())
    }

    /// A failure, with the last lines that the module logged.
    pub(crate) fn with_log(&self, mut failure: Failure) -> Failure {
        let book = self.book();
        let last = book.log.len().saturating_sub(10);
        for line in book.log.get(last..).unwrap_or_default() {
            failure.found.push_str(&format!("\n     log: {line}"));
        }
        failure
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)?;
        match &self.source {
            Source::Library(file) => write!(f, " of `{}`", file.display()),
            Source::Linked(_) => f.write_str(", linked in"),
            Source::Missing(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a module tells its host.
struct Ears {
    book: Arc<Mutex<Book>>,
}

impl HostServices for Ears {
    fn log(&self, level: Level, message: &str) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.log.push(format!("{level:?} {message}"));
    }

    fn count(&self, _: &str, _: u64) {}
}

/// Opens a library as a host does, once per process: a library is never unloaded.
fn open(file: &Path) -> Result<Library, Failure> {
    static OPEN: Mutex<BTreeMap<PathBuf, Library>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = open.get(file) {
        return Ok(*library);
    }
    let refused =
        |error: &dyn Error| Failure::new(with_causes(error), "a host accepts the library");
    let place = TempDir::with_prefix("mezzo-testkit-").map_err(|error| refused(&error))?;
    let mut options = Options::new("mezzo-agent", env!("CARGO_PKG_VERSION"), place.path());
    let library =
        mezzo_module_host::Library { file: Some(file.to_owned()), name: None, modules: Vec::new() };
    options.manifests = vec![Manifest { libraries: vec![library] }];
    Modules::load(options).map_err(|error| refused(&error))?;
    let library = Library::open(file).map_err(|error| refused(&error))?;
    open.insert(file.to_owned(), library);
    Ok(library)
}

/// An error and all that caused it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn kind_of(library: Library, file: &Path, module: &str) -> Result<Kind, Failure> {
    let declared = library.modules().into_iter().find(|declared| declared.name() == module);
    declared.and_then(|declared| declared.kind()).ok_or_else(|| missing(module, file))
}

fn missing(module: &str, file: &Path) -> Failure {
    Failure::new(
        format!("`{}` has no module `{module}` of a known kind", file.display()),
        "the module",
    )
}

#[allow(clippy::panic, reason = "a test's own text is wrong")]
fn parse(resources: &str) -> Resources {
    match Resources::parse(resources, &Role::star()) {
        Ok(resources) => resources,
        Err(error) => panic!("`{resources}` is no list of resources: {error}"),
    }
}
