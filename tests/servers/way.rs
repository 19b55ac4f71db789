//! A way from one server to another that breaks when a test wants it to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The way; its threads end with its connections, or with the process.
pub struct Way {
    /// Where it begins.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    is_deaf: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Way {
    /// To a port of this machine.
    pub fn to(port: u16) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let begin = listener.local_addr().expect("bound").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let mut open = shared.open.lock().expect("no panic");
                open.extend([&near, &far].map(|end| end.try_clone().expect("a handle")));
                drop(open);
                let [one, other] = [&near, &far].map(|end| end.try_clone().expect("a handle"));
                let state = Arc::clone(&shared);
                thread::spawn(move || copy(near, far, || true));
                thread::spawn(move || copy(other, one, || !state.is_deaf.load(Ordering::SeqCst)));
            }
        });
        Way { port: begin, state }
    }

    /// Nothing comes back on it from now on, and nobody hears of that.
    pub fn deafen(&self) {
        self.state.is_deaf.store(true, Ordering::SeqCst);
    }

    /// All connections break; new ones are whole.
    pub fn cut(&self) {
        for end in self.state.open.lock().expect("no panic").drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
        self.state.is_deaf.store(false, Ordering::SeqCst);
    }

    /// Connections until now.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if passes() && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
