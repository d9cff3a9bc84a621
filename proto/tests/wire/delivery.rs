//! Batches keep order and size; greetings are checked at the door.

use proptest::prelude::*;
use prost::Message;
use tokwatt_domain::ids::{DeviceId, Epoch, Seq};
use tokwatt_proto::{
    SCHEMA,
    delivery::{Ack, BATCH_BYTES_MAX, Envelope, Hello, MESSAGE_BYTES_MAX, batches},
    record::RECORD_BYTES_MAX,
    v1,
};

fn envelopes(sizes: &[usize]) -> Vec<Envelope> {
    let envelope = |(seq, bytes): (u64, &usize)| Envelope {
        epoch: Epoch(3),
        seq: Seq(seq),
        record: vec![0xab; *bytes].into(),
    };
    (1..).zip(sizes).map(envelope).collect()
}

proptest! {
    #[test]
    fn batches_hold_everything_in_order_and_stay_small(
        sizes in prop::collection::vec(prop_oneof![0..2_000_usize, 6_000..60_000_usize], 0..30)
    ) {
        let all = envelopes(&sizes);
        let made: Vec<v1::Batch> = batches(all.clone()).collect();
        let is_small = |batch: &v1::Batch| batch.encoded_len() <= BATCH_BYTES_MAX;
        prop_assert!(made.iter().all(|batch| is_small(batch) || batch.records.len() == 1));
        prop_assert!(made.iter().all(|batch| !batch.records.is_empty()));
        let unpacked: Vec<Envelope> = made
            .into_iter()
            .flat_map(|batch| batch.records)
            .map(Envelope::from)
            .collect();
        prop_assert_eq!(unpacked, all);
    }

    #[test]
    fn no_batch_could_have_taken_the_next_record(
        sizes in prop::collection::vec(0..60_000_usize, 0..30)
    ) {
        let made: Vec<v1::Batch> = batches(envelopes(&sizes)).collect();
        for pair in made.windows(2) {
            let mut joined = pair[0].clone();
            joined.records.push(pair[1].records[0].clone());
            prop_assert!(joined.encoded_len() > BATCH_BYTES_MAX);
        }
    }
}

#[test]
fn the_largest_record_travels_alone_and_fits_a_message() {
    let made: Vec<v1::Batch> = batches(envelopes(&[10, RECORD_BYTES_MAX, 10])).collect();
    let lengths: Vec<usize> = made.iter().map(|batch| batch.records.len()).collect();
    assert_eq!(lengths, [1, 1, 1]);
    let upload = v1::Upload {
        kind: Some(v1::upload::Kind::Batch(made[1].clone())),
    };
    assert!(upload.encoded_len() <= MESSAGE_BYTES_MAX);
}

#[test]
fn a_hello_comes_back() {
    let hello = Hello {
        device: DeviceId::parse("lab-thor-1").unwrap(),
        epoch: Epoch(u64::MAX),
        agent_version: "0.1.0".to_owned(),
    };
    let wire = v1::Hello::from(hello.clone());
    assert_eq!(wire.schema, SCHEMA);
    assert_eq!(Hello::try_from(wire).unwrap(), hello);
}

#[test]
fn a_hello_of_another_schema_or_name_is_refused() {
    let hello = |schema, device: &str| v1::Hello {
        schema,
        device: device.to_owned(),
        ..v1::Hello::default()
    };
    check(
        hello(SCHEMA + 1, "thor"),
        "records are of schema 2, this build reads 1: update the older side",
    );
    check(
        hello(SCHEMA, "Thor 1"),
        "`hello.device` is invalid: device id must be 1 to 63 of [a-z0-9-], got `Thor 1`",
    );

    #[track_caller]
    fn check(hello: v1::Hello, want: &str) {
        assert_eq!(Hello::try_from(hello).unwrap_err().to_string(), want);
    }
}

#[test]
fn an_acknowledgement_comes_back() {
    let ack = Ack {
        epoch: Epoch(2),
        through: Seq(u64::MAX),
        credits: 8,
    };
    assert_eq!(Ack::from(v1::Ack::from(ack)), ack);
}
