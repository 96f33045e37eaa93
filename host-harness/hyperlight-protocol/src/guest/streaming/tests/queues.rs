//! Inputs have their turn, whatever else is to be sent.

use super::*;

#[test]
fn inputs_go_although_calls_fill_each_batch() {
    let mut calls = Calls::new();
    let id = start(&mut calls);
    send(&mut calls);
    let argument = vec![b'x'; 35_900];
    let (mut chunks, mut plain) = (0, 0);
    for _ in 0..12 {
        input(&mut calls, id, &[b'y'; 5000]).expect("it goes on");
        if !calls.fills_a_batch() {
            calls.call("f", &argument).expect("there is room");
        }
        let bytes = batch(&mut calls);
        let records = records(&bytes);
        chunks += records.iter().filter(|it| it.starts_with("chunk")).count();
        plain += records.iter().filter(|it| it.starts_with("f ")).count();
        let header = Batch::parse(&bytes).expect("it is sound").header;
        assert!(header.wait == 0 || !calls.has_news());
        assert!(Answer::to(&bytes, 1).take(&mut calls));
    }
    // The window is 16 KiB; until it is full, they take turns.
    assert!(chunks >= 3 && plain >= 6, "{chunks} chunks, {plain} calls");
    calls.end_input(id);
    let ends = (0..3).flat_map(|_| sent(&mut calls));
    assert_eq!(ends.filter(|it| it == "end 0").count(), 1);
}

#[test]
fn inputs_take_turns() {
    let mut calls = Calls::new();
    // It leaves space for a part of one.
    let argument = vec![b'x'; 34_000];
    let ids = [0, 1, 2].map(|_| start(&mut calls));
    send(&mut calls);
    let mut lengths = [0_u32; 3];
    for _ in 0..30 {
        for id in ids {
            input(&mut calls, id, &[b'x'; 5000]).expect("it goes on");
        }
        calls.call("f", &argument).expect("there is room");
        let bytes = batch(&mut calls);
        let mut answer = Answer::to(&bytes, 1);
        for record in Batch::parse(&bytes).expect("it is sound").records() {
            if let crate::ToHost::Chunk { id, bytes, .. } = record {
                let length = &mut lengths[id.slot()];
                *length += bytes.len() as u32;
                answer = was_taken(id, *length)(answer);
            }
        }
        assert!(answer.take(&mut calls));
    }
    let [least, most] = [lengths.iter().min(), lengths.iter().max()];
    assert!(least >= Some(&(most.expect("three") / 2)), "{lengths:?}");
}
