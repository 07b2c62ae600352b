//! The Debian package: made from this build, and installed in a throwaway copy of this machine.

use crate::{
    rabbit::{rig, run},
    said,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn it_is_made_installed_upgraded_removed_and_purged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = PathBuf::from(rig("SG_TEST_DIR")).join("package");
    fs::create_dir_all(&directory).unwrap();
    let mut build = Command::new(root.join("config/deb/build"));
    build.arg(env!("CARGO_BIN_EXE_service-gateway")).env("CARGO_TARGET_DIR", &directory);
    let package = said(&run(&mut build, PATIENCE));
    let package = Path::new(package.lines().last().unwrap());
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(concat!("service-gateway_", env!("CARGO_PKG_VERSION"), "_")), "{name}");

    fs::copy(root.join("tests/package/installed.sh"), package.with_file_name("installed.sh")).unwrap();
    let mut install = Command::new(root.join("tests/package/throwaway.sh"));
    install.arg(package.parent().unwrap()).args(["bash", "/input/installed.sh", &format!("/input/{name}")]);
    let output = said(&run(&mut install, PATIENCE));
    let steps: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(steps, ["installed", "the units", "upgraded", "removed", "purged"], "{output}");
    fs::remove_dir_all(&directory).unwrap(); // large
}
