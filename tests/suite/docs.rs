//! Generated pages are what the code says, and the README's claims hold.

use std::path::Path;
use std::process::Command;

use weft_testkit::Suite;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn generated_pages_are_up_to_date() {
    for page in ["configuration", "errors", "commands"] {
        let weft = Suite::weft().bin_dir.join("weft");
        let output = Command::new(weft)
            .args(["config", "reference", page])
            .output()
            .unwrap();
        let now = String::from_utf8(output.stdout).unwrap();
        let there = std::fs::read_to_string(root().join(format!("docs/{page}.md"))).unwrap();
        let mut lines = there.lines().zip(now.lines());
        let differing = lines.find(|(there, now)| there != now);
        assert!(
            there == now,
            "docs/{page}.md is out of date: run `make docs`: {differing:?}"
        );
    }
}

#[test]
fn every_dependency_is_explained() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    for line in section
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with("weft-"))
    {
        let name = line.split('=').next().unwrap().trim();
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/dependencies.md says nothing of {name}"
        );
    }
}

#[test]
fn programs_are_static_and_alone() {
    let dir = Suite::weft().bin_dir;
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let is_ours = name.starts_with("weft") || ["loopback", "dnsname"].contains(&name.as_str());
        assert!(is_ours, "{name} is no program of Weft's");
        let bytes = std::fs::read(entry.path()).unwrap();
        let interpreter = b"/lib64/ld-linux";
        let is_dynamic = bytes
            .windows(interpreter.len())
            .any(|window| window == interpreter);
        assert!(!is_dynamic, "{name} is not static");
    }
}

/// The files of the repository with one of these endings, without what was built.
fn files(endings: &[&str]) -> Vec<std::path::PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![root()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut links = 0;
    for page in files(&[".md"]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let path = page.with_file_name(target);
            assert!(path.exists(), "{}: {target}", page.display());
        }
    }
    for source in files(&[".rs"]) {
        let text = std::fs::read_to_string(&source).unwrap();
        for part in text.split("Why it is so: ").skip(1) {
            let target = part.lines().next().unwrap().trim_end_matches('.');
            if target.starts_with("docs/") {
                links += 1;
                assert!(
                    root().join(target).exists(),
                    "{}: {target}",
                    source.display()
                );
            }
        }
    }
    assert!(links > 50, "{links}");
}

/// What shells and `man` are given is made from the commands there are, and the timers call some of them.
#[test]
fn commands_are_described_for_shells_man_and_systemd() {
    let said = |program: &str, arguments: &[&str]| {
        let program = Suite::weft().bin_dir.join(program);
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let weft = |arguments: &[&str]| said("weft", arguments);
    let completions = weft(&["completions", "bash"]);
    assert!(completions.contains("weft__subcmd__network__subcmd__create"));
    let dir = tempfile::tempdir().unwrap();
    weft(&["man", dir.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(dir.path().join("weft-network-create.1")).unwrap();
    assert!(
        page.contains("isolation") && page.contains("weft network create demo"),
        "{page}"
    );
    let units = root().join("contrib/systemd");
    let mut calls = 0;
    for entry in std::fs::read_dir(units).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart="))
        {
            let (program, words) = line.split_once(' ').unwrap();
            let words: Vec<&str> = words.split_whitespace().collect();
            let help = [words[0], "--help"];
            let help = match program.ends_with("/weftd") {
                true => said("weftd", &help),
                false => weft(&help),
            };
            let options = words.iter().filter(|word| word.starts_with("--"));
            options.for_each(|option| assert!(help.contains(option), "{line}"));
            calls += 1;
        }
        for page in text
            .lines()
            .filter_map(|line| line.strip_prefix("Documentation=man:"))
        {
            let name = page.trim_end_matches("(1)");
            assert!(dir.path().join(format!("{name}.1")).exists(), "{page}");
        }
    }
    assert_eq!(calls, 3);
}
