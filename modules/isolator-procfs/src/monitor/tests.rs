//! Rounds of made-up processes: the examples of YARN's documentation and of its own tests, and what they leave open.

use super::*;

const TICK: u64 = 10;
const ROUND: u64 = 3_000;
const MB: u64 = 1 << 20;

/// A container over many rounds.
struct Rounds {
    monitored: Monitored,
    now: u64,
    limits: Limits,
}

impl Rounds {
    fn new(virtual_bytes: u64, physical_bytes: u64) -> Self {
        let limits =
            Limits { virtual_bytes: Some(virtual_bytes), physical_bytes: Some(physical_bytes) };
        Self { monitored: Monitored::default(), now: 1_000_000, limits }
    }

    /// Only virtual memory is limited.
    fn of_virtual(limit: u64) -> Self {
        let mut rounds = Self::new(limit, 0);
        rounds.limits.physical_bytes = None;
        rounds
    }

    fn next(&mut self, processes: &[Process]) -> Verdict {
        self.now += ROUND;
        self.monitored.round(processes.to_vec(), self.now, TICK, self.limits)
    }
}

/// A process by pid and virtual memory.
fn process(pid: i32, virtual_bytes: u64) -> Process {
    Process { pid, start_time: 1, virtual_bytes, ..Process::default() }
}

/// A process by pid and physical memory.
fn holding(pid: i32, physical_bytes: u64) -> Process {
    Process { virtual_bytes: physical_bytes, physical_bytes, ..process(pid, 0) }
}

fn busy(pid: i32, ticks: u64) -> Process {
    Process { user_ticks: ticks / 2, system_ticks: ticks - ticks / 2, ..process(pid, 1) }
}

fn over(kind: Kind, excess: u64) -> Verdict {
    Verdict::Over { kind, excess }
}

#[test]
fn the_first_round_never_judges() {
    let mut rounds = Rounds::of_virtual(700_000);
    let far_over = [process(100, u64::MAX)];
    assert_eq!(rounds.next(&far_over), Verdict::TooEarly);
    assert_eq!(rounds.next(&far_over), over(Kind::Virtual, u64::MAX - 700_000));
}

#[test]
fn more_than_twice_the_limit_counts_at_any_age_and_more_than_once_only_when_aged() {
    // Three trees with the same limit: 100 and 500 are more than twice over, 200 with 300 and 400 once, 600 and 700 below.
    let mut twice = Rounds::of_virtual(700_000);
    twice.next(&[process(100, 100_000)]);
    let new_child = [process(100, 100_000), process(500, 1_500_000)];
    assert_eq!(twice.next(&new_child), over(Kind::Virtual, 900_000), "the child has age 1");

    let mut once = Rounds::of_virtual(700_000);
    once.next(&[]);
    let tree = [process(200, 200_000), process(300, 300_000), process(400, 400_000)];
    assert_eq!(once.next(&tree), Verdict::Within, "all have age 1");
    assert_eq!(once.next(&tree), over(Kind::Virtual, 200_000));

    let mut never = Rounds::of_virtual(700_000);
    let tree = [process(600, 100_000), process(700, 100_000)];
    never.next(&tree);
    for _ in 0..5 {
        assert_eq!(never.next(&tree), Verdict::Within);
    }
}

#[test]
fn the_limit_itself_and_twice_the_limit_are_not_over_it() {
    let mut rounds = Rounds::of_virtual(1000);
    rounds.next(&[process(100, 1000)]);
    assert_eq!(rounds.next(&[process(100, 1000)]), Verdict::Within);
    let fork = [process(100, 1000), process(200, 1000)];
    assert_eq!(rounds.next(&fork), Verdict::Within, "exactly twice");
    assert_eq!(rounds.next(&[process(100, 1000), process(300, 1001)]), over(Kind::Virtual, 1001));
    assert_eq!(rounds.next(&[process(100, 1001)]), over(Kind::Virtual, 1));
}

#[test]
fn a_fork_that_doubles_memory_for_a_moment_is_not_over() {
    let mut rounds = Rounds::new(10_000 * MB, 1000 * MB);
    let parent = holding(100, 900 * MB);
    rounds.next(std::slice::from_ref(&parent));
    for round in 0..10 {
        // Each fork is gone, or has become something small, by the next round.
        let fork = holding(1000 + round, 900 * MB);
        assert_eq!(rounds.next(&[parent.clone(), fork]), Verdict::Within);
        let small = holding(1000 + round, 5 * MB);
        assert_eq!(rounds.next(&[parent.clone(), small]), Verdict::Within);
    }
}

#[test]
fn a_tree_that_stays_over_is_over() {
    let mut rounds = Rounds::new(10_000 * MB, 1000 * MB);
    let tree = [holding(100, 900 * MB), holding(200, 900 * MB)];
    rounds.next(&tree[..1]);
    assert_eq!(rounds.next(&tree), Verdict::Within);
    assert_eq!(rounds.next(&tree), over(Kind::Physical, 800 * MB), "the child has grown old");
}

#[test]
fn the_excess_is_of_all_processes_not_only_of_the_aged() {
    let mut rounds = Rounds::of_virtual(1000);
    rounds.next(&[process(100, 1001)]);
    let with_child = [process(100, 1001), process(200, 500)];
    assert_eq!(rounds.next(&with_child), over(Kind::Virtual, 501));
}

#[test]
fn virtual_memory_is_judged_before_physical() {
    let mut rounds = Rounds::new(2000, 1000);
    let both = Process { virtual_bytes: 9000, physical_bytes: 8000, ..process(100, 0) };
    rounds.next(std::slice::from_ref(&both));
    assert_eq!(rounds.next(std::slice::from_ref(&both)), over(Kind::Virtual, 7000));
    rounds.limits.virtual_bytes = None;
    assert_eq!(rounds.next(&[both]), over(Kind::Physical, 7000));
}

#[test]
fn new_limits_count_from_the_next_round_on() {
    let mut rounds = Rounds::new(u64::MAX, 1000);
    let tree = [holding(100, 2000)];
    rounds.next(&tree);
    rounds.limits.physical_bytes = Some(3000);
    assert_eq!(rounds.next(&tree), Verdict::Within);
    rounds.limits.physical_bytes = Some(1500);
    assert_eq!(rounds.next(&tree), over(Kind::Physical, 500));
    rounds.limits = Limits::default();
    assert_eq!(rounds.next(&tree), Verdict::Within, "no limits");
}

#[test]
fn ages_are_counted_in_rounds() {
    let mut rounds = Rounds::of_virtual(u64::MAX);
    let total = |rounds: &Rounds, above_age| rounds.monitored.total(above_age).virtual_bytes;
    let mut tree = vec![process(100, 100_000), process(200, 200_000), process(400, 400_000)];
    rounds.next(&tree);
    assert_eq!((total(&rounds, 0), total(&rounds, 1)), (700_000, 0));
    tree.push(process(500, 500_000));
    rounds.next(&tree);
    assert_eq!((total(&rounds, 0), total(&rounds, 1)), (1_200_000, 700_000));
    tree.push(process(600, 600_000));
    rounds.next(&tree);
    assert_eq!([0, 1, 2, 3].map(|age| total(&rounds, age)), [1_800_000, 1_200_000, 700_000, 0]);
}

#[test]
fn a_pid_that_is_used_again_is_young() {
    let mut rounds = Rounds::of_virtual(1000);
    rounds.next(&[process(100, 10), process(200, 600)]);
    rounds.next(&[process(100, 10), process(200, 600)]);
    let again = Process { start_time: 2, ..process(200, 1500) };
    assert_eq!(rounds.next(&[process(100, 10), again.clone()]), Verdict::Within);
    assert_eq!(rounds.next(&[process(100, 10), again]), over(Kind::Virtual, 510));
}

#[test]
fn a_tree_that_is_gone_is_within_and_comes_back_young() {
    let mut rounds = Rounds::of_virtual(1000);
    rounds.next(&[process(100, 1500)]);
    assert_eq!(rounds.next(&[]), Verdict::Within);
    assert_eq!(rounds.monitored.total(0), Memory::default());
    assert_eq!(rounds.next(&[process(100, 1500)]), Verdict::Within);
    assert_eq!(rounds.next(&[process(100, 1500)]), over(Kind::Virtual, 500));
}

#[test]
fn a_child_that_ends_makes_the_round_not_judge() {
    let mut rounds = Rounds::of_virtual(0);
    rounds.next(&[busy(100, 100), busy(200, 900)]);
    // The tree is over all the time; in this round more CPU time has gone than come.
    assert_eq!(rounds.next(&[busy(100, 200)]), Verdict::TooEarly);
    assert_eq!(rounds.next(&[busy(100, 300)]), over(Kind::Virtual, 1));
}

#[test]
fn a_container_cannot_hide_behind_ending_children_for_ever() {
    let mut rounds = Rounds::of_virtual(0);
    rounds.next(&[busy(100, 10_000)]);
    let hides = |rounds: &mut Rounds, left: u64| rounds.next(&[busy(100, left)]);
    for round in 1..=3 {
        assert_eq!(hides(&mut rounds, 10_000 - round), Verdict::TooEarly, "round {round}");
    }
    assert_eq!(hides(&mut rounds, 9_000), over(Kind::Virtual, 1));
    assert_eq!(hides(&mut rounds, 9_500), over(Kind::Virtual, 1), "a round that judges anyway");
    assert_eq!(hides(&mut rounds, 9_400), Verdict::TooEarly, "the count has started again");
}

#[test]
fn rounds_that_come_too_fast_keep_the_percentage() {
    let mut monitored = Monitored::default();
    let limits = Limits { virtual_bytes: Some(0), physical_bytes: None };
    let mut round = |now| monitored.round(vec![process(100, 5)], now, TICK, limits);
    assert_eq!(round(1000), Verdict::TooEarly);
    assert_eq!(round(1100), Verdict::TooEarly, "ten ticks are not enough for a percentage");
    assert_eq!(round(1101), over(Kind::Virtual, 5));
}

#[test]
fn cpu_time_adds_up_over_processes_that_end() {
    let mut rounds = Rounds::of_virtual(u64::MAX);
    rounds.next(&[busy(100, 1200), busy(200, 2400), busy(300, 3600)]);
    assert_eq!(rounds.monitored.cpu_ticks(), 7200);
    rounds.next(&[busy(100, 2300), busy(200, 3500)]);
    assert_eq!(rounds.monitored.cpu_ticks(), 9400, "what 300 used stays, but for its end");
    rounds.next(&[busy(100, 2300), busy(200, 3500), busy(500, 100)]);
    assert_eq!(rounds.monitored.cpu_ticks(), 9500);
}
