//! One labelled channel of a power monitor, in the three layouts that drivers give its files.

use crate::{
    device::{HostRoot, Register, drivers},
    power::{
        Absent, ReadError,
        hwmon::{self, Conversion},
    },
};

/// A rail that can be read.
#[derive(Debug)]
pub(super) struct Channel {
    /// The rail's name.
    pub(super) label: String,
    /// How often its chip has something new.
    pub(super) conversion: Conversion,
    figure: Figure,
}

/// What the driver tells of a rail.
#[derive(Debug)]
enum Figure {
    Product {
        millivolts: Register,
        milliamperes: Register,
    },
    Milliwatts(Register),
    Microwatts(Register),
}

/// All channels of all chips, and why some are none.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) channels: Vec<Channel>,
    pub(super) refusals: Vec<String>,
}

impl Channel {
    /// The rail's power now; negative while it feeds back.
    pub(super) fn microwatts(&self) -> Result<i64, ReadError> {
        Ok(match &self.figure {
            // Nothing between the two reads: they are one reading.
            Figure::Product {
                millivolts,
                milliamperes,
            } => millivolts.read()?.saturating_mul(milliamperes.read()?),
            Figure::Milliwatts(power) => power.read()?.saturating_mul(1000),
            Figure::Microwatts(power) => power.read()?,
        })
    }
}

impl Found {
    /// Looks in all places.
    pub(super) fn on(root: &HostRoot) -> Self {
        let mut found = Self::default();
        for folder in drivers(root, &["ina3221"]) {
            found.add_ina3221(root, &folder);
        }
        for folder in drivers(root, &["ina238"]) {
            found.add_ina238(root, &folder);
        }
        for folder in old_folders(root) {
            found.add_old(root, &folder);
        }
        found
    }

    /// Channels beyond the third are the shunts' own voltages in µV, and their sum.
    fn add_ina3221(&mut self, root: &HostRoot, folder: &str) {
        let conversion = Conversion::of(root, folder);
        for channel in CHANNELS {
            let label = format!("{folder}/in{channel}_label");
            self.add(root, &label, conversion, || {
                Ok(Figure::Product {
                    millivolts: hwmon::open(root, format!("{folder}/in{channel}_input"))?,
                    milliamperes: hwmon::open(root, format!("{folder}/curr{channel}_input"))?,
                })
            });
        }
    }

    fn add_ina238(&mut self, root: &HostRoot, folder: &str) {
        let conversion = Conversion::of(root, folder);
        let power = || hwmon::open(root, format!("{folder}/power1_input"));
        self.add(root, &format!("{folder}/label"), conversion, || {
            power().map(Figure::Microwatts)
        });
    }

    /// JetPack 4. A driver that multiplies by itself is taken at its word, else we do.
    fn add_old(&mut self, root: &HostRoot, folder: &str) {
        for channel in 0..=2 {
            let label = format!("{folder}/rail_name_{channel}");
            let register =
                |quantity| hwmon::open(root, format!("{folder}/in_{quantity}{channel}_input"));
            self.add(root, &label, Conversion::default(), || {
                register("power").map(Figure::Milliwatts).or_else(|_| {
                    Ok(Figure::Product {
                        millivolts: register("voltage")?,
                        milliamperes: register("current")?,
                    })
                })
            });
        }
    }

    /// A channel without a label, or with one that says that nothing is connected, is none.
    fn add(
        &mut self,
        root: &HostRoot,
        label_path: &str,
        conversion: Conversion,
        open: impl FnOnce() -> Result<Figure, Absent>,
    ) {
        let Ok(label) = root.read(label_path) else {
            return;
        };
        if NO_RAILS.contains(&&*label) {
            return;
        }
        match open() {
            Ok(figure) => self.channels.push(Channel {
                label,
                conversion,
                figure,
            }),
            Err(Absent(reason)) => self.refusals.push(reason),
        }
    }
}

/// `…/<bus>-<address>/iio:device<n>`.
fn old_folders(root: &HostRoot) -> Vec<String> {
    let chips = root.list(OLD_DRIVER);
    let chips = chips.iter().map(|chip| format!("{OLD_DRIVER}/{chip}"));
    let devices = |chip: String| {
        let entries = root.list(&chip).into_iter();
        let devices = entries.filter(|entry| entry.starts_with("iio:device"));
        devices.map(move |device| format!("{chip}/{device}"))
    };
    chips.flat_map(devices).collect()
}

pub(super) const OLD_DRIVER: &str = "/sys/bus/i2c/drivers/ina3221x";

const CHANNELS: [u32; 3] = [1, 2, 3];

const NO_RAILS: [&str; 2] = ["NC", "sum of shunt voltages"];
