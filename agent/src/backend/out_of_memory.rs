//! Whether it was want of memory that ended a process: the kernel's counters, and what the process said last.

use std::fs;

/// How many processes had been killed for want of memory at some time, as each counter told it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct KillCounter(Vec<(String, u64)>);

impl KillCounter {
    /// Looks at the kernel's counter and at those of the control groups that we are in; none of them says who was killed.
    pub(super) fn now() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = ["/proc/vmstat".to_owned()];
        let files = files.into_iter().chain(groups.lines().flat_map(counters));
        Self(
            files
                .filter_map(|file| Some((file.clone(), kills(&fs::read_to_string(file).ok()?)?)))
                .collect(),
        )
    }

    /// Whether any counter is higher now.
    pub(super) fn has_risen(&self) -> bool {
        Self::now().is_above(self)
    }

    fn is_above(&self, before: &Self) -> bool {
        let is_higher = |(file, kills): &(String, u64)| {
            let old = before.0.iter().find(|(other, _)| other == file);
            old.is_some_and(|(_, old)| kills > old)
        };
        self.0.iter().any(is_higher)
    }
}

/// Whether these last words say that there was not enough memory.
pub(super) fn wants_memory(last_words: &str) -> bool {
    let last_words = last_words.to_ascii_lowercase();
    PHRASES.iter().any(|phrase| last_words.contains(phrase))
}

/// The counters of a line of /proc/self/cgroup, `0::/path` or `4:memory:/path`; in a container the path may be that of outside,
/// where the files lie at the root.
fn counters(line: &str) -> Vec<String> {
    let (root, file, path) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        ["0", "", path] => ("/sys/fs/cgroup", "memory.events", path),
        [_, "memory", path] => ("/sys/fs/cgroup/memory", "memory.oom_control", path),
        _ => return Vec::new(),
    };
    let at = |path: &str| format!("{root}{}/{file}", path.trim_end_matches('/'));
    vec![at(path), at("")]
}

/// `oom_kill 3` among other lines.
fn kills(counters: &str) -> Option<u64> {
    let mut lines = counters.lines();
    lines
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

/// How the C++ library, llama.cpp, CUDA, GNU and Python say that there is no memory, in small letters.
const PHRASES: [&str; 8] = [
    "std::bad_alloc",
    "insufficient memory",
    "failed to allocate",
    "out of memory",
    "cannot allocate memory",
    "memory exhausted",
    "memoryerror",
    "cudaerrormemoryallocation",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_known_by_its_words() {
        for words in [
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9",
            "OSError: [Errno 12] Cannot allocate memory",
            "MemoryError",
        ] {
            assert!(wants_memory(words), "{words}");
        }
        assert!(!wants_memory("error loading model: no such file"));
    }

    #[test]
    fn a_counter_that_rose_or_did_not() {
        let counter = |kills| KillCounter(vec![("a".to_owned(), 7), ("b".to_owned(), kills)]);
        assert!(counter(3).is_above(&counter(2)));
        assert!(!counter(2).is_above(&counter(2)));
        assert!(!counter(3).is_above(&KillCounter(Vec::new())));
    }

    #[test]
    fn each_kind_of_control_group_has_its_file() {
        let want = [
            "/sys/fs/cgroup/user.slice/a/memory.events",
            "/sys/fs/cgroup/memory.events",
        ];
        assert_eq!(counters("0::/user.slice/a"), want);
        assert_eq!(counters("0::/")[0], want[1]);
        let old = counters("4:memory:/docker/1");
        assert_eq!(old[0], "/sys/fs/cgroup/memory/docker/1/memory.oom_control");
        assert!(counters("5:cpu,cpuacct:/docker/1").is_empty());
        assert_eq!(
            kills("low 0\noom 4\noom_kill 3\noom_group_kill 0\n"),
            Some(3)
        );
        assert_eq!(kills("low 0\n"), None);
    }
}
