//! A device that is a thread. Run these under Miri.

use std::{future::Future, mem::ManuallyDrop, pin::Pin, sync::Arc, task::Poll, thread};

use virtio_drivers::transport::DeviceType;

use super::{
    Flag, block_on,
    fake::{FakeInterrupt, FakeTransport, Shared},
    park, poll,
    side::{Chain, Side},
};
use crate::rng::Rng;

const ROUNDS: usize = if cfg!(miri) { 60 } else { 20_000 };

/// Fills a request with bytes that tell its length.
fn fill(chain: &Chain) -> u32 {
    let length = chain.writable_length();
    chain.write(std::iter::repeat_n(length as u8, length as usize))
}

type Driver = Rng<FakeTransport, FakeInterrupt>;

/// Runs `drive` against a device that [fills](fill) its requests.
fn with_device(drive: impl FnOnce(&Driver)) {
    with_device_that(fill, drive);
}

/// Runs `drive` against a device on a thread of its own, and drops the driver.
fn with_device_that(
    serve: impl FnMut(&Chain) -> u32 + Send + 'static,
    drive: impl FnOnce(&Driver),
) {
    let shared = Shared::new(DeviceType::EntropySource);
    let rng = Rng::new(shared.attach()).expect("a good device");
    let side = Side::new(&shared, 0);
    let device = thread::spawn(move || side.run(serve));
    drive(&rng);
    drop(rng);
    assert!(shared.is_reset());
    device.join().expect("it does not panic");
}

#[test]
fn one_after_another() {
    with_device(|rng| {
        for round in 0..ROUNDS {
            let length = round % 31 + 1;
            let (buffer, written) = block_on(rng.request(vec![0; length].into()));
            assert_eq!(written, Ok(length));
            assert_eq!(*buffer, *vec![length as u8; length]);
        }
    });
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Many requests with a task each: more than the queue has room for, a third of them dropped at
/// random. Each is polled only when it is woken.
#[test]
fn many_with_drops() {
    with_device(|rng| {
        let mut random = 1_u64;
        let mut next = move || {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            random >> 33
        };
        let mut tasks: Vec<Option<(Boxed<'_, _>, Arc<Flag>, usize)>> = Vec::new();
        tasks.resize_with(20, || None);
        let (mut started, mut ended, mut dropped) = (0, 0, 0);
        while ended + dropped < ROUNDS {
            let mut polled = false;
            for task in &mut tasks {
                if task.is_none() && started < ROUNDS {
                    let length = next() as usize % 64 + 1;
                    let future: Boxed<'_, _> = Box::pin(rng.request(vec![0; length].into()));
                    *task = Some((future, Flag::new(), length));
                    started += 1;
                }
                let Some((future, flag, length)) = task else {
                    continue;
                };
                if flag.take() {
                    polled = true;
                    if let Poll::Ready((buffer, written)) = poll(future.as_mut(), flag) {
                        assert_eq!(written, Ok(*length));
                        assert_eq!(*buffer, *vec![*length as u8; *length]);
                        *task = None;
                        ended += 1;
                    } else if next() % 3 == 0 {
                        *task = None;
                        dropped += 1;
                    }
                }
            }
            if !polled {
                park();
            }
        }
        assert!(dropped > 0 && ended > 0);
    });
}

/// Each request is dropped at once, while the device has it. All buffers come back.
#[test]
fn every_one_dropped_in_flight() {
    with_device(|rng| {
        for round in 0..ROUNDS {
            let flag = Flag::new();
            let mut request = Box::pin(rng.request(vec![0; 48].into()));
            while poll(request.as_mut(), &flag).is_pending() && rng.in_flight() == 0 {
                thread::yield_now();
            }
            drop(request);
            if round % 100 == 0 {
                let (_, written) = block_on(rng.request(vec![0; 5].into()));
                assert_eq!(written, Ok(5));
            }
        }
        // Each takes back what is done, and there are as many as the queue has room for.
        while rng.in_flight() > 0 {
            assert_eq!(block_on(rng.request(vec![0; 5].into())).1, Ok(5));
        }
    });
}

/// A request that is forgotten: its buffer is the driver's until it resets the device.
#[test]
fn forgotten() {
    with_device(|rng| {
        let flag = Flag::new();
        let mut request = ManuallyDrop::new(rng.request(vec![0; 48].into()));
        // SAFETY: it is not moved.
        let request = unsafe { Pin::new_unchecked(&mut *request) };
        let _ = poll(request, &flag);
    });
}

#[test]
fn fill_in_pieces() {
    with_device(|rng| {
        let mut bytes = vec![0; if cfg!(miri) { 4100 } else { 10_000 }];
        block_on(rng.fill(&mut bytes)).expect("it has some");
        assert_eq!(block_on(rng.fill(&mut [])), Ok(()));
    });
}

/// A generator has all bytes of its seed from the device, which gives five at a time.
#[cfg(feature = "rand_core")]
#[test]
fn seed_in_pieces() {
    struct Seeded([u8; 16]);

    impl rand_core::SeedableRng for Seeded {
        type Seed = [u8; 16];

        fn from_seed(seed: [u8; 16]) -> Self {
            Self(seed)
        }
    }

    let mut bytes = 1..;
    let serve = move |chain: &Chain| chain.write(bytes.by_ref().take(5));
    with_device_that(serve, |rng| {
        let Seeded(seed) = block_on(rng.seed()).expect("it has some");
        assert_eq!(seed, std::array::from_fn(|place| place as u8 + 1));
    });
}
