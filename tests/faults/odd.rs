//! Nodes that run on odd machines: with a wrong clock, with a slow disk. Both
//! are libraries that the loader puts between the process and the system.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::Place;

/// Where Debian has libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Each sync takes so much longer, in microseconds.
const SLOW: &str = "150000";

/// What a slow disk is made of.
const SHIM: &str = "#define _GNU_SOURCE\n\
    #include <dlfcn.h>\n\
    #include <unistd.h>\n\
    static int slow(const char *name, int fd) {\n\
        int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);\n\
        if (access(BEGUN, F_OK) == 0) usleep(SLOW);\n\
        return real(fd);\n\
    }\n\
    int fsync(int fd) { return slow(\"fsync\", fd); }\n\
    int fdatasync(int fd) { return slow(\"fdatasync\", fd); }\n";

/// A disk that will be slow.
pub struct SlowDisk {
    begun: PathBuf,
}

impl SlowDisk {
    /// From now on it is.
    pub fn begin(&self) {
        std::fs::write(&self.begun, "").expect("writable");
    }
}

impl Place {
    /// Its time of day is another; how fast time passes is not.
    pub fn shift_clock(&mut self, by: &str) {
        assert!(Path::new(FAKETIME).exists(), "this test needs libfaketime: apt install faketime");
        self.set("LD_PRELOAD", FAKETIME);
        self.set("FAKETIME", by);
        self.set("DONT_FAKE_MONOTONIC", "1");
    }

    /// Its disk takes its time for each sync, once that has begun.
    pub fn slow_disk(&mut self, folder: &Path) -> SlowDisk {
        let begun = folder.join("slow.begun");
        let (source, library) = (folder.join("slow.c"), folder.join("slow.so"));
        std::fs::write(&source, SHIM).expect("writable");
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        let compiled = compiler
            .arg(format!("-DSLOW={SLOW}"))
            .arg(format!("-DBEGUN=\"{}\"", begun.display()))
            .arg("-ldl")
            .status();
        assert!(compiled.expect("a C compiler").success(), "the slow disk cannot be made");
        let library = library.display().to_string();
        self.set("LD_PRELOAD", &library);
        SlowDisk { begun }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }
}
