//! Trees whose files are missing, huge, binary, unreadable, no files, or vanish: a reason or a failed reading, never a panic.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, sample::Index};
use tokwatt_agent::{
    clock::SystemClock,
    device::{
        HostRoot,
        gauges::{GaugeSource, HostGauges},
    },
    power::{PowerSource, ina::Ina, rapl::Rapl, spbm::Spbm},
};
use tokwatt_domain::run::GaugeKind;

use crate::probe::{copy_of, look};

/// What becomes of a file.
#[derive(Clone, Debug)]
enum Harm {
    Missing,
    Huge,
    Bytes(Vec<u8>),
    Unreadable,
    Folder,
    Dangling,
    Number(i64),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Missing),
        Just(Harm::Huge),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Harm::Bytes),
        Just(Harm::Unreadable),
        Just(Harm::Folder),
        Just(Harm::Dangling),
        any::<i64>().prop_map(Harm::Number),
    ]
}

impl Harm {
    fn befall(&self, path: &Path) {
        // An earlier one may have befallen it.
        if !path.is_file() {
            return;
        }
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        match self {
            Self::Missing => fs::remove_file(path).unwrap(),
            Self::Huge => File::create(path).unwrap().set_len(1 << 32).unwrap(),
            Self::Bytes(bytes) => fs::write(path, bytes).unwrap(),
            Self::Unreadable => fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap(),
            Self::Folder => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }
            Self::Dangling => {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("nowhere", path).unwrap();
            }
            Self::Number(number) => fs::write(path, format!("{number}\n")).unwrap(),
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    let mut files: Vec<PathBuf> = entries.flat_map(below).collect();
    files.sort();
    files
}

fn open(root: &HostRoot) -> Vec<Box<dyn PowerSource>> {
    let mut sources: Vec<Box<dyn PowerSource>> = Vec::new();
    sources.extend(Ina::open(root, look(root).kind).map(|ina| Box::new(ina) as _));
    sources.extend(Spbm::open(root).map(|spbm| Box::new(spbm) as _));
    sources.extend(Rapl::open(root).map(|rapl| Box::new(rapl) as _));
    sources
}

/// Every sample has a value for each rail of its sensor, and a sensor without a sample has a failure to show for it.
fn check(sources: &mut [Box<dyn PowerSource>]) {
    for source in sources {
        let mut taken = Vec::new();
        let result = source.read(&SystemClock::start(), &mut taken);
        for taken in &taken {
            let sensor = &source.sensors()[taken.sensor];
            assert_eq!(taken.sample.values.len(), sensor.rails.len());
        }
        assert_eq!(result.is_ok(), taken.len() == source.sensors().len());
    }
}

/// No gauge shows twice, and none the temperature of a part that is switched off.
fn check_gauges(gauges: &mut HostGauges) {
    let shown = gauges.look(None);
    let names: BTreeSet<_> = shown
        .iter()
        .map(|gauge| (gauge.kind, &gauge.name))
        .collect();
    assert_eq!(names.len(), shown.len(), "{shown:?}");
    assert!(
        shown
            .iter()
            .all(|gauge| gauge.kind != GaugeKind::Temperature || gauge.value > -256_000)
    );
}

const TREES: [&str; 5] = ["agx-orin", "thor", "agx-xavier-jp4", "gb10", "x86-rapl"];

proptest! {
    // A tree is copied for each: fewer by default, and as many more as the environment asks for.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(4),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_tree_however_odd_panics(
        tree in prop::sample::select(&TREES[..]),
        before in prop::collection::vec((any::<Index>(), harm()), 0..6),
        meanwhile in prop::collection::vec((any::<Index>(), harm()), 0..6),
    ) {
        let (folder, root) = copy_of(tree);
        let files = files(folder.path());
        let befall = |(file, harm): &(Index, Harm)| harm.befall(file.get::<PathBuf>(&files));
        before.iter().for_each(befall);
        let mut sources = open(&root);
        let mut gauges = HostGauges::open(&root);
        check(&mut sources);
        check_gauges(&mut gauges);
        meanwhile.iter().for_each(befall);
        check(&mut sources);
        check_gauges(&mut gauges);
        look(&root);
    }
}
