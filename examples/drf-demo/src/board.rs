//! What both users' frameworks know of each other: nothing in a real cluster, but a demo has to
//! begin together and to end together.

/// What the agent has.
pub(crate) const CPUS: f64 = 9.0;
pub(crate) const MEM: f64 = 18_432.0;

/// A user and what one task of theirs needs.
pub(crate) struct Wish {
    pub(crate) name: &'static str,
    pub(crate) cpus: f64,
    pub(crate) mem: f64,
}

pub(crate) const WISHES: [Wish; 2] =
    [Wish { name: "A", cpus: 1.0, mem: 4_096.0 }, Wish { name: "B", cpus: 3.0, mem: 1_024.0 }];

/// How far the demo is.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) here: [bool; 2],
    pub(crate) launched: [u32; 2],
    pub(crate) running: [u32; 2],
    /// Who was offered less than one task needs, after the last launch of anybody.
    pub(crate) full: [bool; 2],
    /// Why this cluster is not the one of the example.
    pub(crate) wrong: Option<String>,
}

impl Board {
    /// Whether both users are there, so that none takes everything before the other has come.
    pub(crate) fn open(&self) -> bool {
        self.here == [true, true]
    }

    /// Whether everything that fits runs.
    pub(crate) fn over(&self) -> bool {
        self.wrong.is_some() || (self.full == [true, true] && self.running == self.launched)
    }

    pub(crate) fn launch(&mut self, index: usize) {
        if let Some(launched) = self.launched.get_mut(index) {
            *launched += 1;
        }
        self.full = [false, false];
    }

    /// `A 3 tasks, dominant share 2/3 (mem); B 2 tasks, dominant share 2/3 (cpus)`.
    pub(crate) fn shares(&self) -> String {
        let parts = WISHES.iter().zip(self.launched).map(|(wish, tasks)| {
            let (of_cpus, of_mem) = (wish.cpus / CPUS, wish.mem / MEM);
            let (name, ninths) = if of_cpus > of_mem {
                ("cpus", f64::from(tasks) * of_cpus * 9.0)
            } else {
                ("mem", f64::from(tasks) * of_mem * 9.0)
            };
            format!("{} {tasks} tasks, dominant share {} ({name})", wish.name, fraction(ninths))
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

/// Ninths as a fraction in lowest terms; every share of this example is one.
fn fraction(ninths: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9")]
    let ninths = ninths.round() as u32;
    match ninths {
        0 => "0".to_owned(),
        9 => "1".to_owned(),
        n if n % 3 == 0 => format!("{}/3", n / 3),
        n => format!("{n}/9"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_as_fractions_of_the_dominant_resource() {
        let board = Board { launched: [3, 2], ..Board::default() };
        assert_eq!(
            board.shares(),
            "A 3 tasks, dominant share 2/3 (mem); B 2 tasks, dominant share 2/3 (cpus)"
        );
        let board = Board { launched: [1, 0], ..Board::default() };
        assert!(
            board
                .shares()
                .starts_with("A 1 tasks, dominant share 2/9 (mem); B 0 tasks, dominant share 0")
        );
    }
}
