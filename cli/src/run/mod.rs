//! `mezzo run`: a framework that runs commands and ends with them.
//!
//! One task: its output is passed on as it comes, and its exit code is ours. Many: a bar, the last
//! words of those that failed, and exit code 0 only if all finished.

mod exit;
mod follow;
mod jobs;
mod progress;
mod spec;

use std::time::{Duration, Instant};

use mezzo_runtime::shutdown::Shutdown;
use mezzo_sdk::scheduler::{Event, Handle};
use mezzo_sdk::{Aborted, Framework, SchedulerDriver};

use self::follow::Follower;
use self::jobs::{Ended, Jobs, News};
use self::progress::Progress;
use crate::args::RunOptions;
use crate::{CliError, cluster, output};

/// How often a single task's output is looked at for more.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long nothing may be offered before people are told what is missing.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a shell reports after Ctrl-C.
const INTERRUPTED: u8 = 130;
/// Not all of many tasks finished.
const SOME_FAILED: u8 = 1;

/// `mezzo run`.
pub(crate) async fn run(master: &str, options: RunOptions, json: bool) -> Result<u8, CliError> {
    let specs = spec::read(&options)?;
    // A driver waits for its master; a person wants to know at once that there is none.
    drop(cluster::master(master).await?);
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals().map_err(CliError::io("cannot listen for signals"))?;
    let jobs = Jobs::new(&specs);
    let name = if jobs.total() == 1 {
        specs.first().map_or("mezzo run", |spec| spec.name()).to_owned()
    } else {
        format!("mezzo run ({} tasks)", jobs.total())
    };
    let framework = Framework::new(name).role(&options.role);
    let (handle, events) = SchedulerDriver::new(master, framework).start();
    let run = Run {
        progress: Progress::new(jobs.total()),
        single: jobs.total() == 1,
        jobs,
        handle,
        json,
        follower: None,
        code: 0,
        quiet_since: Some(Instant::now()),
    };
    run.until_done(events, &shutdown).await
}

struct Run {
    jobs: Jobs,
    handle: Handle,
    json: bool,
    progress: Progress,
    single: bool,
    follower: Option<Follower>,
    code: u8,
    /// Since when nothing has happened although something waits; none once that was told.
    quiet_since: Option<Instant>,
}

impl Run {
    async fn until_done(
        mut self,
        mut events: mezzo_sdk::scheduler::Events,
        shutdown: &Shutdown,
    ) -> Result<u8, CliError> {
        let began = Instant::now();
        let mut tick = tokio::time::interval(INTERVAL);
        let mut interrupted = false;
        while !self.jobs.done() {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Error(message)) => return Err(Aborted(message).into()),
                    Some(event) => self.event(event).await,
                    None => break,
                },
                _ = tick.tick() => self.tick().await,
                () = shutdown.triggered() => {
                    interrupted = true;
                    break;
                }
            }
            if !self.single {
                self.progress.show(&self.jobs);
            }
        }
        self.progress.finish();
        // The last update is acknowledged by asking for the next event; after teardown there is
        // none.
        self.handle.teardown();
        while events.next().await.is_some() {}
        if interrupted {
            return Ok(INTERRUPTED);
        }
        if self.single {
            return Ok(self.code);
        }
        let seconds = began.elapsed().as_secs_f64();
        if !self.json {
            let finished = self.jobs.ended() - self.jobs.bad();
            let total = self.jobs.total();
            output::remark(&format!("{finished} of {total} tasks finished in {seconds:.1} s"));
        }
        Ok(if self.jobs.bad() == 0 { 0 } else { SOME_FAILED })
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Offers(offers) => self.jobs.offers(&self.handle, offers),
            Event::Update(status) => {
                let news = self.jobs.update(&status);
                self.news(&status.task_id.value, news).await;
            }
            Event::Disconnected => self.progress.remark("the master is gone; trying again"),
            Event::Reregistered(_) => {
                self.progress.remark("the master is back");
                self.handle.reconcile([]);
            }
            _ => {}
        }
    }

    async fn news(&mut self, task_id: &str, news: News) {
        match news {
            News::Nothing => {}
            News::Runs { agent_address } => {
                self.quiet_since = None;
                if self.single {
                    self.follower = self.follow(agent_address.as_deref(), task_id).await;
                }
            }
            News::Again { why } => self.progress.remark(&format!("{task_id}: {why}; trying again")),
            News::Ended(ended) => self.ended(ended).await,
        }
    }

    async fn ended(&mut self, ended: Ended) {
        self.code = ended.exit_code;
        if self.single {
            if self.follower.is_none() {
                self.follower = self.follow(ended.agent_address.as_deref(), &ended.task_id).await;
            }
            self.pass_on().await;
        }
        if self.json {
            let line = serde_json::json!({
                "task_id": ended.task_id,
                "name": ended.name,
                "state": ended.state.as_str_name(),
                "message": ended.message,
                "exit_code": ended.exit_code,
                "seconds": (ended.seconds * 1000.0).round() / 1000.0,
            });
            self.progress.suspend(|| output::answer(&line.to_string()));
        } else if ended.state != mezzo_proto::v1::TaskState::TaskFinished {
            let state = output::state(ended.state);
            self.progress.remark(&format!("{}: {state}: {}", ended.task_id, ended.message));
            if !self.single
                && let Some(mut follower) =
                    self.follow(ended.agent_address.as_deref(), &ended.task_id).await
            {
                for line in follower.last_words().await {
                    self.progress.remark(&format!("{}| {line}", ended.task_id));
                }
            }
        }
    }

    async fn tick(&mut self) {
        self.pass_on().await;
        if self.jobs.waiting() > 0
            && self.jobs.running() == 0
            && self.quiet_since.is_some_and(|since| since.elapsed() >= PATIENCE)
        {
            self.quiet_since = None;
            self.progress.remark(
                "no agent has offered enough yet; 'mezzo agents' shows what there is; still waiting",
            );
        }
    }

    async fn pass_on(&mut self) {
        if let Some(follower) = &mut self.follower
            && let Err(error) = follower.pass_on().await
        {
            self.progress.remark(&format!("the output is not shown for now: {error}"));
            self.follower = None;
        }
    }

    async fn follow(&self, address: Option<&str>, task_id: &str) -> Option<Follower> {
        let framework = self.handle.framework_id()?;
        match Follower::connect(address?, &framework, task_id).await {
            Ok(follower) => Some(follower),
            Err(error) => {
                self.progress.remark(&format!("the output is not shown for now: {error}"));
                None
            }
        }
    }
}
