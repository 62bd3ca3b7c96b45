//! A whole framework: waits for an offer, runs one command on it, says how it ended.

use mezzo_sdk::v1::{Offer, TaskState, TaskStatus};
use mezzo_sdk::{Framework, Handle, Packing, Scheduler, SchedulerDriver, Task};

struct Hello {
    task: Option<Task>,
    end: TaskState,
}

impl Scheduler for Hello {
    fn offers(&mut self, handle: &Handle, offers: Vec<Offer>) {
        let mut packing = Packing::new(offers);
        self.task.take_if(|task| packing.place(task).is_some());
        packing.launch(handle);
    }

    fn status_update(&mut self, handle: &Handle, status: TaskStatus) {
        self.end = status.state();
        if mezzo_sdk::is_terminal(self.end) {
            handle.teardown();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "this program is here to tell")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let master = arguments.next().or_else(|| std::env::var("MEZZO_MASTER").ok());
    let command = arguments.next().unwrap_or_else(|| "echo hello".to_owned());
    let task = Task::shell(command).name("hello").cpus(0.1).mem(32.0);
    let hello = Hello { task: Some(task), end: TaskState::TaskStaging };
    let master = master.unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    let hello = SchedulerDriver::new(master, Framework::new("hello")).run(hello).await?;
    anyhow::ensure!(hello.end == TaskState::TaskFinished, "the task ended as {:?}", hello.end);
    println!("hello-framework: TASK_FINISHED");
    Ok(())
}
