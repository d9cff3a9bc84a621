//! What NVIDIA's library knows of the machine and does not change; of several GPUs those that are alike once.

use std::{collections::BTreeSet, fmt};

use tokwatt_domain::device::DeviceKind;

use super::{Answer, Feature, Gpu, Library, NoLibrary};
use crate::device::HostRoot;

/// A fact, or the reason why there is none.
type Fact = Result<String, String>;

/// What was found on this host.
pub(crate) struct Facts(Result<Library, NoLibrary>);

impl Facts {
    pub(crate) fn look(root: &HostRoot) -> Self {
        Self(Library::open(root))
    }

    /// The kernel's driver.
    pub(crate) fn driver(&self) -> Fact {
        told(&self.library()?.versions.driver)
    }

    /// Facts by name. Memory counts where it is not the machine's.
    pub(crate) fn named(&self, kind: DeviceKind) -> [(&'static str, Fact); 6] {
        let memory = match kind {
            DeviceKind::Generic => self.memory_bytes(),
            _ => Err("the GPU shares the machine's memory: memory_total_bytes".to_owned()),
        };
        [
            (
                "nvml_version",
                self.version(|library| &library.versions.nvml),
            ),
            (
                "cuda_driver_version",
                self.version(|library| &library.versions.cuda_driver),
            ),
            ("gpu_name", self.names()),
            (
                "gpu_compute_capability",
                self.of_each(|gpu| gpu.compute_capability.clone()),
            ),
            ("gpu_memory_total_bytes", memory),
            ("mig_mode", self.of_each(mig_mode)),
        ]
    }

    fn version(&self, of: impl Fn(&Library) -> &Answer<String>) -> Fact {
        told(of(self.library()?))
    }

    /// `2 × NVIDIA RTX A2000`
    fn names(&self) -> Fact {
        let gpus = self.gpus()?;
        let name = self.of_each(|gpu| gpu.name.clone())?;
        Ok(match gpus.len() {
            1 => name,
            n if !name.contains(SEPARATOR) => format!("{n} × {name}"),
            _ => name,
        })
    }

    /// Of all GPUs together.
    fn memory_bytes(&self) -> Fact {
        let each = self
            .gpus()?
            .iter()
            .map(|gpu| gpu.memory_total_bytes.clone());
        let each: Vec<u64> = each
            .collect::<Answer<_>>()
            .map_err(|refusal| refusal.to_string())?;
        Ok(each.iter().sum::<u64>().to_string())
    }

    /// What they all answer, or every different answer; the first refusal.
    fn of_each<T: fmt::Display>(&self, of: impl Fn(&Gpu) -> Answer<T>) -> Fact {
        let each = self.gpus()?.iter().map(|gpu| told(&of(gpu)));
        let different: BTreeSet<String> = each.collect::<Result<_, _>>()?;
        Ok(Vec::from_iter(different).join(SEPARATOR))
    }

    fn gpus(&self) -> Result<&[Gpu], String> {
        match &*self.library()?.gpus {
            [] => Err("the library is there and finds no GPU".to_owned()),
            gpus => Ok(gpus),
        }
    }

    fn library(&self) -> Result<&Library, String> {
        self.0.as_ref().map_err(ToString::to_string)
    }
}

fn told<T: fmt::Display>(answer: &Answer<T>) -> Fact {
    match answer {
        Ok(told) => Ok(told.to_string()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

fn mig_mode(gpu: &Gpu) -> Answer<&'static str> {
    let mode = gpu.first(Feature::MigMode)?;
    Ok(if mode.value == 0 { "off" } else { "on" })
}

const SEPARATOR: &str = " + ";
