//! Power from drivers' files, on recorded trees: INA on Jetson, spbm on GB10.

use std::{fs, path::Path, time::Duration};

use tokwatt_agent::{
    clock::SystemClock,
    device::HostRoot,
    power::{PowerSource, ReadError, Taken, ina::Ina, spbm::Spbm},
};
use tokwatt_domain::power::{Scope, Sensor};

use crate::probe::{copy_of, fixture, look};

/// A file to write (or to remove) in a copy of a tree.
type Change<'a> = (&'a str, Option<&'a str>);

fn ina(root: &HostRoot) -> Result<Ina, String> {
    Ina::open(root, look(root).kind).map_err(|absent| absent.to_string())
}

fn read(source: &mut dyn PowerSource) -> (Vec<Taken>, Result<(), ReadError>) {
    let mut taken = Vec::new();
    let result = source.read(&SystemClock::start(), &mut taken);
    (taken, result)
}

fn change(folder: &Path, (path, text): Change<'_>) {
    let path = folder.join(path);
    match text {
        Some(text) => fs::write(path, text).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
}

/// Each scope with the µW of its rails.
#[track_caller]
fn check(source: &mut dyn PowerSource, want: &[(Scope, &[i64])]) {
    let (taken, result) = read(source);
    result.unwrap();
    let scope = |taken: &Taken| source.sensors()[taken.sensor].scope;
    let got: Vec<(Scope, &[i64])> = taken
        .iter()
        .map(|taken| (scope(taken), &*taken.sample.values))
        .collect();
    assert_eq!(got, want);
}

fn rails(sensor: &Sensor) -> Vec<&str> {
    sensor.rails.iter().map(|rail| &*rail.name).collect()
}

#[test]
fn an_agx_orin_is_the_sum_of_its_listed_rails_with_their_signs() {
    let mut ina = ina(&fixture("agx-orin")).unwrap();
    check(
        &mut ina,
        &[(Scope::Module, &[4_767_360, -397_440, 3_134_720])],
    );
    let sensor = &ina.sensors()[0];
    assert_eq!(sensor.source, "ina");
    assert_eq!(rails(sensor), ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]);
    let quanta: Vec<f64> = sensor.rails.iter().map(|rail| rail.quantum.0).collect();
    assert_eq!(quanta, [0.4, 0.4, 0.1]);
    assert_eq!(sensor.refresh, Some(Duration::from_millis(2)));
    assert_eq!(sensor.averaging, Duration::ZERO);
}

#[test]
fn a_thor_has_its_input_from_the_carrier_and_its_rails_from_the_module() {
    let mut ina = ina(&fixture("thor")).unwrap();
    check(
        &mut ina,
        &[
            (Scope::SystemIn, &[20_618_000]),
            (Scope::Module, &[-392_960, 5_501_440, 4_954_880]),
            (Scope::GpuRail, &[-392_960]),
        ],
    );
    let module = &ina.sensors()[1];
    assert_eq!(module.refresh, Some(Duration::from_millis(9)));
    assert_eq!(module.averaging, Duration::from_millis(9));
    assert_eq!(ina.sensors()[0].refresh, None);
}

#[test]
fn a_thor_without_its_carrier_sensor_has_no_input() {
    let (folder, root) = copy_of("thor");
    change(folder.path(), ("sys/class/hwmon/hwmon5/name", None));
    let ina = ina(&root).unwrap();
    let scopes: Vec<Scope> = ina.sensors().iter().map(|sensor| sensor.scope).collect();
    assert_eq!(scopes, [Scope::Module, Scope::GpuRail]);
}

#[test]
fn a_xavier_on_jetpack_4_has_the_old_files() {
    let mut ina = ina(&fixture("agx-xavier-jp4")).unwrap();
    let milliwatts = [1525, 915, 2592, 0, 457, 3674];
    check(
        &mut ina,
        &[(Scope::Module, &milliwatts.map(|rail| 1000 * rail))],
    );
    assert_eq!(
        rails(&ina.sensors()[0]),
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    );
}

#[test]
fn an_old_driver_without_power_files_has_voltage_and_current() {
    let (folder, root) = copy_of("agx-xavier-jp4");
    let chip = "sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0";
    change(folder.path(), (&format!("{chip}/in_power1_input"), None));
    let (taken, _) = read(&mut ina(&root).unwrap());
    assert_eq!(taken[0].sample.values[1], 19_064 * 48);
}

#[test]
fn folders_may_change_their_numbers() {
    let (folder, root) = copy_of("agx-orin");
    let hwmon = folder.path().join("sys/class/hwmon");
    fs::rename(hwmon.join("hwmon3"), hwmon.join("hwmon17")).unwrap();
    assert_eq!(ina(&root).unwrap().sensors()[0].scope, Scope::Module);
}

#[track_caller]
fn check_absent(tree: &str, changes: &[Change<'_>], want: &[&str]) {
    let (folder, root) = copy_of(tree);
    for edit in changes {
        change(folder.path(), *edit);
    }
    let reason = ina(&root).err().unwrap();
    for part in want {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn what_is_not_to_be_had_is_explained() {
    check_absent("gb10", &[], &["no driver `ina3221` or `ina238`"]);
    let renamed = ("sys/class/hwmon/hwmon3/in2_label", Some("VDD_OTHER\n"));
    check_absent("agx-orin", &[renamed], &["VDD_CPU_CV", "VDD_OTHER"]);
    let current = "sys/class/hwmon/hwmon3/curr3_input";
    check_absent(
        "agx-orin",
        &[(current, None)],
        &[&format!("no file `/{current}`")],
    );
    let words = (current, Some("much\n"));
    check_absent(
        "agx-orin",
        &[words],
        &[&format!("`/{current}` holds no number")],
    );
}

#[test]
fn a_label_that_is_there_twice_is_not_believed() {
    let twice = ("sys/class/hwmon/hwmon4/in1_label", Some("VDD_CPU_CV\n"));
    check_absent("agx-orin", &[twice], &["none of the rails"]);
}

#[test]
fn one_chip_gone_leaves_the_other_scopes() {
    let (folder, root) = copy_of("thor");
    let mut ina = ina(&root).unwrap();
    let power = "sys/class/hwmon/hwmon5/power1_input";
    change(folder.path(), (power, None));
    let (taken, result) = read(&mut ina);
    let sensors: Vec<usize> = taken.iter().map(|taken| taken.sensor).collect();
    assert_eq!(sensors, [1, 2]);
    let error = result.unwrap_err();
    assert!(matches!(error, ReadError::Transient(_)), "{error}");
    assert_eq!(error.to_string(), format!("`/{power}` is gone"));
}

#[test]
fn when_all_files_are_gone_so_is_the_instrument() {
    let (folder, root) = copy_of("agx-orin");
    let mut ina = ina(&root).unwrap();
    fs::remove_dir_all(folder.path().join("sys")).unwrap();
    let (taken, result) = read(&mut ina);
    assert!(taken.is_empty());
    assert!(matches!(result, Err(ReadError::Fatal(_))));
}

#[test]
fn a_gb10_has_three_scopes_and_none_is_the_fan() {
    let mut spbm = Spbm::open(&fixture("gb10")).unwrap();
    check(
        &mut spbm,
        &[
            (Scope::SpbmSysTotal, &[25_100_000]),
            (Scope::SystemIn, &[27_400_000]),
            (Scope::GpuRail, &[5_050_000]),
        ],
    );
}

#[test]
fn a_stock_gb10_has_a_reason_and_not_the_fans_power() {
    let (folder, root) = copy_of("gb10");
    change(folder.path(), ("sys/class/hwmon/hwmon2/name", None));
    let reason = Spbm::open(&root).err().unwrap().to_string();
    assert!(reason.contains("no driver `spbm`"), "{reason}");
}

#[test]
fn a_channel_of_spbm_that_fails_is_a_hole_of_its_own() {
    let (folder, root) = copy_of("gb10");
    let mut spbm = Spbm::open(&root).unwrap();
    change(
        folder.path(),
        ("sys/class/hwmon/hwmon2/power7_input", Some("\n")),
    );
    let (taken, result) = read(&mut spbm);
    assert_eq!(taken.len(), 2);
    assert!(matches!(result, Err(ReadError::Transient(_))));
}
