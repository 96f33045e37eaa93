//! The commands of README.md lead from an empty folder to a guest that runs and is tested.

use std::{env, fs, path::Path};

use crate::{checkout, command, has_target, run, stderr, target};

/// How many commands the README may need.
const MOST_COMMANDS: usize = 5;

/// Where the README clones from.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The commands in the README's section about guests.
fn commands() -> Vec<String> {
    let page = fs::read_to_string(checkout().join("README.md")).expect("the README");
    let (_, section) = page.split_once("\n## A guest\n").expect("a section");
    let (_, block) = section.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    block.lines().map(str::to_owned).collect()
}

/// Makes a git repository of this checkout as it is, changes included.
fn repository(folder: &Path) {
    let git = |arguments: &[&str]| {
        let mut git = command("git");
        git.arg("--git-dir").arg(folder).args(arguments);
        git.current_dir(checkout());
        let output = run(git);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
    };
    git(&["init", "--quiet", "--bare"]);
    git(&["--work-tree=.", "add", "--all"]);
    let name = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
    let commit = ["--work-tree=.", "commit", "--quiet", "--message=all"];
    git(&[&name[..], &commit].concat());
}

#[test]
fn from_an_empty_folder_to_a_guest_that_is_tested() {
    if !has_target() {
        return;
    }
    let commands = commands();
    assert!(commands.len() <= MOST_COMMANDS, "{commands:?}");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (origin, empty) = (folder.path().join("origin"), folder.path().join("empty"));
    repository(&origin);
    fs::create_dir(&empty).expect("a folder is made");

    let mut script = command("sh");
    script.args(["-e", "-c", &commands.join("\n")]);
    script.current_dir(&empty);
    // The clone is of this checkout.
    script
        .env("GIT_CONFIG_COUNT", "1")
        .env(
            "GIT_CONFIG_KEY_0",
            format!("url.{}.insteadOf", origin.display()),
        )
        .env("GIT_CONFIG_VALUE_0", REPOSITORY);
    // Nothing of this machine's is changed, and nothing is built twice. What is installed is not
    // optimised, which is built in less time.
    let installed = folder.path().join("installed");
    let inherited = env::var_os("PATH").unwrap_or_default();
    let paths = [installed.join("bin")]
        .into_iter()
        .chain(env::split_paths(&inherited));
    script
        .env("CARGO_INSTALL_ROOT", &installed)
        .env("PATH", env::join_paths(paths).expect("paths"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_TARGET_DIR", target("script"));
    let output = run(script);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", stderr(&output));
    without_its_checkout(&empty, &installed.join("bin/cargo-vm"));
    for part in [
        "blink\nblink\nblink\n",
        "1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        "3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
    ] {
        assert_eq!(stdout.matches(part).count(), 1, "{part}: {stdout}");
    }
}

/// Once the checkout is gone, the installed program runs what needs none, and says what needs one.
fn without_its_checkout(folder: &Path, installed: &Path) {
    fs::rename(folder.join("dormir"), folder.join("moved")).expect("it is moved");
    for (line, status, part) in [
        ("vm demo --list", 0, ""),
        ("vm doctor", 125, "needs a checkout of dormir"),
        ("vm demo basic", 125, "needs a checkout of dormir"),
        ("vm test", 125, "needs a checkout of dormir"),
        ("vm bench --counts", 125, "needs a checkout of dormir"),
        ("vm new another", 125, "needs a checkout of dormir"),
        ("vm new another --path moved", 0, "moved by its path"),
        ("vm run /dev/null", 125, "not a regular file"),
        ("vm runner /dev/null", 125, "not a regular file"),
    ] {
        let mut program = command(installed.to_str().expect("a path of plain text"));
        program.args(line.split(' ')).current_dir(folder);
        let output = run(program);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{line}: {stderr}");
        assert!(stderr.contains(part), "{line}: {stderr}");
    }
}
