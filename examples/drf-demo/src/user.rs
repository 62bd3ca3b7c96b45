//! One user's framework: one task per offer, for as long as one fits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mezzo_sdk::scheduler::launch;
use mezzo_sdk::v1::scheduler::event::Subscribed;
use mezzo_sdk::v1::{self, Offer, TaskState, TaskStatus};
use mezzo_sdk::{Handle, Packing, Scheduler, Task, is_terminal};

use crate::board::{Board, CPUS, MEM, WISHES, Wish};
use crate::tell;

/// One of the two users.
pub(crate) struct User {
    index: usize,
    board: Arc<Mutex<Board>>,
    running: Vec<v1::TaskId>,
}

impl User {
    pub(crate) fn new(index: usize, board: Arc<Mutex<Board>>) -> Self {
        Self { index, board, running: Vec::new() }
    }

    fn wish(&self) -> &'static Wish {
        let [a, b] = &WISHES;
        if self.index == 0 { a } else { b }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.wish().name
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, number: u32) -> Task {
        let wish = self.wish();
        Task::shell("exec sleep 1000")
            .id(format!("{}-{number}", wish.name))
            .name(wish.name)
            .cpus(wish.cpus)
            .mem(wish.mem)
    }
}

fn amount(offer: &Offer, name: &str) -> f64 {
    let same = offer.resources.iter().filter(|resource| resource.name == name);
    same.filter_map(|resource| resource.scalar.as_ref()).map(|scalar| scalar.value).sum()
}

impl Scheduler for User {
    fn subscribed(&mut self, _handle: &Handle, _subscribed: Subscribed) {
        let index = self.index;
        if let Some(here) = self.board().here.get_mut(index) {
            *here = true;
        }
    }

    fn offers(&mut self, handle: &Handle, offers: Vec<Offer>) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if board.over() {
            handle.teardown();
            return;
        }
        for offer in offers {
            let id = offer.id.clone();
            let (cpus, mem) = (amount(&offer, "cpus"), amount(&offer, "mem"));
            if board.launched == [0, 0] && (cpus, mem) != (CPUS, MEM) {
                board.wrong = Some(format!(
                    "the first offer is <{cpus} CPUs, {mem} MB>, expected <{CPUS} CPUs, {MEM} MB>: \
                     this demo needs one agent with --resources='cpus:9;mem:18432' and nobody else"
                ));
                handle.teardown();
                return;
            }
            // What is refused for no time comes again at once, to whoever is due.
            let at_once = v1::Filters { refuse_seconds: Some(0.0) };
            if !board.open() {
                handle.decline([id], at_once.refuse_seconds);
                continue;
            }
            let number = board.launched.get(self.index).copied().unwrap_or(0) + 1;
            let mut packing = Packing::new([offer]);
            if packing.place(&self.task(number)).is_some() {
                let tasks = packing.tasks().cloned().collect();
                handle.accept([id], vec![launch(tasks)], Some(at_once));
                board.launch(self.index);
                tell(&format!(
                    "{} is offered <{cpus} CPUs, {mem} MB> and launches: {}",
                    self.name(),
                    board.shares()
                ));
            } else {
                if let Some(full) = board.full.get_mut(self.index) {
                    *full = true;
                }
                handle.decline([id], at_once.refuse_seconds);
            }
        }
    }

    fn status_update(&mut self, _handle: &Handle, status: TaskStatus) {
        let index = self.index;
        if status.state() == TaskState::TaskRunning && !self.running.contains(&status.task_id) {
            self.running.push(status.task_id);
            if let Some(running) = self.board().running.get_mut(index) {
                *running += 1;
            }
        } else if is_terminal(status.state()) {
            let state = status.state().as_str_name();
            let wrong = format!("{}: {state}: {}", status.task_id.value, status.message());
            self.board().wrong.get_or_insert(wrong);
        }
    }
}
