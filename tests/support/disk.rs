//! A small disk. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of its own, that can be full.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// At a folder that nothing is in; `size` as `mount` has it.
    pub fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("writable");
        let size = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        assert!(mount.status().expect("mount").success(), "this test needs to be root");
        Self(at.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        use std::io::Write;
        let mut ballast = std::fs::File::create(self.ballast()).expect("writable");
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    /// There is room again.
    pub fn relieve(&self) {
        std::fs::remove_file(self.ballast()).expect("it was full");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // lazily: a node of a test that failed may still have files there
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
