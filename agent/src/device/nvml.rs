//! NVIDIA's management library: found, started in the process that reads, and every GPU asked once for everything.
//!
//! The library is loaded at run time, so an agent runs without it. Which questions a GPU answers differs by board, driver and
//! user, and cannot be told from a version: each is asked when the library is opened, a refusal is kept with its reason, and
//! what was refused is not asked again.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nvml_wrapper::{
    Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor,
    enums::device::UsedGpuMemory, error::NvmlError, struct_wrappers::device::ProcessInfo,
};

use super::HostRoot;

pub use self::{
    feature::{Answer, Feature, Figure, LIMITS, Refusal},
    gauges::{GpuGauges, NvmlGauges},
};

/// One question each.
mod feature;

/// How the GPUs are doing now.
mod gauges;

/// What does not change.
pub(super) mod facts;

/// The library, started, and what each of its GPUs tells.
pub struct Library {
    nvml: Nvml,
    root: HostRoot,
    /// Of driver and library.
    pub versions: Versions,
    /// In the library's order.
    pub gpus: Vec<Gpu>,
}

/// Versions that belong to the machine, not to a GPU.
#[derive(Debug)]
pub struct Versions {
    /// The kernel's driver.
    pub driver: Answer<String>,
    /// This library.
    pub nvml: Answer<String>,
    /// The newest CUDA that the driver can serve, not the toolkit that is installed.
    pub cuda_driver: Answer<String>,
}

/// One GPU, as it answered when it was asked first.
#[derive(Debug)]
pub struct Gpu {
    /// Its place in the library's order.
    pub index: u32,
    /// What NVIDIA calls it.
    pub name: Answer<String>,
    /// Which instructions it has, `12.1`.
    pub compute_capability: Answer<String>,
    /// Memory of its own; refused where it shares the processor's.
    pub memory_total_bytes: Answer<u64>,
    /// To every feature, when the library was opened.
    answers: BTreeMap<Feature, Answer<Figure>>,
}

/// Why there is no library to ask.
#[derive(Debug, thiserror::Error)]
pub enum NoLibrary {
    /// A recorded host without one.
    #[error("the host root is a recording, which has no library to ask")]
    Recording,
    /// Whoever may write to it would be root by it.
    #[error(
        "`{0}` is not loaded as root, for others may change it or a folder above it: chown root and chmod go-w them"
    )]
    Untrusted(String),
    /// Nowhere.
    #[error("no NVIDIA driver library (`{0}`)")]
    Missing(String),
    /// It is there, and says no.
    #[error("NVML does not start: {0}")]
    DoesNotStart(NvmlError),
}

/// A process that computes on a GPU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Process {
    number: u32,
    /// Nothing where the driver does not tell.
    memory_bytes: Option<u64>,
}

impl Library {
    /// Loads and starts the library and asks every GPU everything once.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub fn open(root: &HostRoot) -> Result<Self, NoLibrary> {
        let nvml = load(&places(root)?)?;
        let count = nvml.device_count().map_err(NoLibrary::DoesNotStart)?;
        Ok(Self {
            versions: Versions::ask(&nvml),
            gpus: (0..count).map(|index| Gpu::ask(&nvml, index)).collect(),
            nvml,
            root: root.clone(),
        })
    }

    /// Asks again for what was answered first.
    ///
    /// # Errors
    /// It was refused then, which is not tried again; or it is now.
    pub fn read(&self, gpu: &Gpu, feature: Feature) -> Answer<Figure> {
        gpu.first(feature)?;
        feature.ask(&self.device(gpu)?)
    }

    /// Processes that compute on it.
    fn processes(&self, gpu: &Gpu) -> Answer<Vec<Process>> {
        gpu.first(Feature::ComputeProcesses)?;
        let processes = self.device(gpu)?.running_compute_processes()?;
        Ok(processes.into_iter().map(Process::from).collect())
    }

    fn device(&self, gpu: &Gpu) -> Answer<Device<'_>> {
        Ok(self.nvml.device_by_index(gpu.index)?)
    }
}

impl Versions {
    fn ask(nvml: &Nvml) -> Self {
        let cuda = |version| {
            let (major, minor) = (
                cuda_driver_version_major(version),
                cuda_driver_version_minor(version),
            );
            format!("{major}.{minor}")
        };
        Self {
            driver: text(nvml.sys_driver_version()),
            nvml: text(nvml.sys_nvml_version()),
            cuda_driver: nvml
                .sys_cuda_driver_version()
                .map(cuda)
                .map_err(Refusal::from),
        }
    }
}

impl Gpu {
    fn ask(nvml: &Nvml, index: u32) -> Self {
        let ask = || nvml.device_by_index(index);
        let capability = || ask()?.cuda_compute_capability();
        let capability = capability().map(|version| format!("{}.{}", version.major, version.minor));
        let memory = || ask()?.memory_info();
        let answer = |feature: Feature| feature.ask(&ask()?);
        Self {
            index,
            name: text(ask().and_then(|gpu| gpu.name())),
            compute_capability: capability.map_err(Refusal::from),
            memory_total_bytes: memory().map(|memory| memory.total).map_err(Refusal::from),
            answers: Feature::ALL
                .into_iter()
                .map(|feature| (feature, answer(feature)))
                .collect(),
        }
    }

    /// What it answered when the library was opened.
    ///
    /// # Errors
    /// It refused, and is not asked again.
    pub fn first(&self, feature: Feature) -> Answer<Figure> {
        self.answers[&feature].clone()
    }

    /// Whether it answered then.
    pub fn tells(&self, feature: Feature) -> bool {
        self.first(feature).is_ok()
    }

    /// `gpu0 NVIDIA GB10`
    pub fn label(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        format!("gpu{} {name}", self.index).trim_end().to_owned()
    }
}

impl From<ProcessInfo> for Process {
    /// A driver that does not tell a process's memory says so, or says 0: nobody computes without any.
    fn from(process: ProcessInfo) -> Self {
        Self {
            number: process.pid,
            memory_bytes: match process.used_gpu_memory {
                UsedGpuMemory::Unavailable | UsedGpuMemory::Used(0) => None,
                UsedGpuMemory::Used(bytes) => Some(bytes),
            },
        }
    }
}

/// The machine's libraries by name, for the loader to find; of another root those that lie in its tree, and to root only
/// those that nobody else can change: a library does what it likes as whoever loads it.
fn places(root: &HostRoot) -> Result<Vec<PathBuf>, NoLibrary> {
    if root.is_system() {
        return Ok(LIBRARIES.map(PathBuf::from).to_vec());
    }
    let places = LIBRARIES.iter().filter(|place| place.starts_with('/'));
    let places = places.map(|place| root.join(place));
    // Without links: what is judged is what is loaded.
    let places = places.filter_map(|place| place.canonicalize().ok());
    let places = places.filter(|place| place.is_file());
    if !rustix::process::geteuid().is_root() {
        return Ok(places.collect());
    }
    let (trusted, others): (Vec<_>, Vec<_>) = places.partition(|place| is_roots_alone(place));
    match others.first() {
        Some(place) if trusted.is_empty() => Err(NoLibrary::Untrusted(place.display().to_string())),
        _ => Ok(trusted),
    }
}

/// Whether only root can write to it or put something else in its place.
fn is_roots_alone(file: &Path) -> bool {
    file.ancestors().all(|part| {
        fs::symlink_metadata(part).is_ok_and(|part| {
            let mode = part.mode();
            // As `/tmp` has it: anyone may add to the folder, and only its owner may take a file away.
            let is_sticky = part.is_dir() && mode & STICKY != 0;
            part.uid() == 0 && (mode & WRITABLE_BY_OTHERS == 0 || is_sticky)
        })
    })
}

fn load(places: &[PathBuf]) -> Result<Nvml, NoLibrary> {
    let first = places.first().ok_or(NoLibrary::Recording)?;
    let mut said = None;
    for place in places {
        match Nvml::builder().lib_path(place.as_os_str()).init() {
            Ok(nvml) => return Ok(nvml),
            // That a place has none says nothing of the others.
            Err(NvmlError::LibloadingError(_)) => {}
            Err(error) => said = said.or(Some(error)),
        }
    }
    // The first is the ordinary place.
    Err(said.map_or_else(
        || NoLibrary::Missing(first.display().to_string()),
        NoLibrary::DoesNotStart,
    ))
}

/// A word of the driver's; an empty one says nothing.
fn text(told: Result<String, NvmlError>) -> Answer<String> {
    match told?.trim() {
        "" => Err(Refusal::Absent("the driver says nothing".to_owned())),
        words => Ok(words.to_owned()),
    }
}

/// Of a file's mode: group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Of a folder's mode: a file in it belongs to its owner.
const STICKY: u32 = 0o1000;

/// Where the library may be: the loader's choice, then Jetson's places, then WSL's.
const LIBRARIES: [&str; 5] = [
    "libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/tegra/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
];
