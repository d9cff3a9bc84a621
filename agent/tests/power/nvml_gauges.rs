//! How NVML says that GPUs are doing: what each device tells, who else is there, whose memory it is, and what is not asked again.

use std::collections::BTreeSet;

use tokwatt_agent::device::{
    gauges::{Gauge, GaugeSource, GpuMemory},
    nvml::{Feature, GpuGauges, Library, NvmlGauges, Refusal},
};
use tokwatt_domain::run::GaugeKind;

use crate::nvml_host::{CARD, GB10, Host, ORIN, THOR, with, without};

/// Our engine, and a thread of it.
const ENGINE: u32 = 4242;
const THREAD: u32 = 4243;
/// Somebody else's process.
const STRANGER: u32 = 77;

fn ours() -> BTreeSet<u32> {
    BTreeSet::from([4000, ENGINE])
}

fn open(options: &[&str]) -> (Host, Library) {
    let host = Host::new(options);
    host.process(ENGINE, ENGINE);
    host.process(THREAD, ENGINE);
    host.process(STRANGER, STRANGER);
    let library = Library::open(&host.root).unwrap();
    (host, library)
}

#[track_caller]
fn check(options: &[&str], want: GpuGauges) {
    let (_host, library) = open(options);
    let gauges = library.gauges(Some(&ours())).unwrap();
    assert_eq!(gauges, [want]);
}

const NOTHING: GpuGauges = GpuGauges {
    index: 0,
    utilisation_per_mille: None,
    sm_clock_hz: None,
    memory_clock_hz: None,
    temperature_millidegrees: None,
    throttle_reasons: None,
    foreign_processes: None,
};

#[test]
fn each_device_tells_what_it_has_and_no_zero_of_a_refused_call_comes_through() {
    let card = GpuGauges {
        utilisation_per_mille: Some(970),
        sm_clock_hz: Some(1_200_000_000),
        memory_clock_hz: Some(6_001_000_000),
        temperature_millidegrees: Some(61_000),
        // Idleness and the power limit are taken out, heat stays.
        throttle_reasons: Some(32),
        foreign_processes: Some(0),
        ..NOTHING
    };
    check(CARD, card);
    let gb10 = GpuGauges {
        utilisation_per_mille: Some(30),
        sm_clock_hz: Some(208_000_000),
        temperature_millidegrees: Some(45_000),
        throttle_reasons: Some(0),
        foreign_processes: Some(0),
        ..NOTHING
    };
    check(GB10, gb10);
    let thor = GpuGauges {
        utilisation_per_mille: Some(0),
        temperature_millidegrees: Some(36_000),
        foreign_processes: Some(0),
        ..NOTHING
    };
    check(THOR, thor);
    check(ORIN, NOTHING);
}

#[test]
fn what_was_refused_is_not_asked_again_and_its_reason_stays() {
    let (host, library) = open(THOR);
    let before = host.calls();
    for _ in 0..3 {
        library.gauges(Some(&ours())).unwrap();
    }
    let (before, after) = (|name| before[name], host.calls());
    for refused in ["sm clock", "memory clock", "throttle", "memory"] {
        assert_eq!(after[refused], before(refused), "{refused}");
    }
    for told in ["utilisation", "temperature", "processes"] {
        assert_eq!(after[told], before(told) + 3, "{told}");
    }
    let again = library.read(&library.gpus[0], Feature::SmClock);
    assert_eq!(again, Err(Refusal::Absent("not supported".to_owned())));
}

#[test]
fn every_feature_is_asked_for_exactly_once_when_the_library_is_opened() {
    let (host, library) = open(GB10);
    for (call, n) in host.calls() {
        // Its total is a fact, its use a gauge.
        assert_eq!(n, if call == "memory" { 2 } else { 1 }, "{call}");
    }
    let refused = Feature::ALL
        .into_iter()
        .filter(|feature| !library.gpus[0].tells(*feature));
    let want = [
        Feature::PowerAverage,
        Feature::PowerLimit,
        Feature::MemoryClock,
        Feature::MemoryUsed,
    ];
    assert_eq!(refused.collect::<Vec<_>>(), want);
}

#[track_caller]
fn check_processes(
    processes: &str,
    ours: Option<&BTreeSet<u32>>,
    (foreign, memory): (Option<i64>, Option<GpuMemory>),
) {
    let processes = format!("-DPROCESSES={processes}");
    let (_host, library) = open(&with(&without(CARD, &["NO_PROCESSES"]), &[&processes]));
    let gauges = library.gauges(ours).unwrap();
    assert_eq!(gauges[0].foreign_processes, foreign);
    assert_eq!(library.memory(ours), Ok(memory));
}

const EVERYBODY: Option<GpuMemory> = Some(GpuMemory::Everybody(1_500_000_000));

#[test]
fn a_process_of_ours_is_not_foreign_and_its_memory_is_ours() {
    let ours_alone = Some(GpuMemory::OurProcesses(900));
    check_processes("{4242,900}", Some(&ours()), (Some(0), ours_alone));
    check_processes("{4242,900},{77,50}", Some(&ours()), (Some(1), ours_alone));
    check_processes("{77,50}", Some(&ours()), (Some(1), None));
}

#[test]
fn a_thread_of_our_engine_is_not_foreign() {
    let ours_alone = Some(GpuMemory::OurProcesses(900));
    check_processes("{4243,900}", Some(&ours()), (Some(0), ours_alone));
}

#[test]
fn without_knowing_who_we_are_nobody_is_foreign_and_all_memory_is_everybodys() {
    check_processes("{4242,900}", None, (None, EVERYBODY));
    // 999 is the number that the host has for a process that a container calls otherwise.
    check_processes("{999,900}", Some(&ours()), (None, EVERYBODY));
}

#[test]
fn memory_that_the_driver_does_not_tell_is_not_a_large_number_and_not_none() {
    for untold in ["{4242,-1ull}", "{4242,0}", "{4242,900},{4243,-1ull}"] {
        check_processes(untold, Some(&ours()), (Some(0), EVERYBODY));
    }
}

#[test]
fn a_gb10_has_our_processes_memory_and_not_the_gpus() {
    let processes = ["-DPROCESSES={4242,89093}"];
    let (_host, library) = open(&with(&without(GB10, &["NO_PROCESSES"]), &processes));
    let ours_alone = Some(GpuMemory::OurProcesses(89_093));
    assert_eq!(library.memory(Some(&ours())), Ok(ours_alone));
    assert_eq!(library.memory(None), Ok(None));
}

#[test]
fn memory_of_several_gpus_is_one_figure() {
    let processes = ["-DPROCESSES={4242,900}", "-DGPUS=2"];
    let (_host, library) = open(&with(&without(CARD, &["NO_PROCESSES"]), &processes));
    let ours_alone = Some(GpuMemory::OurProcesses(1800));
    assert_eq!(library.memory(Some(&ours())), Ok(ours_alone));
    let everybody = Some(GpuMemory::Everybody(3_000_000_000));
    assert_eq!(library.memory(None), Ok(everybody));
}

#[test]
fn a_gpu_that_is_gone_is_lost_and_one_that_is_slow_has_holes() {
    for status in ["-DEND=15", "-DEND=1"] {
        let (host, library) = open(&with(CARD, &[status]));
        library.gauges(Some(&ours())).unwrap();
        host.lose();
        for lost in [
            library.gauges(Some(&ours())).unwrap_err(),
            library.memory(Some(&ours())).unwrap_err(),
            library.memory(None).unwrap_err(),
        ] {
            assert!(matches!(lost, Refusal::Lost(_)), "{lost}");
        }
    }
    let (host, library) = open(&with(CARD, &["-DEND=10"]));
    host.lose();
    assert_eq!(library.gauges(Some(&ours())), Ok(vec![NOTHING]));
    assert_eq!(library.memory(Some(&ours())), Ok(None));
}

#[test]
fn gauges_are_named_by_gpu_and_part_and_those_refused_are_left_out() {
    let (_host, library) = open(&with(CARD, &["-DGPUS=2"]));
    let gauges = NvmlGauges::of(library).look(Some(&ours()));
    let names = gauges.iter().map(|gauge| (gauge.kind, &*gauge.name));
    let of_one = |gpu: &'static [&'static str; 6]| {
        let kinds = [
            GaugeKind::Utilisation,
            GaugeKind::Clock,
            GaugeKind::Clock,
            GaugeKind::Temperature,
            GaugeKind::Throttle,
            GaugeKind::ForeignGpuProcess,
        ];
        kinds.into_iter().zip(gpu.iter().copied())
    };
    let want = of_one(&[
        "gpu0",
        "gpu0 sm",
        "gpu0 memory",
        "gpu0 temperature",
        "gpu0 throttle reasons",
        "gpu0",
    ])
    .chain(of_one(&[
        "gpu1",
        "gpu1 sm",
        "gpu1 memory",
        "gpu1 temperature",
        "gpu1 throttle reasons",
        "gpu1",
    ]));
    assert_eq!(names.collect::<Vec<_>>(), want.collect::<Vec<_>>());
    let (_host, library) = open(THOR);
    let gauges = NvmlGauges::of(library).look(None);
    let gauge = |kind, name: &str, value| Gauge {
        kind,
        name: name.to_owned(),
        value,
    };
    assert_eq!(
        gauges,
        [
            gauge(GaugeKind::Utilisation, "gpu0", 0),
            gauge(GaugeKind::Temperature, "gpu0 temperature", 36_000),
        ]
    );
}

#[test]
fn gauges_end_with_their_gpu_and_do_not_ask_for_it_again() {
    let (host, library) = open(CARD);
    let mut gauges = NvmlGauges::of(library);
    assert!(!gauges.look(Some(&ours())).is_empty());
    host.lose();
    assert!(gauges.look(Some(&ours())).is_empty());
    let before = host.calls();
    assert!(gauges.look(Some(&ours())).is_empty());
    assert_eq!(gauges.gpu_memory(None), None);
    assert_eq!(host.calls(), before);
}
