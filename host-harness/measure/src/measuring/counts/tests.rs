//! Reading figures, and writing them.

use super::*;

fn stat(name: &str, value: u64) -> (String, u64) {
    (name.into(), value)
}

#[test]
fn figures_are_read_in_order_with_all_that_they_are_of() {
    let read = read(&[
        stat("dormir/wake_poll/4096/65536/single/instructions_x10", 413),
        stat("futures-unordered/join/1/-/-/instructions_x10", 3340),
        stat("dormir/isr_to_poll/1/64/single/pit/instructions_x10", 1580),
    ]);
    let dormir = Count {
        runtime: "dormir".into(),
        case: "wake_poll".into(),
        n: 4096,
        capacity: Some(65_536),
        cpus: Some("single".into()),
        timer: None,
        instructions: 41.3,
        worst: None,
    };
    let unordered = Count {
        runtime: "futures-unordered".into(),
        case: "join".into(),
        n: 1,
        capacity: None,
        cpus: None,
        timer: None,
        instructions: 334.0,
        worst: None,
    };
    let interrupt = Count {
        case: "isr_to_poll".into(),
        n: 1,
        capacity: Some(64),
        timer: Some("pit".into()),
        instructions: 158.0,
        ..dormir.clone()
    };
    assert_eq!(read, Ok(vec![dormir, unordered, interrupt]));
}

#[test]
fn the_worst_operation_belongs_to_the_mean_before_it() {
    let mean = stat("dormir/timer_arm/10/64/shared/instructions_x10", 1001);
    let worst = |name: &str| stat(&format!("{name}/worst"), 333);
    let of_the_same = worst("dormir/timer_arm/10/64/shared");
    let read_all = read(&[mean.clone(), of_the_same.clone()]).expect("figures");
    let [count] = read_all.as_slice() else {
        panic!("one count: {read_all:?}");
    };
    assert_eq!((count.instructions, count.worst), (100.1, Some(333)));
    for misplaced in [
        vec![of_the_same.clone()],
        vec![mean.clone(), worst("dormir/timer_arm/100/64/shared")],
        vec![mean.clone(), worst("dormir/timer_fire/10/64/shared")],
        vec![mean, of_the_same.clone(), of_the_same],
    ] {
        read(&misplaced).expect_err("a worst operation without its mean");
    }
}

#[test]
fn what_is_no_figure_is_named() {
    for name in [
        "polls",
        "embassy/wake_poll/64/64/-/instructions",
        "embassy/wake_poll/64/64/-",
        "embassy/wake_poll/64/64/-/instructions_x10/",
        "embassy/wake_pole/64/64/-/instructions_x10",
        "embassy/wake_poll/many/64/-/instructions_x10",
        "embassy/wake_poll/64//-/instructions_x10",
        "embassy/wake_poll/64/64/two/instructions_x10",
        "/wake_poll/64/64/-/instructions_x10",
        "embassy/wake_poll/64/64/-/pit/instructions_x10",
        "dormir/isr_to_poll/1/64/shared/instructions_x10",
        "dormir/isr_to_poll/1/64/shared//instructions_x10",
    ] {
        let good = stat("embassy/wake_poll/64/64/-/instructions_x10", 450);
        let error = read(&[good, stat(name, 7)]).expect_err(name);
        assert!(
            error.to_string().contains(&format!("`{name} 7`")),
            "{error}"
        );
    }
}

#[test]
fn the_guest_counts_instructions_and_is_told_what_of() {
    let config = config("embassy", Some(64));
    assert!(config.count_instructions);
    assert_eq!(config.arguments, "runtime=embassy max=64");
    assert_eq!(super::config("edge", None).arguments, "runtime=edge");
}
