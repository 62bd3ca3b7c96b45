//! Sharing files out among tasks.

use crate::tree::Input;

/// The arguments of one process have a limit; half of the usual one is far enough from it.
const ARGUMENTS: usize = 1 << 20;

/// Shares `files` out among at least `count` parts (or one each, if there are fewer files), about
/// equal in size: the largest file first, each to the part that has least.
pub(crate) fn split(mut files: Vec<Input>, count: usize) -> Vec<Vec<Input>> {
    let longest: usize = files.iter().map(argument).sum();
    let count = count.max(longest.div_ceil(ARGUMENTS)).min(files.len()).max(1);
    files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    let mut parts: Vec<(u64, Vec<Input>)> = vec![(0, Vec::new()); count];
    for file in files {
        // Small files have a cost of their own: two processes each.
        let weight = file.size + 4096;
        if let Some(least) = parts.iter_mut().min_by_key(|(weight, _)| *weight) {
            least.0 += weight;
            least.1.push(file);
        }
    }
    parts.into_iter().map(|(_, files)| files).collect()
}

fn argument(file: &Input) -> usize {
    // The text, its end, and the pointer to it.
    file.path.as_os_str().len() + 9
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn inputs(sizes: &[u64]) -> Vec<Input> {
        let input = |(index, size): (usize, &u64)| Input {
            path: PathBuf::from(format!("/f{index}")),
            size: *size,
        };
        sizes.iter().enumerate().map(input).collect()
    }

    #[test]
    fn every_file_is_in_one_part_and_parts_are_about_equal() {
        let files = inputs(&[1_000_000, 900_000, 500_000, 500_000, 10, 20, 30]);
        let parts = split(files.clone(), 3);
        assert_eq!(parts.len(), 3);
        let all: BTreeSet<_> = parts.iter().flatten().map(|file| file.path.clone()).collect();
        assert_eq!(all.len(), files.len());
        let sizes: Vec<u64> =
            parts.iter().map(|part| part.iter().map(|file| file.size).sum()).collect();
        assert!(sizes.iter().all(|size| (800_000..1_200_000).contains(size)), "{sizes:?}");
    }

    #[test]
    fn there_are_never_more_parts_than_files_and_never_too_many_arguments() {
        assert_eq!(split(inputs(&[1, 2]), 64).len(), 2);
        let many: Vec<Input> = (0..20_000)
            .map(|index| Input { path: PathBuf::from(format!("/{index:0200}")), size: 1 })
            .collect();
        let parts = split(many, 1);
        assert!(parts.len() >= 4);
        let longest = parts.iter().map(|part| part.iter().map(argument).sum::<usize>()).max();
        assert!(longest.unwrap() < 2 * ARGUMENTS);
    }
}
