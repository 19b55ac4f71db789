//! A slow network, where the kernel has no `netem`: packets wait in a queue of
//! the kernel, and a thread of ours lets each go when it is time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::net::Stage;

/// The number of the queue, in each namespace of its own.
const QUEUE: u16 = 7;

/// Packets that may wait: more than a second of all that nodes say here.
const WAITING_MAX: u32 = 65_536;

/// How often it is looked who may go.
const PAUSE: Duration = Duration::from_millis(1);

/// Delays what reaches some nodes from other nodes, until it is dropped.
pub struct Delay {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Delay {
    /// From now on what reaches any node from any other takes so long, and up
    /// to `jitter` more.
    pub fn begin(stage: &Stage, count: usize, delay: Duration, jitter: Duration) -> Delay {
        let is_over = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        for to in 0..count {
            let (space, is_over) = (stage.space(to), Arc::clone(&is_over));
            let (tell, told) = std::sync::mpsc::channel();
            threads.push(thread::spawn(move || {
                let queue = open(&space);
                tell.send(()).expect("somebody waits");
                pass(queue, delay, jitter, &is_over);
            }));
            told.recv().expect("a queue in the namespace");
            for from in (0..count).filter(|from| *from != to) {
                stage.queue(from, to, QUEUE);
            }
        }
        Delay { is_over, threads }
    }

    /// Lets all go that waits. The rules must be gone by then.
    pub fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the queue works");
        }
    }
}

/// A queue in a namespace, which only a thread inside can open.
fn open(space: &str) -> Queue {
    let file = File::open(format!("/run/netns/{space}")).expect("a namespace");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
    let mut queue = Queue::open().expect("the kernel has NFQUEUE");
    queue.bind(QUEUE).expect("nobody else has it");
    queue.set_queue_max_len(QUEUE, WAITING_MAX).expect("a length");
    queue.set_nonblocking(true);
    queue
}

fn pass(mut queue: Queue, delay: Duration, jitter: Duration, is_over: &AtomicBool) {
    let mut due: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut waiting: std::collections::HashMap<u64, Message> = std::collections::HashMap::new();
    let mut number = 0;
    loop {
        while let Ok(message) = queue.recv() {
            let at = Instant::now() + delay + jitter.mul_f32(rand::random::<f32>());
            number += 1;
            due.push(Reverse((at, number)));
            waiting.insert(number, message);
        }
        let ends = is_over.load(Ordering::Relaxed);
        while let Some(Reverse((at, number))) = due.peek().copied() {
            if !ends && at > Instant::now() {
                break;
            }
            due.pop();
            if let Some(mut message) = waiting.remove(&number) {
                message.set_verdict(Verdict::Accept);
                queue.verdict(message).expect("the kernel takes it back");
            }
        }
        if ends {
            return;
        }
        thread::sleep(PAUSE);
    }
}
